//! What goes in and out of a supervisor's books.

use std::time::Duration;

use policies::strategy::Strategy;
use policies::tree::AutoShutdown;

use crate::board::NodeId;
use crate::failure::Failure;
use crate::observer::SupervisionEvent;

/// What the supervisor is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// Run the child's factory for this generation.
    Start(NodeId, u64),
    /// Stop this generation, started or still starting.
    Stop(NodeId, u64),
    /// Report back when the back-off after this generation is over.
    Wake(NodeId, u64, Duration),
    /// Show the child's new place in the picture.
    Show(NodeId),
    /// Show the child's failure in the picture.
    Failed(NodeId, Failure),
    /// The child has left the books.
    Forget(NodeId),
    /// Tell the observer.
    Tell(SupervisionEvent),
    /// Every child has been up, or is down for good.
    Ready,
    /// Every child is down: the supervisor ends too.
    End(End),
}

/// Why a supervisor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Closed,
    /// Its significant children have ended.
    Finished,
    /// A failure went past its intensity.
    Escalated(Failure),
}

/// Whether a report of a started child was of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// The child is in the books.
    Taken,
    /// It is of a life that is over: the actor must go.
    Stale,
}

/// When an event happened, and the chance that jitter draws on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Monotonic time since the world began.
    pub(crate) now: Duration,
    /// In `[0, 1)`.
    pub(crate) chance: f64,
}

/// How a supervisor treats its children.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Regime {
    /// Declared children, in order.
    Declared(Strategy, AutoShutdown),
    /// Children that come and go, independent of each other.
    Dynamic,
}
