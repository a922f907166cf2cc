//! The guard around every effect, in this order: deadline, concurrency, rate, breaker; who waits for a place
//! or the rate is let through by its rank. Invariant:
//! its state lives here and outlives the actors that use it; every admitted call is recorded once,
//! an abandoned one as saying nothing about the other side.

mod left;
mod limit;
mod line;
mod slots;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::breaker::{Admission, Breaker, BreakerState, Epoch, Outcome};
use policies::failure::FailureClass;
use policies::guard::GuardPolicy;
use policies::latency::Latency;
use policies::priority::{Priority, Rank};
use policies::span::Span;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::latest::{self, Latest};
use crate::telemetry::Metrics;
use crate::world::World;
pub use left::{Left, Need, Rest};
use limit::Pace;
pub use line::{Blocked, Line};
use slots::{Slot, Slots};

/// From here on it is told that calls are held back: a shorter wait is hardly seen.
const HOLD_TOLD_FROM: Duration = Duration::from_secs(5);

/// All guards by name; a cheap clone that shares their state.
#[derive(Clone)]
pub struct Guards(Arc<Shared>);

struct Shared {
    world: World,
    metrics: Metrics,
    policy: Mutex<policies::guard::Guards>,
    /// How often a breaker of any of them has moved.
    moves: Arc<Latest<u64>>,
    guards: Mutex<BTreeMap<String, Guard>>,
}

/// The guard of one kind of effect; a cheap clone that shares its state.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    name: String,
    policy: Mutex<GuardPolicy>,
    world: World,
    metrics: Metrics,
    moves: Arc<Latest<u64>>,
    slots: Slots,
    pace: Pace,
    breaker: Mutex<Breaker>,
    latency: Mutex<Latency>,
    left: Mutex<left::Word>,
}

/// Why a call may not be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The deadline passed before there was room.
    #[error("the deadline passed while it waited for {0}")]
    Deadline(Waiting),
    /// The breaker is open.
    #[error("the circuit breaker is open{}", after(.0))]
    Open(
        /// How long until a probe may go; `None` while probes under way decide.
        Option<Duration>,
    ),
}

fn after(wait: &Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(" for another {wait:?}"))
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The deadline had passed at the outset.
    Nothing,
    /// One of the calls under way to end.
    Concurrency,
    /// The rate limit.
    Rate,
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Concurrency => "other calls to end",
            Self::Rate => "the rate limit",
        })
    }
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// The failure, if it failed.
    pub class: Option<FailureClass>,
    /// How long the call took.
    pub took: Duration,
}

/// A guard as the tree's picture shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardState {
    /// Calls under way.
    pub in_flight: usize,
    /// The most calls under way.
    pub concurrency: usize,
    /// Where the breaker stands.
    pub breaker: BreakerState,
    /// Until when, on the world's monotonic clock, the other side wants no call.
    pub held_until: Option<Duration>,
}

impl Guards {
    /// Guards by `policy`, with nothing counted outside of them.
    pub fn new(world: World, policy: policies::guard::Guards) -> Self {
        Self::counted(world, policy, Metrics::new())
    }

    /// Guards by `policy`, whose calls and moves are counted in `metrics`.
    pub fn counted(world: World, policy: policies::guard::Guards, metrics: Metrics) -> Self {
        let moves = Arc::new(Latest::new(0));
        Self(Arc::new(Shared { world, metrics, policy: Mutex::new(policy), moves, guards: Mutex::default() }))
    }

    /// Holds all guards to another policy from now on. Calls under way go on; each guard keeps its
    /// breaker's state, and its bucket where the rate is the same.
    pub fn govern(&self, policy: policies::guard::Guards) {
        let guards = lock(&self.0.guards);
        for (name, guard) in guards.iter() {
            guard.govern(policy.get(name));
        }
        *lock(&self.0.policy) = policy;
    }

    /// The guard of that name, made by its policy when first asked for. Names come from
    /// configuration, which bounds them.
    pub fn get(&self, name: &str) -> Guard {
        let mut guards = lock(&self.0.guards);
        if let Some(guard) = guards.get(name) {
            return guard.clone();
        }
        let guard = Guard::new(name, lock(&self.0.policy).get(name), &self.0);
        guards.insert(name.to_owned(), guard.clone());
        guard
    }

    /// Follows the moves of all breakers, and who is held back for long: a new value says that one of them
    /// has moved.
    pub fn watch(&self) -> latest::Watcher<u64> {
        self.0.moves.watch()
    }

    /// Every guard in use, by name.
    pub fn snapshot(&self) -> BTreeMap<String, GuardState> {
        let guards = lock(&self.0.guards);
        guards.iter().map(|(name, guard)| (name.clone(), guard.state())).collect()
    }
}

impl Guard {
    fn new(name: &str, policy: GuardPolicy, shared: &Shared) -> Self {
        let Shared { world, metrics, moves, .. } = shared;
        Self(Arc::new(Inner {
            name: name.to_owned(),
            world: world.clone(),
            metrics: metrics.clone(),
            moves: Arc::clone(moves),
            slots: Slots::new(policy.concurrency),
            pace: Pace::new(policy.rate, world),
            breaker: Mutex::new(Breaker::new(policy.breaker)),
            latency: Mutex::default(),
            left: Mutex::default(),
            policy: Mutex::new(policy),
        }))
    }

    fn govern(&self, policy: GuardPolicy) {
        let mut own = lock(&self.0.policy);
        if own.rate != policy.rate {
            self.0.pace.govern(policy.rate);
        }
        self.0.slots.resize(policy.concurrency);
        lock(&self.0.breaker).govern(policy.breaker);
        *own = policy;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its policy, with the time-out and the retries for the caller to apply.
    pub fn policy(&self) -> GuardPolicy {
        lock(&self.0.policy).clone()
    }

    /// A permit, if a call may be made at once.
    pub fn try_admit(&self) -> Option<Permit> {
        self.try_admit_as(self.rank(Priority::Normal))
    }

    /// The same for a call of this rank: it is not let through before those that wait and are before it.
    fn try_admit_as(&self, rank: Rank) -> Option<Permit> {
        let slot = self.0.slots.try_take(rank)?;
        self.0.pace.check_as(rank).ok()?;
        self.pass_breaker(slot).ok()
    }

    /// The rank of a call that comes now.
    pub fn rank(&self, priority: Priority) -> Rank {
        Rank::of(priority, self.0.world.elapsed())
    }

    /// A permit, once there is one. It waits for concurrency and rate until the deadline; at an
    /// open breaker it does not wait.
    ///
    /// # Errors
    /// The first of them, in their order, that does not let the call through.
    pub async fn admit(&self, deadline: Instant) -> Result<Permit, Refused> {
        self.admit_as(self.rank(Priority::Normal), deadline).await
    }

    async fn admit_as(&self, rank: Rank, deadline: Instant) -> Result<Permit, Refused> {
        if deadline <= Instant::now() {
            return Err(Refused::Deadline(Waiting::Nothing));
        }
        let slot = self.pass_line(rank, deadline).await?;
        self.pass_breaker(slot)
    }

    /// A place, and a call out of the bucket after it.
    async fn pass_line(&self, rank: Rank, deadline: Instant) -> Result<Slot, Refused> {
        let slot = self.0.slots.take(rank, deadline).await.ok_or(Refused::Deadline(Waiting::Concurrency))?;
        self.0.pace.pass(rank, deadline).await?;
        Ok(slot)
    }

    /// A permit for who has its place, past the breaker only if that is about the call.
    fn pass(&self, slot: Slot, breaks: bool) -> Result<Permit, Refused> {
        if breaks { self.pass_breaker(slot) } else { Ok(Permit::of(self, None, slot)) }
    }

    fn pass_breaker(&self, slot: Slot) -> Result<Permit, Refused> {
        let (admission, epoch) = self.with_breaker(|breaker, now| {
            let admission = breaker.admit(now);
            (admission, breaker.epoch())
        });
        match admission {
            Admission::Go => Ok(Permit::of(self, Some(epoch), slot)),
            Admission::Wait(wait) => Err(Refused::Open(Some(wait))),
            Admission::Refused => Err(Refused::Open(None)),
        }
    }

    /// The other side has said what is left of its limits.
    pub fn leaves(&self, left: Left) {
        lock(&self.0.left).hear(left, self.0.world.elapsed());
    }

    /// How long there is less left of the other side's limits than a call needs, by its latest word; it would
    /// refuse that call, and not a smaller one. What the call needs is asked only where such a word holds.
    pub fn short_for(&self, need: impl FnOnce() -> Need) -> Option<Duration> {
        let (word, now) = (*lock(&self.0.left), self.0.world.elapsed());
        if word.holds(now) { word.short_for(need(), now) } else { None }
    }

    /// Lets no call go for so long, since the other side would refuse it: ten minutes at most. Calls
    /// wait for it as they do for the rate.
    pub fn hold(&self, span: Duration) {
        self.0.pace.hold(span);
        if span >= HOLD_TOLD_FROM {
            let (guard, held) = (self.name(), self.held_for());
            tracing::info!(guard, ?held, "the other side wants no calls for a while");
            self.moved();
        }
    }

    /// How long the other side's word holds calls back yet.
    pub fn held_for(&self) -> Option<Duration> {
        self.0.pace.held_for()
    }

    /// Where it stands now.
    pub fn state(&self) -> GuardState {
        GuardState {
            in_flight: self.0.slots.in_flight(),
            concurrency: self.0.slots.max(),
            breaker: lock(&self.0.breaker).state(),
            held_until: self.held_for().map(|left| self.0.world.elapsed() + left),
        }
    }

    /// How long its breaker lets nothing through; nothing when a call could go.
    pub fn open_for(&self) -> Option<Duration> {
        lock(&self.0.breaker).open_for(self.0.world.elapsed())
    }

    /// What its breaker would say to a call now.
    pub fn foresee(&self) -> Admission {
        lock(&self.0.breaker).foresee(self.0.world.elapsed())
    }

    /// A call has ended that says how long others will take.
    pub fn measure(&self, took: Duration) {
        lock(&self.0.latency).observe(took, self.0.world.elapsed());
    }

    /// How long its calls took lately; none where none has said so for a while.
    pub fn latency(&self) -> Option<Span> {
        lock(&self.0.latency).estimate(self.0.world.elapsed())
    }

    /// Tells those who follow the guards that one of them has moved.
    fn moved(&self) {
        self.0.moves.set_if(|moves| {
            *moves += 1;
            true
        });
    }

    /// Feeds the breaker, and reports its move if it made one.
    fn with_breaker<T>(&self, feed: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let now = self.0.world.elapsed();
        let (before, after, output) = {
            let mut breaker = lock(&self.0.breaker);
            let before = (breaker.epoch(), breaker.state());
            let output = feed(&mut breaker, now);
            (before, (breaker.epoch(), breaker.state()), output)
        };
        if before.0 != after.0 {
            let (from, to) = (before.1.as_str(), after.1.as_str());
            tracing::info!(guard = self.name(), to, "the circuit breaker moved");
            self.0.metrics.breaker_moved(self.name(), from, to);
            self.moved();
            self.0.world.trace(format_args!("breaker {} {to}", self.name()));
        }
        output
    }
}

/// The right to make one call. Dropped unfinished, the call counts as abandoned: its place goes
/// back, and so does a probe's.
pub struct Permit {
    guard: Guard,
    /// When the breaker let it through; none where that is not about this call.
    epoch: Option<Epoch>,
    /// That of the caller's own guard, which hears the same of the call.
    front: Option<Box<Permit>>,
    _slot: Slot,
}

impl Permit {
    /// The guard that gave it; of two, the one that others share.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    fn of(guard: &Guard, epoch: Option<Epoch>, slot: Slot) -> Self {
        Self { guard: guard.clone(), epoch, front: None, _slot: slot }
    }

    fn behind(mut self, front: Self) -> Self {
        self.front = Some(Box::new(front));
        self
    }

    /// Records how the call ended and gives its place back.
    pub fn finish(mut self, outcome: CallOutcome) {
        self.record(verdict(outcome.class), outcome.took);
        if let Some(front) = &mut self.front {
            front.record(verdict(outcome.class), outcome.took);
        }
        // Once for the call, by the guard that others share.
        self.guard.0.metrics.effect_ended(self.guard.name(), outcome.class, outcome.took);
    }

    /// Once: what is recorded has no epoch any more.
    fn record(&mut self, outcome: Outcome, took: Duration) {
        if let Some(epoch) = self.epoch.take() {
            self.guard.with_breaker(|breaker, now| breaker.record(epoch, outcome, took, now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.record(Outcome::Unclear, Duration::ZERO);
    }
}

/// What a call says about the other side. Whoever answers is well, whatever the answer.
fn verdict(class: Option<FailureClass>) -> Outcome {
    use FailureClass::{BudgetSpent, Bug, Hung, Poison, ProviderDown, RateLimited, Rejected, Shutdown};
    match class {
        None | Some(RateLimited | Rejected) => Outcome::Succeeded,
        Some(ProviderDown | Hung) => Outcome::Failed,
        Some(Bug | BudgetSpent | Poison | Shutdown) => Outcome::Unclear,
    }
}

/// A call was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// It took longer than allowed.
    #[error("no end within {0:?}")]
    TimedOut(Duration),
    /// Whoever wanted it no longer does.
    #[error("cancelled")]
    Cancelled,
}

/// Runs a call for at most `timeout`, until it is cancelled. Cut, the call's future is dropped.
///
/// # Errors
/// [`Cut`], when it did not end by itself.
pub async fn call_with_timeout<T>(
    timeout: Duration,
    cancelled: &CancellationToken,
    call: impl Future<Output = T>,
) -> Result<T, Cut> {
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(Cut::Cancelled),
        ended = tokio::time::timeout(timeout, call) => ended.map_err(|_| Cut::TimedOut(timeout)),
    }
}

/// A panic elsewhere cannot leave these states half changed, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
