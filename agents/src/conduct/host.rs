//! The conductor as the host of a run's actor: what it does before a decision
//! and after its events are durable. Invariant: its handlers never wait for an
//! effect; whatever takes time runs in a task that ends with this life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actors::durable::{AskError, Context, Host, Origin};
use actors::world::World;
use async_trait::async_trait;
use policies::instant::Timestamp;
use supervisor::Gate;

use super::Stage;
use super::admit::Prepared;
use crate::run::{Act, Attempt, Command, Event, Hold, Intended, Parked, Refusal, Run, State, Then};

/// Between two tries to tell the run something that the journal would not take.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// The same for what is a dead letter.
const TELL_DEAD_AGAIN: Duration = Duration::from_secs(5);

/// One run's conductor, for one life of its actor; a cheap clone.
#[derive(Clone)]
pub(super) struct Conductor(Arc<Inner>);

pub(super) struct Inner {
    pub(super) stage: Arc<Stage>,
    /// Whether the run may begin steps, as operators say, and those under way.
    pub(super) gate: Gate,
    /// The actor, once this life of it has folded its stream.
    context: OnceLock<Context<Run>>,
    /// What was gathered for intents that are not durable yet.
    prepared: Mutex<BTreeMap<Attempt, Prepared>>,
    /// Attempts that a task waits for a place for.
    waiting: Mutex<BTreeSet<Attempt>>,
    /// When the timer for the next retry ends, on the monotonic clock.
    timer: Mutex<Option<Duration>>,
    /// The latest time that a timer of this life has waited for. It has come, whatever the wall
    /// clock says: that one may have been set back since.
    ripe: Mutex<Timestamp>,
}

impl std::ops::Deref for Conductor {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

#[async_trait]
impl Host<Run> for Conductor {
    async fn prepare(&self, state: &State, mut command: Command) -> Command {
        let world = &self.stage.spine.world;
        command.now = self.now(world);
        command.chance = world.chance("run").unit();
        command.grants = self.gather(state, &command).await;
        // A timer may find nothing due, when the clock had jumped ahead of it: the next one is set all
        // the same, since no event will come of this.
        if let (Act::StartReady, Some(context)) = (&command.act, self.context()) {
            self.arm(&context, state, command.now);
        }
        command
    }

    async fn started(&self, context: &Context<Run>, state: &State, events: &[Event]) {
        for event in events {
            if let Event::Parked(Parked { hold: Hold::Poison { letter, deaths, .. }, path, .. }) = event {
                let child = deaths.last().map_or("", |death| &death.child);
                context.spine().metrics.dead_lettered(child);
                tracing::warn!(%letter, %path, child, "a step is a dead letter; `callboard letters` shows it");
            }
            if let Event::Intended(intent) = event {
                let attempt = Attempt { key: intent.key.clone(), number: intent.attempt };
                match self.take(&attempt) {
                    Some(prepared) => {
                        let request = state.request(&intent.key, &intent.request).into_owned();
                        self.perform(context, Intended { request, ..(**intent).clone() }, prepared);
                    }
                    // Nothing was gathered for it in this life, so nothing was sent.
                    None => self.vanished(context, vec![attempt], "its place with the guard was lost"),
                }
            }
        }
        let now = self.now(context.world());
        if events.iter().any(|event| has_come(event, now)) {
            // Its time came while its failure was written, so no timer will be set for it.
            for due in state.due(now).unwrap_or_default() {
                self.wait_for_place(due, Duration::ZERO);
            }
        }
        self.go_on(context, state, now);
    }

    async fn undone(&self, state: &State) {
        // Of an order that was not taken nothing is left; a run that is there uses what was gathered the next time.
        if state.order.is_none() {
            self.clear();
        }
    }

    async fn recovered(&self, context: &Context<Run>, state: &State) {
        // One life recovers once, so nothing was there before.
        let _ = self.context.set(context.clone());
        self.recover(context, state);
        let now = self.now(context.world());
        for due in state.due(now).unwrap_or_default() {
            self.wait_for_place(due, Duration::ZERO);
        }
        self.go_on(context, state, now);
    }

    fn idle(&self, state: &State) -> bool {
        !state.moves_by_itself() && state.open_intents().next().is_none()
    }
}

impl Conductor {
    pub(super) fn new(stage: Arc<Stage>, gate: Gate) -> Self {
        Self(Arc::new(Inner {
            stage,
            gate,
            context: OnceLock::new(),
            prepared: Mutex::default(),
            waiting: Mutex::default(),
            timer: Mutex::default(),
            ripe: Mutex::new(Timestamp::EPOCH),
        }))
    }

    /// The actor, as this life of it is known; none before it has recovered,
    /// when nothing can have been asked of it.
    pub(super) fn context(&self) -> Option<Context<Run>> {
        self.context.get().cloned()
    }

    /// The time of a decision: the wall clock's, but never before what a timer has waited for.
    fn now(&self, world: &World) -> Timestamp {
        world.now().max(*lock(&self.ripe))
    }

    /// Sees to it that what will be due is started then.
    fn go_on(&self, context: &Context<Run>, state: &State, now: Timestamp) {
        if !state.is_going() {
            return self.clear();
        }
        self.arm(context, state, now);
    }

    /// Sets the timer for the next retry that is not due at `now`: what is due then has been started, or
    /// waits for its place.
    fn arm(&self, context: &Context<Run>, state: &State, now: Timestamp) {
        if let Some((due, wait)) = state.next_retry(now) {
            self.set_timer(context, due, wait);
        }
    }

    /// Wakes the run when its next retry is due; one timer at a time, and an
    /// earlier retry gets one of its own.
    fn set_timer(&self, context: &Context<Run>, due: Timestamp, wait: Duration) {
        let at = context.world().elapsed().saturating_add(wait);
        {
            let mut timer = lock(&self.timer);
            if timer.is_some_and(|set| set <= at) {
                return;
            }
            *timer = Some(at);
        }
        let (this, host) = (self.clone(), context.clone());
        self.task(context, "run.retry", async move {
            tokio::time::sleep(wait).await;
            {
                let mut timer = lock(&this.timer);
                if *timer == Some(at) {
                    *timer = None;
                }
                let mut ripe = lock(&this.ripe);
                *ripe = due.max(*ripe);
            }
            this.tell(&host, Act::StartReady).await;
        });
    }

    /// Runs a task that ends with this life of the run's actor.
    pub(super) fn task(
        &self,
        context: &Context<Run>,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let ended = context.ended().clone();
        context.world().spawn(name, async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Tells the run, again and again while the journal has no room or a
    /// neighbour's generation changed: an outcome that is not told is an outcome
    /// lost. Ends with this life.
    pub(super) async fn tell(&self, context: &Context<Run>, mut act: Act) {
        loop {
            let told = context.report(Origin::system(), Command::new(act.clone())).await;
            match told {
                Ok(_) => return,
                Err(AskError::Full | AskError::Undone | AskError::Busy | AskError::Stale { .. }) => {
                    tokio::time::sleep(TELL_AGAIN).await;
                }
                // It is kept for whoever replays the letter.
                Err(AskError::Dead(letter)) => {
                    tracing::error!(run = context.id(), %letter, "the run is held by a dead letter");
                    tokio::time::sleep(TELL_DEAD_AGAIN).await;
                }
                // Its cost is recorded all the same: told nothing, it would be paid for once more.
                Err(AskError::TooLarge(reason)) if act.is_done() => act = act.too_large(reason),
                // It has its outcome, or has ended meanwhile: there is nobody to tell any more.
                Err(AskError::Refused(Refusal::Resolved { .. } | Refusal::Ended(_))) => return,
                Err(error) => {
                    tracing::warn!(run = context.id(), %error, "the run was not told");
                    return;
                }
            }
        }
    }

    /// Tells the run that attempts vanished, in a task.
    pub(super) fn vanished(&self, context: &Context<Run>, attempts: Vec<Attempt>, reason: &str) {
        if attempts.is_empty() {
            return;
        }
        let (this, host, reason) = (self.clone(), context.clone(), reason.to_owned());
        self.task(context, "run.vanished", async move {
            let (child, poison) = (host.stream().to_string(), this.stage.spine.letters.policy());
            this.tell(&host, Act::Lost { attempts, reason, child, poison }).await;
        });
    }

    pub(super) fn keep(&self, attempt: Attempt, prepared: Prepared) {
        lock(&self.prepared).insert(attempt, prepared);
    }

    pub(super) fn take(&self, attempt: &Attempt) -> Option<Prepared> {
        lock(&self.prepared).remove(attempt)
    }

    /// Whether the caller is the one who shall wait for the attempt's place.
    pub(super) fn begin_waiting(&self, attempt: &Attempt) -> bool {
        lock(&self.waiting).insert(attempt.clone())
    }

    pub(super) fn end_waiting(&self, attempt: &Attempt) {
        lock(&self.waiting).remove(attempt);
    }

    /// Gives back all that was gathered and not used.
    fn clear(&self) {
        let unused = std::mem::take(&mut *lock(&self.prepared));
        drop(unused);
    }
}

/// Whether a retry that was decided for later is due by now.
fn has_come(event: &Event, now: Timestamp) -> bool {
    matches!(event, Event::Resolved(resolved) if matches!(resolved.then, Then::Retry { at } if at <= now))
}

/// A panic elsewhere cannot leave these maps half changed, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
