//! The live runner: an experiment on a running server, over its operators' API.
//!
//! Invariant: whatever ends a play, its end, an abort, an interrupt or a failure of this program, the
//! one stop for all faults is sent, and each fault ends by itself at the server all the same.
//!
//! In this mode only the client's view is there: nobody reads the provider's or the platform's ledger.
//! So only the checkers that need neither are asked ([`INVARIANTS`]), and of what must have happened
//! only that which shows from outside ([`SOMETIMES`]).

pub mod command;
mod course;
mod operator;
mod play;
mod watch;

use std::time::Duration;

use gateway::live::NotFault;

use crate::aims::{Invariant, Sometimes};
use crate::kill9::Kill9Error;

pub use play::{LiveOptions, Played, play};

/// What can be judged by what the client saw.
pub const INVARIANTS: [Invariant; 3] =
    [Invariant::NoLostRun, Invariant::AcknowledgedSurvives, Invariant::ResultsStable];
/// What shows to a client and to whoever looks at the server's health, its tree and its faults.
pub const SOMETIMES: [Sometimes; 6] = [
    Sometimes::BreakerOpened,
    Sometimes::PostHeld,
    Sometimes::Restarted,
    Sometimes::RunRefused,
    Sometimes::DiskWasFull,
    Sometimes::ActorKilled,
];
/// Between two looks of the client at its runs, and of the watch at the server.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The play could not be made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Nobody answers.
    #[error("{0} does not answer; start `callboard serve`, or name it with --url")]
    Silent(String),
    /// The server has no operators' API for faults.
    #[error("{0} takes no faults; give its callboard.toml `[chaos]` with a `token`, and start it again")]
    Off(String),
    /// The token is not the server's.
    #[error("{0} refuses the token; export that of its `[chaos]`, and name the variable with --token-env")]
    Refused(String),
    /// Somebody else is at it.
    #[error("{0} faults are in force already; wait for their end, or stop them with `DELETE /v1/chaos/faults`")]
    Busy(usize),
    /// A fault that no running server is given.
    #[error("fault {number} cannot be played live: {reason}")]
    Fault {
        /// Its number in the plan.
        number: u32,
        /// Why.
        reason: String,
    },
    /// A fault that goes past a server's bounds.
    #[error("fault {number} cannot be played live")]
    Bounds {
        /// Its number in the plan.
        number: u32,
        /// Why.
        source: NotFault,
    },
    /// The faults may still be in force.
    #[error("the stop for all faults was not acknowledged; they expire by themselves within {0:?}")]
    NotStopped(Duration),
    /// Somebody has ended it.
    #[error("it was interrupted; all faults are stopped")]
    Interrupted,
    /// What was seen cannot be put together.
    #[error(transparent)]
    Witness(#[from] Kill9Error),
    /// No client can be made.
    #[error("the client cannot be set up")]
    World(#[from] actors::world::WorldError),
}
