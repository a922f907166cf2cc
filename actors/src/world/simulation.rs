//! What a simulated world keeps beside the runtime: its seed, its wall clock, its trace.
//! Invariant: everything here is a function of the seed and of the calls made so far.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::instant::Timestamp;

use super::chance::{Chance, Fold};
use super::micros;

/// When simulated time begins: 2026-01-01T00:00:00Z.
pub const EPOCH: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The most that one yield point yields.
const YIELDS_MAX: u64 = 3;

pub(super) struct Simulation {
    seed: u64,
    state: Mutex<State>,
}

/// Hears each line of the trace.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

struct State {
    listener: Option<Listener>,
    still: bool,
    steps: u64,
    jumped_micros: i64,
    /// How often each name has been asked for a stream.
    streams: BTreeMap<String, u64>,
    yields: Chance,
    trace: Fold,
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            listener: None,
            still: false,
            steps: 0,
            jumped_micros: 0,
            streams: BTreeMap::new(),
            yields: Chance::derived(seed, "world/yields", 0),
            trace: Fold::new(0),
        };
        Self { seed, state: Mutex::new(state) }
    }

    pub(super) fn now(&self, elapsed: Duration) -> Timestamp {
        let jumped = self.state().jumped_micros;
        Timestamp::from_micros(EPOCH.micros().saturating_add(micros(elapsed)).saturating_add(jumped))
    }

    pub(super) fn jump(&self, by_ms: i64) {
        let mut state = self.state();
        state.jumped_micros = state.jumped_micros.saturating_add(by_ms.saturating_mul(1000));
    }

    pub(super) fn chance(&self, name: &str) -> Chance {
        let mut state = self.state();
        let count = state.streams.entry(name.to_owned()).or_insert(0);
        let nth = *count;
        *count += 1;
        Chance::derived(self.seed, name, nth)
    }

    pub(super) fn yields(&self) -> u64 {
        let mut state = self.state();
        state.steps += 1;
        if state.still { 0 } else { state.yields.below(YIELDS_MAX + 1) }
    }

    pub(super) fn trace(&self, elapsed: Duration, line: &dyn Display) {
        let said = line.to_string();
        let line = format!("{} {said}", elapsed.as_micros());
        tracing::trace!(target: "callboard::trace", "{line}");
        let listener = {
            let mut state = self.state();
            state.steps += 1;
            state.trace.line(line.as_bytes());
            state.listener.clone()
        };
        // Outside the lock: a listener may ask the world for the time.
        if let Some(listener) = listener {
            listener(&said);
        }
    }

    pub(super) fn listen(&self, listener: Listener) {
        self.state().listener = Some(listener);
    }

    pub(super) fn still(&self) {
        self.state().still = true;
    }

    pub(super) fn step(&self) {
        self.state().steps += 1;
    }

    pub(super) fn steps(&self) -> u64 {
        self.state().steps
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.state().trace.value()
    }

    /// A panic elsewhere cannot leave this state half changed, so a poisoned lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
