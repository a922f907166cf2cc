//! Stopping one child: asked, given its time, then killed.
//!
//! Invariant: it always ends: within the child's time plus [`KILL_WAIT`].

use std::time::Duration;

use ractor::ActorCell;
use serde::Serialize;

/// How long a killed actor is waited for. A kill takes effect at the actor's next await, so
/// only blocking code outlasts it.
pub(crate) const KILL_WAIT: Duration = Duration::from_secs(5);

/// How a worker is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes no more messages, works off those it has, and ends.
    Drain,
    /// Finishes the message it is at, and ends.
    Stop,
}

/// A child that did not stop by itself in its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forced {
    /// The child's name.
    pub child: String,
    /// Whether even the kill had no effect in time: it runs blocking code.
    pub stuck: bool,
}

/// How an ordered shutdown went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ShutdownReport {
    /// The children that had to be killed, in the order in which they were.
    pub forced: Vec<Forced>,
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    InTime,
    Killed,
    Stuck,
}

/// Asks the actor to stop, waits for as long as it is given, and kills it then.
pub(crate) async fn stop(cell: &ActorCell, ask: impl FnOnce(&ActorCell), within: Duration) -> Stopped {
    // Waiting comes first: a child with no time at all is killed without being asked.
    if !within.is_zero() {
        ask(cell);
        if cell.wait(Some(within)).await.is_ok() {
            return Stopped::InTime;
        }
    }
    if kill(cell).await { Stopped::Killed } else { Stopped::Stuck }
}

/// Kills the actor; whether it has ended within [`KILL_WAIT`].
pub(crate) async fn kill(cell: &ActorCell) -> bool {
    cell.kill();
    cell.wait(Some(KILL_WAIT)).await.is_ok()
}

/// Waits until these actors, which were killed, have ended; whether all did within
/// [`KILL_WAIT`].
pub(crate) async fn wait_killed(cells: &[ActorCell]) -> bool {
    let all = async {
        for cell in cells {
            // Without a limit of its own, a wait cannot fail.
            let _ = cell.wait(None).await;
        }
    };
    tokio::time::timeout(KILL_WAIT, all).await.is_ok()
}

impl Manner {
    pub(crate) fn ask(self, cell: &ActorCell) {
        match self {
            // An actor that is gone already needs no asking.
            Self::Drain => drop(cell.drain()),
            Self::Stop => cell.stop(None),
        }
    }
}
