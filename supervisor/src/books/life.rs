//! One child in its supervisor's books.
//!
//! Invariant: what cannot be (an actor without a start, a stop without a sequel) cannot be
//! written down.

use std::time::Duration;

use policies::backoff::Backoff;
use policies::failure::FailureClass;
use policies::strategy::RestartKind;
use ractor::ActorId;

use super::Moment;
use crate::board::View;
use crate::failure::{Exit, Failure};
use crate::snapshot::NodeState;
use crate::tree::Fault;

/// What the policy says of a child's restarts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub(crate) restart: RestartKind,
    pub(crate) backoff: Backoff,
    /// Whether its end counts for its supervisor's `auto_shutdown`.
    pub(crate) significant: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Down; starts in its turn.
    Waiting,
    /// Down; its back-off runs.
    Backoff,
    /// Its factory runs.
    Starting,
    Up {
        actor: ActorId,
    },
    /// Up or starting; stops in its turn.
    Condemned {
        actor: Option<ActorId>,
        after: After,
    },
    /// Its stop is under way.
    Stopping {
        actor: Option<ActorId>,
        after: After,
    },
    /// Down for good, unless it `returns` with its group.
    Done {
        returns: bool,
    },
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Start,
    Retire,
}

#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(super) name: String,
    pub(super) rules: Rules,
    pub(super) life: Life,
    pub(super) generation: u64,
    pub(super) restarts: u64,
    /// Whether it has been up under this supervisor's life.
    pub(super) born: bool,
    pub(super) up_since: Option<Duration>,
    pub(super) fault: Option<Fault>,
    /// Failures in a row without a healthy time between them.
    attempt: u32,
}

impl Child {
    /// A child that went through so many generations and restarts under earlier lives of
    /// its supervisor.
    pub(crate) fn new(name: &str, rules: Rules, generation: u64, restarts: u64) -> Self {
        Self {
            name: name.to_owned(),
            rules,
            life: Life::Waiting,
            generation,
            restarts,
            born: false,
            up_since: None,
            fault: None,
            attempt: 0,
        }
    }

    pub(super) fn view(&self) -> View {
        let state = match self.life {
            Life::Waiting => NodeState::Waiting,
            Life::Backoff => NodeState::Backoff,
            Life::Starting => NodeState::Starting,
            Life::Up { .. } => NodeState::Up,
            Life::Condemned { .. } | Life::Stopping { .. } => NodeState::Stopping,
            Life::Done { .. } => NodeState::Done,
        };
        View { state, generation: self.generation, restarts: self.restarts }
    }

    /// Whether its actor may end before we are told of its start.
    pub(super) fn may_exit_early(&self) -> bool {
        matches!(self.life, Life::Starting | Life::Condemned { actor: None, .. })
    }

    /// Counts a restart and gives the delay before it. A time up of at least `healthy_after`
    /// starts the back-off anew.
    pub(super) fn next_backoff(&mut self, at: Moment, healthy_after: Duration) -> Duration {
        let up_since = self.up_since.take();
        if up_since.is_some_and(|since| at.now.saturating_sub(since) >= healthy_after) {
            self.attempt = 0;
        }
        self.attempt = self.attempt.saturating_add(1);
        self.restarts += 1;
        self.rules.backoff.delay(self.attempt, at.chance)
    }

    /// Why it came down; none when it ended normally. A kill is told apart by who asked.
    pub(super) fn failure_of(&mut self, exit: Exit) -> Option<Failure> {
        let fault = self.fault.take();
        match (exit, fault) {
            (Exit::Normal, _) => None,
            (Exit::Failed(failure), _) => Some(failure),
            (Exit::Killed, Some(Fault::Kill)) => Some(Failure::new(FailureClass::Shutdown, "killed by an operator")),
            (Exit::Killed, Some(Fault::Hung)) => {
                Some(Failure::new(FailureClass::Hung, "killed because it made no progress"))
            }
            (Exit::Killed, None) => Some(Failure::new(FailureClass::Bug, "killed, and not by its supervisor")),
        }
    }
}
