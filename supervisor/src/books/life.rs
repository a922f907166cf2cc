//! One child in its supervisor's books.
//!
//! Invariant: what cannot be (an actor without a start, a stop without a sequel) cannot be
//! written down.

use std::sync::Arc;
use std::time::Duration;

use policies::backoff::Backoff;
use policies::failure::FailureClass;
use policies::intensity::{Allowance, Then, Verdict, Window};
use policies::reaction::Reactions;
use policies::strategy::RestartKind;
use ractor::ActorId;

use super::Moment;
use crate::board::View;
use crate::failure::{Exit, Failure};
use crate::prospects::Hold;
use crate::snapshot::{Duty, NodeState};
use crate::tree::Fault;

/// What the policy says of a child's restarts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub(crate) restart: RestartKind,
    pub(crate) backoff: Backoff,
    /// How often it may be restarted itself.
    pub(crate) allowance: Option<Allowance>,
    /// What its failures lead to.
    pub(crate) reactions: Arc<Reactions>,
    /// Whether its end counts for its supervisor's `auto_shutdown`.
    pub(crate) significant: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Down; starts in its turn.
    Waiting,
    /// Down; its back-off runs.
    Backoff,
    /// Down; its start is put off until what it needs is there.
    Held,
    /// Down until it is resumed.
    Parked,
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
    Park,
    Retire,
}

impl Life {
    /// The way down from here, for a child that is not down.
    pub(super) const fn ending(self, after: After) -> Self {
        match self {
            Self::Starting => Self::Condemned { actor: None, after },
            Self::Up { actor } => Self::Condemned { actor: Some(actor), after },
            Self::Condemned { actor, .. } => Self::Condemned { actor, after },
            Self::Stopping { actor, .. } => Self::Stopping { actor, after },
            down => down,
        }
    }
}

/// What a restart has to wait for beside its back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A budget that can pay the next attempt.
    Budget,
    /// That, and a breaker that lets calls through.
    BreakerAndBudget,
}

/// What a child went through under earlier lives of its supervisor, and what an operator said of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) generation: u64,
    pub(crate) restarts: u64,
    pub(crate) stopped: bool,
    pub(crate) duty: Duty,
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
    /// When it failed, of one that is to come back by itself.
    pub(super) failed_at: Option<Duration>,
    /// What its next start has to wait for.
    pub(super) asks: Option<Asks>,
    /// What its start is put off by.
    pub(super) held_by: Option<Hold>,
    /// A kill has had no effect in time.
    pub(super) stuck: bool,
    /// An operator stopped it.
    pub(super) stopped: bool,
    pub(super) duty: Duty,
    /// Its place among its siblings.
    pub(super) rank: u64,
    /// The tree in force has it no more: it goes for good as soon as it is down.
    pub(super) leaves: bool,
    /// It was added while its siblings were at work, and has not been up yet.
    pub(super) on_trial: bool,
    spent: Option<Window>,
    /// Failures in a row without a healthy time between them.
    attempt: u32,
}

impl Child {
    /// A child that went through this under earlier lives of its supervisor.
    pub(crate) fn after(history: History, name: &str, rules: Rules) -> Self {
        let History { generation, restarts, stopped, duty } = history;
        Self { stopped, duty, ..Self::new(name, rules, generation, restarts) }
    }

    /// A child that went through so many generations and restarts.
    pub(crate) fn new(name: &str, rules: Rules, generation: u64, restarts: u64) -> Self {
        Self {
            name: name.to_owned(),
            spent: rules.allowance.map(|allowance| Window::new(allowance.intensity())),
            rules,
            life: Life::Waiting,
            generation,
            restarts,
            born: false,
            up_since: None,
            fault: None,
            failed_at: None,
            asks: None,
            held_by: None,
            stuck: false,
            stopped: false,
            duty: Duty::Open,
            rank: 0,
            leaves: false,
            on_trial: false,
            attempt: 0,
        }
    }

    /// Holds it to other rules; the restarts that it had still count.
    pub(super) fn amend(&mut self, rules: Rules) {
        match (rules.allowance.map(Allowance::intensity), &mut self.spent) {
            (Some(intensity), Some(spent)) => spent.govern(intensity),
            (Some(intensity), spent @ None) => *spent = Some(Window::new(intensity)),
            (None, spent) => *spent = None,
        }
        self.rules = rules;
    }

    pub(super) fn view(&self) -> View {
        let state = match self.life {
            Life::Waiting => NodeState::Waiting,
            Life::Backoff => NodeState::Backoff,
            Life::Held => NodeState::Paused,
            Life::Parked => NodeState::Parked,
            Life::Starting => NodeState::Starting,
            Life::Up { .. } if self.stuck => NodeState::Stuck,
            Life::Up { .. } => NodeState::Up,
            Life::Condemned { .. } | Life::Stopping { .. } => NodeState::Stopping,
            Life::Done { .. } => NodeState::Done,
        };
        let stops = matches!(
            self.life,
            Life::Parked | Life::Condemned { after: After::Park, .. } | Life::Stopping { after: After::Park, .. }
        );
        View {
            state,
            generation: self.generation,
            restarts: self.restarts,
            held_by: self.held_by,
            stopped: self.stopped,
            duty: self.duty,
            takes_work: !stops && !self.leaves && self.duty == Duty::Open,
        }
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

    /// Counts a restart against its own allowance; what follows when that is one too many.
    pub(super) fn overspends(&mut self, now: Duration) -> Option<Then> {
        let (allowance, spent) = (self.rules.allowance?, self.spent.as_mut()?);
        (spent.record(now) == Verdict::Exceeded).then_some(allowance.then)
    }

    /// An operator vouches for it: what it failed of before is forgotten.
    pub(super) fn begin_anew(&mut self) {
        self.attempt = 0;
        (self.asks, self.held_by, self.failed_at) = (None, None, None);
        self.spent = self.rules.allowance.map(|allowance| Window::new(allowance.intensity()));
    }

    /// Why it came down; none when it ended normally. A kill is told apart by who asked.
    pub(super) fn failure_of(&mut self, exit: Exit) -> Option<Failure> {
        let fault = self.fault.take();
        self.stuck = false;
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
