//! The scene: all that outlives the process, and is seen from outside it. Invariant: what is noted
//! here is noted once, at its time over all lives, and nothing of the system's own state is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage::disk::sim::SimDisk;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::weather::Weather;
use crate::fault::{Loss, Point};
use crate::history::{Seen, Sighting};
use crate::plan::Plan;

/// A cheap clone shares the scene.
#[derive(Clone)]
pub(super) struct Scene(Arc<Shared>);

struct Shared {
    disk: SimDisk,
    died: Notify,
    state: Mutex<State>,
}

struct State {
    /// Time of the lives before this one.
    before: Duration,
    clock: Clock,
    jumped_ms: i64,
    weather: Weather,
    seen: Vec<Sighting>,
    lines: Option<Vec<String>>,
    death: Option<Death>,
    /// When a full disk has room again, whoever lives then.
    room_at: Option<Duration>,
    /// Actors that were alive when their tree had ended, over all lives.
    orphans: u64,
    /// What happened beside the system: requests of the client, and times that were waited for.
    beside: u64,
    /// What had been seen when the last runtime stopped.
    seen_by_then: usize,
}

enum Clock {
    Running(Instant),
    /// Between two lives, and after the last.
    Stopped(Duration),
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) point: Option<Point>,
    pub(super) loss: Loss,
}

impl Scene {
    pub(super) fn new(plan: &Plan, disk: SimDisk, lines: bool) -> Self {
        let state = State {
            before: Duration::ZERO,
            clock: Clock::Stopped(Duration::ZERO),
            jumped_ms: 0,
            weather: Weather::new(plan),
            seen: Vec::new(),
            lines: lines.then(Vec::new),
            death: None,
            room_at: None,
            orphans: 0,
            beside: 0,
            seen_by_then: 0,
        };
        Self(Arc::new(Shared { disk, died: Notify::new(), state: Mutex::new(state) }))
    }

    pub(super) fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    /// Time since the play's beginning, over all lives.
    pub(super) fn now(&self) -> Duration {
        self.state().now()
    }

    /// How far the wall clock is from where a new world would have it.
    pub(super) fn clock_offset_ms(&self) -> i64 {
        let state = self.state();
        i64::try_from(state.before.as_millis()).unwrap_or(i64::MAX).saturating_add(state.jumped_ms)
    }

    pub(super) fn jump(&self, by_ms: i64) {
        let mut state = self.state();
        state.jumped_ms = state.jumped_ms.saturating_add(by_ms);
    }

    /// A life begins.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.before = state.now();
        state.clock = Clock::Running(Instant::now());
        state.death = None;
    }

    /// The disk is full, for so long at least.
    pub(super) fn fill_disk(&self, time: Duration) {
        let mut state = self.state();
        state.room_at = Some(state.now() + time).max(state.room_at);
        self.disk().set_capacity(Some(self.disk().used()));
    }

    /// How long the disk will still be full.
    pub(super) fn full_for(&self) -> Option<Duration> {
        let state = self.state();
        state.room_at.map(|at| at.saturating_sub(state.now()))
    }

    /// Makes room on the disk, if it is time.
    pub(super) fn make_room(&self) {
        let mut state = self.state();
        if state.room_at.is_some_and(|at| at <= state.now()) {
            state.room_at = None;
            self.disk().set_capacity(None);
        }
    }

    /// A life is over, and with it the runtime that its time came from.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        let now = state.now();
        state.clock = Clock::Stopped(now);
        state.seen_by_then = state.seen.len();
    }

    /// Puts in order what was seen while the tasks of a stopped runtime were dropped: that goes by numbers which
    /// the process gives to all tasks that it ever had, and follows from no plan.
    pub(super) fn order_last_words(&self) {
        let mut state = self.state();
        let from = state.seen_by_then.min(state.seen.len());
        state.seen[from..].sort_by_cached_key(|sighting| serde_json::to_string(sighting).unwrap_or_default());
    }

    /// Time that passes while nothing runs.
    pub(super) fn pass_time(&self, by: Duration) {
        let mut state = self.state();
        let now = state.now();
        state.clock = Clock::Stopped(now + by);
    }

    pub(super) fn see(&self, what: Seen) {
        let mut state = self.state();
        let now = state.now();
        state.see(now, what);
    }

    /// Notes something at an earlier time than now.
    pub(super) fn saw(&self, at: Duration, what: Seen) {
        self.state().see(at, what);
    }

    /// Keeps a line of the trace, if lines are kept.
    pub(super) fn line(&self, line: &str) {
        let mut state = self.state();
        let now = state.now();
        if let Some(lines) = &mut state.lines {
            lines.push(format!("{} {line}", now.as_micros()));
        }
    }

    pub(super) fn take_lines(&self) -> Vec<String> {
        self.state().lines.take().unwrap_or_default()
    }

    /// Asks the weather, and notes a fault that strikes.
    pub(super) fn strike<T>(&self, ask: impl FnOnce(&mut Weather, Duration) -> Option<(u32, T)>) -> Option<T> {
        let mut state = self.state();
        let now = state.now();
        let (number, effect) = ask(&mut state.weather, now)?;
        state.see(now, Seen::Struck { number });
        Some(effect)
    }

    pub(super) fn weather<T>(&self, ask: impl FnOnce(&mut Weather, Duration) -> T) -> T {
        let mut state = self.state();
        let now = state.now();
        ask(&mut state.weather, now)
    }

    /// The process passes a point, and may die there.
    pub(super) fn pass(&self, point: Point) {
        if self.is_dead() {
            return;
        }
        if let Some(loss) = self.strike(|weather, now| weather.passes(point, now)) {
            self.die(Death { point: Some(point), loss });
        }
    }

    /// From here on nothing that the process does has any effect: its disk is off, its connections
    /// are silent, and its runtime goes at the next turn.
    pub(super) fn die(&self, death: Death) {
        {
            let mut state = self.state();
            if state.death.is_some() {
                return;
            }
            let now = state.now();
            state.death = Some(death);
            state.see(now, Seen::Crashed { point: death.point, loss: death.loss });
            state.clock = Clock::Stopped(now);
        }
        self.0.disk.power_off_after(0);
        self.0.died.notify_one();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state().death.is_some()
    }

    pub(super) fn death(&self) -> Option<Death> {
        self.state().death
    }

    /// Notes so many actors that are alive though their tree has ended.
    pub(super) fn orphaned(&self, count: u64) {
        self.state().orphans += count;
    }

    /// Actors that were alive when their tree had ended, over all lives.
    pub(super) fn orphans(&self) -> u64 {
        self.state().orphans
    }

    /// Counts something that happened beside the system.
    pub(super) fn count(&self) {
        self.state().beside += 1;
    }

    /// How much happened beside the system.
    pub(super) fn beside(&self) -> u64 {
        self.state().beside
    }

    /// Waits, as somebody outside does.
    pub(super) async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
        if !time.is_zero() {
            self.count();
        }
    }

    /// Resolves when the process has died.
    pub(super) async fn died(&self) {
        self.0.died.notified().await;
    }

    /// What a dead process does: nothing, until its runtime goes.
    pub(super) async fn hold_if_dead(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// How often the system was ready.
    pub(super) fn readies(&self) -> usize {
        self.state().seen.iter().filter(|sighting| matches!(sighting.what, Seen::Ready { .. })).count()
    }

    /// Everything that was seen, in order of time.
    pub(super) fn take(&self) -> Vec<Sighting> {
        let mut seen = std::mem::take(&mut self.state().seen);
        seen.sort_by_key(|sighting| sighting.at_us);
        seen
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change above is a single step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> Duration {
        match self.clock {
            Clock::Running(since) => self.before + since.elapsed(),
            Clock::Stopped(at) => at,
        }
    }

    fn see(&mut self, at: Duration, what: Seen) {
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        self.seen.push(Sighting { at_us, what });
    }
}
