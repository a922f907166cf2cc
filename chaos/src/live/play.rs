//! A plan, played on a running server in real time. Invariant: no fault is started before the server
//! was seen to take faults, and the play is over when every fault is, however early the runs are.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use actors::world::{World, WorldOptions};
use agents::secret::Secret;

use super::course::{Due, course};
use super::operator::Operator;
use super::watch::{Tally, Watch, counted, ends};
use super::{LOOK_EVERY, LiveError};
use crate::experiment::{Abort, Experiment};
use crate::history::{History, Seen};
use crate::kill9::api::Api;
use crate::kill9::client::{Client, Manner, Until};
use crate::kill9::ground::budget_of;
use crate::kill9::witness::Witness;
use crate::plan::{Plan, expand};
use crate::report::SteadyLine;
use crate::steady::meter::{Meter, Reading, millis};
use crate::steady::{self, Parts};

/// For so long the server is looked at when the last fault is over, at least: else there would be
/// nothing to measure after it.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Where and with what it is played.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The server's address.
    pub url: String,
    /// The token of its `[chaos]`.
    pub token: Secret,
    /// The publisher by which the runs post.
    pub publisher: String,
    /// What the plan follows from.
    pub seed: u64,
}

/// What a play came to.
#[derive(Clone, Debug)]
pub struct Played {
    /// What the client saw, and what the server showed of itself.
    pub history: History,
    /// The probes before, during and after.
    pub steady: Vec<SteadyLine>,
    /// Why it aborted by itself, if it did.
    pub aborted: Option<String>,
}

/// Plays the experiment. In whatever way it ends, all faults are stopped; a Ctrl-C ends it.
///
/// # Errors
/// [`LiveError`] when it cannot be played, or not to its end.
pub async fn play(experiment: &Experiment, options: &LiveOptions) -> Result<Played, LiveError> {
    let world = World::real(WorldOptions::default())?;
    let interrupt = async {
        // Without a handler of ours the signal ends this program, and the faults end by themselves.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    play_in(&world, experiment, options, interrupt).await
}

/// Plays it in this world, until somebody interrupts it.
async fn play_in(
    world: &World,
    experiment: &Experiment,
    options: &LiveOptions,
    interrupt: impl Future<Output = ()>,
) -> Result<Played, LiveError> {
    let operator = Operator::new(world.http(), &options.url, options.token.clone());
    let mut plan = expand(experiment, options.seed);
    // The server remembers keys for ever, and each play is to have runs of its own.
    let began = world.now().micros();
    plan.workload.arrivals.iter_mut().for_each(|arrival| arrival.key = format!("{}-{began}", arrival.key));
    let course = course(&plan)?;
    operator.begin().await?;
    let played = tokio::select! {
        biased;
        () = interrupt => Err(LiveError::Interrupted),
        played = Game::new(experiment, &plan, world, &operator, course).play(options) => played,
    };
    // Whatever has happened, and first of all.
    let stopped = operator.stop().await;
    let played = played?;
    stopped?;
    Ok(played)
}

/// A play under way.
struct Game<'a> {
    experiment: &'a Experiment,
    plan: &'a Plan,
    world: &'a World,
    operator: &'a Operator,
    course: Vec<Due>,
    /// When it began, on the monotonic clock.
    began: Duration,
    witness: Witness,
    tally: Arc<Tally>,
    watch: RefCell<Watch>,
    meter: RefCell<Meter>,
    /// The end of every run is known.
    done: Cell<bool>,
    /// Nothing more is to be done.
    over: Cell<bool>,
    aborted: RefCell<Option<String>>,
}

impl<'a> Game<'a> {
    fn new(
        experiment: &'a Experiment,
        plan: &'a Plan,
        world: &'a World,
        operator: &'a Operator,
        course: Vec<Due>,
    ) -> Self {
        Self {
            experiment,
            plan,
            world,
            operator,
            course,
            began: world.elapsed(),
            witness: Witness::new(world.clone()),
            tally: Arc::default(),
            watch: RefCell::default(),
            meter: RefCell::default(),
            done: Cell::new(false),
            over: Cell::new(false),
            aborted: RefCell::default(),
        }
    }

    async fn play(self, options: &LiveOptions) -> Result<Played, LiveError> {
        let api = Api::new(counted(self.world.http(), Arc::clone(&self.tally)), options.url.clone());
        let manner = Manner { look_every: LOOK_EVERY, publisher: options.publisher.clone(), platform_ledger: None };
        let mut client = Client::new(self.plan, &self.witness, manner);
        let visiting = async {
            client.visit(&api, || self.now_ms(), Until::Told(&self.over)).await;
            self.done.set(true);
        };
        let striking = async {
            let struck = self.strike().await;
            if struck.is_err() {
                self.over.set(true);
            }
            struck
        };
        let ((), struck, ()) = futures::join!(visiting, striking, self.look());
        struck?;
        client.look_back(&api).await;
        // Tasks and orphans of another process cannot be counted from here.
        self.witness.see(Seen::Over { tasks: 0, unfinished: client.unfinished() as u64, orphans: 0 });
        drop(client);
        let steady = steady::lines(&self.experiment.steady, &self.meter.borrow(), self.parts());
        let budget = budget_of(&self.plan.workload)?;
        let history = self.witness.close(self.plan.clone(), budget, Vec::new(), Vec::new())?;
        Ok(Played { history, steady, aborted: self.aborted.into_inner() })
    }

    /// Starts each fault at its time, and stops what is left when the last one's time is over.
    async fn strike(&self) -> Result<(), LiveError> {
        for due in &self.course {
            if !self.wait_until(due.at_ms).await {
                return Ok(());
            }
            // Without an answer it is not known to be in force, and expires by itself if it is.
            if let Some(shown) = self.operator.start(due.number, &due.asked).await? {
                self.watch.borrow_mut().knows(shown.id, due.number);
            }
        }
        if self.wait_until(self.last_fault_ms()).await {
            self.see_faults().await;
            self.operator.stop().await?;
        }
        Ok(())
    }

    /// Whether it came to that time before the play was over.
    async fn wait_until(&self, at_ms: u64) -> bool {
        while !self.over.get() && self.now_ms() < at_ms {
            let left = Duration::from_millis(at_ms - self.now_ms());
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
        !self.over.get()
    }

    /// Looks at the server until the play is over, and says when it is.
    async fn look(&self) {
        let end_ms = self.plan.duration_ms.saturating_add(self.plan.quiet_ms);
        let enough_ms = self.last_fault_ms().saturating_add(millis(AFTERWARDS));
        while !self.over.get() {
            self.reading().await;
            self.see_faults().await;
            if let Some(abort) = &self.experiment.abort {
                self.abort(abort);
            }
            let now_ms = self.now_ms();
            let is_over = now_ms >= end_ms || (self.done.get() && now_ms >= enough_ms) || self.witness.is_broken();
            if is_over {
                self.over.set(true);
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn reading(&self) {
        let (health, tree) = futures::join!(self.operator.health(), self.operator.tree());
        let is_ready = health.as_ref().is_some_and(|health| health.is_ready);
        let mut news = Vec::new();
        let restarts = {
            let mut watch = self.watch.borrow_mut();
            news.extend(health.iter().flat_map(|health| watch.guards(&health.guards)));
            news.extend(tree.iter().flat_map(|tree| watch.tree(tree)));
            watch.restarted()
        };
        if is_ready && self.meter.borrow().readings().is_empty() {
            self.witness.see(Seen::Ready { life: 1 });
        }
        news.into_iter().for_each(|seen| self.witness.see(seen));
        let (requests, requests_failed) = self.tally.counts();
        let (runs_ended, runs_failed) = self.witness.tell(ends);
        let at_ms = self.now_ms();
        let reading = Reading { at_ms, is_ready, requests, requests_failed, runs_ended, runs_failed, restarts };
        self.meter.borrow_mut().read(reading);
    }

    async fn see_faults(&self) {
        if let Some(faults) = self.operator.faults().await {
            let news = self.watch.borrow_mut().faults(&faults);
            news.into_iter().for_each(|seen| self.witness.see(seen));
        }
    }

    fn abort(&self, abort: &Abort) {
        let measured = self.meter.borrow().at(abort.probe, self.now_ms());
        if let Some(value) = measured.filter(|value| abort.strikes(*value)) {
            let why = format!("it aborted by itself: `{}` was {value:.2}, past {}", abort.probe.name(), abort.limit);
            self.witness.broke(why.clone());
            self.aborted.borrow_mut().get_or_insert(why);
            self.over.set(true);
        }
    }

    fn parts(&self) -> Parts {
        let first = self.course.first().map_or(self.plan.duration_ms, |due| due.at_ms);
        let last = self.last_fault_ms();
        Parts { first_fault_ms: first.min(last), last_fault_ms: last, end_ms: self.now_ms() }
    }

    /// When the last fault is over.
    fn last_fault_ms(&self) -> u64 {
        self.course.iter().map(Due::ends_ms).max().unwrap_or(self.plan.duration_ms).min(self.plan.duration_ms)
    }

    fn now_ms(&self) -> u64 {
        millis(self.world.elapsed().saturating_sub(self.began))
    }
}
