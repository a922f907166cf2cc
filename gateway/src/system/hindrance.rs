//! What holds runs up and fails none: a journal without room, open breakers, and the limits of others. Invariant: each
//! change is told once, and one that passed before it could be told is not told at all.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actors::latest::Watcher;
use agents::run::Due;
use agents::workflow::StepPath;
use policies::breaker::BreakerState;
use policies::instant::Timestamp;
use storage::journal::Shortage;

use super::System;

/// The outcome of the call that moved a breaker is written within this time, and is told first.
const TOLD_AFTER: Duration = Duration::from_millis(200);

/// A hindrance that has come, or is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// The journal has no room; what is to be written waits.
    Full(Shortage),
    /// The journal has room again.
    Room,
    /// A breaker lets no call through for so long.
    Open {
        /// Whose.
        guard: String,
        /// Until it tries one call.
        wait: Duration,
    },
    /// The other side of a guard wants no call for so long.
    Held {
        /// Whose.
        guard: String,
        /// Until it lets calls through.
        wait: Duration,
    },
    /// A breaker lets calls through again.
    Closed {
        /// Whose.
        guard: String,
    },
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(Shortage { asked, limit }) => write!(
                f,
                "the journal is full: {limit}; {asked} or more are needed. What is to be written waits and nothing is lost; \
                 make room, and it goes on"
            ),
            Self::Room => f.write_str("the journal has room again; it goes on"),
            Self::Open { guard, wait } => write!(
                f,
                "the breaker of `{guard}` is open after failures in a row; its next call is tried in {:.0} s",
                wait.as_secs_f64()
            ),
            Self::Held { guard, wait } => {
                write!(f, "the limits behind `{guard}` are used up; its next call goes in {:.0} s", wait.as_secs_f64())
            }
            Self::Closed { guard } => write!(f, "the breaker of `{guard}` is closed again; it goes on"),
        }
    }
}

/// A guard that is held for longer by less than this is not told again.
const RETOLD_AFTER: Duration = Duration::from_secs(1);

/// Tells hindrances as they come and go.
pub struct Hindrances {
    system: Arc<System>,
    room: Watcher<Option<Shortage>>,
    moves: Watcher<u64>,
    full: bool,
    /// Breakers that were told to be open, and until when.
    open: BTreeMap<String, Duration>,
    /// Guards that were told to be held, and until when.
    held: BTreeMap<String, Duration>,
    untold: VecDeque<Hindrance>,
}

impl System {
    /// What holds runs up, from now on; what does so already comes first.
    pub fn hindrances(self: &Arc<Self>) -> Hindrances {
        Hindrances {
            system: Arc::clone(self),
            room: self.journal.watch_room(),
            moves: self.stage.guards.watch(),
            full: false,
            open: BTreeMap::new(),
            held: BTreeMap::new(),
            untold: VecDeque::new(),
        }
    }

    /// The steps of a run that are not under way and whose next call is one that this guard stands
    /// around, and for which nobody stands in.
    pub async fn waiting_for(&self, run: &str, guard: &str) -> Vec<StepPath> {
        let Ok(state) = self.state(run).await else { return Vec::new() };
        // A retry that is not due yet waits for it as well.
        let due = state.due(Timestamp::from_micros(i64::MAX)).unwrap_or_default();
        let waits = |due: &Due| self.stage.waits_for(&due.action, guard);
        due.into_iter().filter(waits).map(|due| due.path).collect()
    }
}

impl Hindrances {
    /// The next change; it waits for one for as long as the system runs. Nothing is lost when it is
    /// dropped before its end.
    pub async fn next(&mut self) -> Hindrance {
        loop {
            self.look();
            if !self.untold.is_empty() {
                // Only what is taken is told, so whoever drops this meanwhile hears of it again.
                tokio::time::sleep(TOLD_AFTER).await;
                if let Some(hindrance) = self.untold.pop_front() {
                    return hindrance;
                }
            }
            tokio::select! {
                biased;
                room = self.room.next() => if room.is_err() { std::future::pending::<()>().await },
                moves = self.moves.next() => if moves.is_err() { std::future::pending::<()>().await },
            }
        }
    }

    fn look(&mut self) {
        let shortage = self.room.see();
        match shortage {
            Some(shortage) if !self.full => {
                self.full = true;
                self.untold.push_back(Hindrance::Full(shortage));
            }
            None if self.full => {
                self.full = false;
                self.untold.push_back(Hindrance::Room);
            }
            _ => {}
        }
        self.moves.see();
        let now = self.system.world.elapsed();
        for (guard, state) in self.system.stage.guards.snapshot() {
            // The same moment is a little off each time, for it is told as what is left.
            let told = self.held.get(&guard).map(|told| *told + RETOLD_AFTER);
            if let Some(until) = state.held_until.filter(|until| told.is_none_or(|told| *until > told)) {
                self.held.insert(guard.clone(), until);
                self.untold.push_back(Hindrance::Held { guard: guard.clone(), wait: until.saturating_sub(now) });
            }
            match state.breaker {
                BreakerState::Open { until } if self.open.insert(guard.clone(), until) != Some(until) => {
                    self.untold.push_back(Hindrance::Open { guard, wait: until.saturating_sub(now) });
                }
                BreakerState::Closed if self.open.remove(&guard).is_some() => {
                    self.untold.push_back(Hindrance::Closed { guard });
                }
                _ => {}
            }
        }
    }
}
