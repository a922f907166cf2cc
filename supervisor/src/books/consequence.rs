//! What follows when a child came down unasked.
//!
//! Invariant: a failure leads to exactly one thing: a restart (at once, after a back-off, or held),
//! a parked child, a child that is done, or the end of the supervisor.

use policies::failure::FailureClass;
use policies::intensity::{Then, Verdict};
use policies::reaction::{Action, Reaction};
use policies::strategy::{self, RestartKind, Strategy};
use policies::tree::AutoShutdown;

use super::life::{After, Life};
use super::{Asks, Books, End, Moment, Order, Regime};
use crate::board::NodeId;
use crate::failure::Failure;
use crate::observer::SupervisionEvent;
use crate::snapshot::Duty;

/// Whether a restart is within what is allowed.
enum Spent {
    Within,
    Past(Then),
}

impl Books {
    /// Decides what follows when a child came down unasked.
    pub(super) fn came_down(&mut self, id: NodeId, mut failure: Option<Failure>, at: Moment) {
        self.note_down(id, failure.as_ref());
        let Some(child) = self.children.get_mut(&id) else { return };
        let exit = if failure.is_some() { strategy::Exit::Failed } else { strategy::Exit::Normal };
        if self.closing.is_some() || !child.rules.restart.restarts_after(exit) {
            let returns = child.rules.restart != RestartKind::Temporary;
            return self.end_for_good(id, returns);
        }
        if child.on_trial
            && let Some(failure) = failure.take()
        {
            // Whoever added it sees that; those who were there before are not to suffer from it.
            return self.park_failed(id, failure);
        }
        if child.duty == Duty::Draining {
            // What was under way ended with it, so there is nothing left to wait for.
            (child.stopped, child.duty) = (true, Duty::Open);
            return self.set(id, Life::Parked);
        }
        // A permanent child that ends has not failed, so no class says what that leads to.
        let class = failure.as_ref().map(|failure| failure.class);
        let reaction = failure.as_ref().map_or(Reaction::RESTART, |failure| child.rules.reactions.to(failure.class));
        let failure = failure.unwrap_or_else(|| Failure::new(FailureClass::Bug, "ended, though it is permanent"));
        match reaction.action {
            Action::Park => self.park_failed(id, failure),
            Action::Stop => self.end_for_good(id, false),
            Action::Escalate => self.escalate(id, failure),
            Action::Restart | Action::Pause if !reaction.counts => self.restart(id, class, reaction, at),
            Action::Restart | Action::Pause => match self.spend(id, at) {
                Spent::Within => self.restart(id, class, reaction, at),
                Spent::Past(Then::Escalate) => self.escalate(id, failure),
                Spent::Past(Then::Park) => self.park_failed(id, failure),
                Spent::Past(Then::Stop) => self.end_for_good(id, false),
            },
        }
    }

    /// Counts a restart, first against the child's own allowance: what is past that is not made, so
    /// it costs its supervisor nothing.
    fn spend(&mut self, id: NodeId, at: Moment) -> Spent {
        if let Some(then) = self.children.get_mut(&id).and_then(|child| child.overspends(at.now)) {
            return Spent::Past(then);
        }
        match self.window.record(at.now) {
            Verdict::Within => Spent::Within,
            Verdict::Exceeded => Spent::Past(Then::Escalate),
        }
    }

    /// Leaves a child down that is not restarted; whether it `returns` with its group.
    fn end_for_good(&mut self, id: NodeId, returns: bool) {
        let significant = self.children.get(&id).is_some_and(|child| child.rules.significant);
        self.set(id, Life::Done { returns });
        if significant {
            self.auto_shutdown();
        }
    }

    fn park_failed(&mut self, id: NodeId, failure: Failure) {
        let child = self.name_of(id);
        let Failure { class, message: reason } = failure;
        self.orders.push(Order::Tell(SupervisionEvent::Parked { child, class, reason }));
        self.set(id, Life::Parked);
    }

    /// Ends the supervisor when as many significant children have ended as the policy says.
    fn auto_shutdown(&mut self) {
        let Regime::Declared(_, auto_shutdown) = self.regime else { return };
        let mut significant = self.children.values().filter(|child| child.rules.significant);
        let ends = match auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => significant.all(|child| matches!(child.life, Life::Done { .. })),
        };
        if ends {
            self.close(End::Finished);
        }
    }

    fn escalate(&mut self, id: NodeId, failure: Failure) {
        self.orders.push(Order::Tell(SupervisionEvent::Escalated {
            supervisor: self.supervisor.clone(),
            child: self.name_of(id),
            class: failure.class,
            reason: failure.message.clone(),
        }));
        self.set(id, Life::Done { returns: false });
        self.close(End::Escalated(failure));
    }

    fn restart(&mut self, id: NodeId, class: Option<FailureClass>, reaction: Reaction, at: Moment) {
        let healthy_after = self.healthy_after;
        let Some(child) = self.children.get_mut(&id) else { return };
        let after = child.next_backoff(at, healthy_after).max(reaction.wait_min());
        child.failed_at = class.and(child.failed_at.or(Some(at.now)));
        child.asks = Some(if reaction.action == Action::Pause { Asks::BreakerAndBudget } else { Asks::Budget });
        let (generation, child) = (child.generation, child.name.clone());
        self.orders.push(Order::Tell(SupervisionEvent::Restarting { child, class, after }));
        if after.is_zero() {
            self.set(id, Life::Waiting);
        } else {
            self.orders.push(Order::Wake(id, generation, after));
            self.set(id, Life::Backoff);
        }
        if let Regime::Declared(strategy @ (Strategy::OneForAll | Strategy::RestForOne), _) = self.regime {
            for sibling in strategy::affected(strategy, &self.order(), &id) {
                if sibling != id {
                    self.take_along(sibling);
                }
            }
        }
    }

    /// Stops a sibling of a failed child, to be started again after it.
    fn take_along(&mut self, id: NodeId) {
        let Some(child) = self.children.get(&id) else { return };
        let after = match child.rules.restart {
            RestartKind::Temporary => After::Retire,
            RestartKind::Permanent | RestartKind::Transient => After::Start,
        };
        match child.life {
            Life::Up { actor } => self.set(id, Life::Condemned { actor: Some(actor), after }),
            Life::Starting => self.set(id, Life::Condemned { actor: None, after }),
            // As OTP does: who had ended normally starts again with its group.
            Life::Done { returns: true } => self.set(id, Life::Waiting),
            // It is down or on its way, and comes back in its turn or not at all.
            _ => {}
        }
    }
}
