//! What the tree tells those who watch it: metrics, the audit, the terminal.
//!
//! Invariant: an observer is called from the supervisor's handler, in the order in which
//! things happened there; it must not block.

use std::time::Duration;

use policies::failure::FailureClass;

use crate::prospects::Hold;

/// One thing that happened in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisionEvent {
    /// A child's generation is up.
    ChildUp {
        /// The child's name.
        child: String,
        /// Which of its lives this is, from 1.
        generation: u64,
        /// How long it was down, when it had failed and no person had to bring it back.
        down: Option<Duration>,
    },
    /// A child came down unasked, or failed to start.
    ChildDown {
        /// The child's name.
        child: String,
        /// The failure's class; none when it ended normally.
        class: Option<FailureClass>,
        /// What happened, for people.
        reason: String,
    },
    /// A child will be started again (its affected siblings with it).
    Restarting {
        /// The child whose failure caused it.
        child: String,
        /// The failure's class; none when it ended normally.
        class: Option<FailureClass>,
        /// The back-off before it.
        after: Duration,
    },
    /// A child's restart is put off until what it needs is there.
    Paused {
        /// The child's name.
        child: String,
        /// What puts it off.
        hold: Hold,
        /// When that is looked at again.
        again_in: Duration,
    },
    /// A child failed and stays down until an operator resumes it.
    Parked {
        /// The child's name.
        child: String,
        /// The failure's class.
        class: FailureClass,
        /// What happened, for people.
        reason: String,
    },
    /// A child was killed and runs on: its code blocks.
    Stuck {
        /// The child's name.
        child: String,
    },
    /// A supervisor is past its intensity: it stops its children and fails to its parent.
    Escalated {
        /// The supervisor's name.
        supervisor: String,
        /// The child whose failure was one too many.
        child: String,
        /// That failure's class.
        class: FailureClass,
        /// That failure, for people.
        reason: String,
    },
    /// The whole tree has ended.
    Stopped,
}

/// The supervisor that an event is about, or whose child it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sphere<'a> {
    /// Its name.
    pub supervisor: &'a str,
    /// Whether its children come and go at run time, so that there is no end to their names.
    pub is_dynamic: bool,
}

/// Hears every supervision event.
pub trait Observer: Send + Sync {
    /// Called once per event; must return at once.
    fn event(&self, event: SupervisionEvent);

    /// The same, for those who want to know whose it is.
    fn event_in(&self, _sphere: Sphere<'_>, event: SupervisionEvent) {
        self.event(event);
    }
}

/// An observer that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: SupervisionEvent) {}
}
