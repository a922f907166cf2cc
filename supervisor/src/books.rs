//! A supervisor's books: which child is where in its life, and what is to be done next.
//!
//! Pure: knows no clock, no chance, no task and no actor but its id. Events come in, and
//! [`Order`]s come out. Invariants: every child is in exactly one [`Life`]; children start in
//! order and stop in reverse; an event of a life that is over changes nothing.

mod life;
mod order;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policies::failure::FailureClass;
use policies::intensity::{Intensity, Verdict, Window};
use policies::strategy::{self, RestartKind, Strategy};
use policies::tree::AutoShutdown;
use ractor::ActorId;

use crate::board::{NodeId, View};
use crate::failure::{Exit, Failure};
use crate::observer::SupervisionEvent;
use crate::tree::Fault;
use life::{After, Life};
pub(crate) use life::{Child, Rules};
pub(crate) use order::{End, Moment, Order, Regime, Report};

/// Exits kept of actors that ended before their start was reported. More can only come
/// from as many children starting at once; the oldest is dropped for the newest.
const EARLY_EXITS_MAX: usize = 4_096;

/// The least back-off after an outage: outages use up no restarts, so nothing else would
/// bound how fast such a child is tried again.
const OUTAGE_BACKOFF_MIN: Duration = Duration::from_secs(1);

pub(crate) struct Books {
    supervisor: String,
    regime: Regime,
    window: Window,
    healthy_after: Duration,
    children: BTreeMap<NodeId, Child>,
    /// The children whose actor we know.
    actors: BTreeMap<ActorId, NodeId>,
    /// The children that are neither up nor done.
    pending: BTreeSet<NodeId>,
    early: BTreeMap<ActorId, Exit>,
    closing: Option<End>,
    ready: bool,
    ended: bool,
    orders: Vec<Order>,
}

impl Books {
    pub(crate) fn new(supervisor: &str, regime: Regime, intensity: Intensity) -> Self {
        Self {
            supervisor: supervisor.to_owned(),
            regime,
            window: Window::new(intensity),
            healthy_after: intensity.within.0,
            children: BTreeMap::new(),
            actors: BTreeMap::new(),
            pending: BTreeSet::new(),
            early: BTreeMap::new(),
            closing: None,
            ready: false,
            ended: false,
            orders: Vec::new(),
        }
    }

    /// Adds a child after its elder siblings, to be started in its turn.
    pub(crate) fn add(&mut self, id: NodeId, child: Child) {
        self.children.insert(id, child);
        self.set(id, Life::Waiting);
    }

    /// What is to be done after the events so far.
    pub(crate) fn orders(&mut self) -> Vec<Order> {
        self.advance();
        std::mem::take(&mut self.orders)
    }

    pub(crate) fn view(&self, id: NodeId) -> Option<View> {
        self.children.get(&id).map(Child::view)
    }

    pub(crate) fn len(&self) -> usize {
        self.children.len()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(crate) fn child_of(&self, actor: ActorId) -> Option<NodeId> {
        self.actors.get(&actor).copied()
    }

    /// A start has ended well.
    pub(crate) fn started(&mut self, id: NodeId, generation: u64, actor: ActorId, at: Moment) -> Report {
        let Some(child) = self.children.get_mut(&id).filter(|child| child.generation == generation) else {
            return Report::Stale;
        };
        let life = match child.life {
            Life::Starting => {
                child.born = true;
                child.up_since = Some(at.now);
                let (child, generation) = (child.name.clone(), generation);
                self.orders.push(Order::Tell(SupervisionEvent::ChildUp { child, generation }));
                Life::Up { actor }
            }
            Life::Condemned { actor: None, after } => Life::Condemned { actor: Some(actor), after },
            // The stop that is under way takes the actor along.
            Life::Stopping { .. } => return Report::Taken,
            _ => return Report::Stale,
        };
        self.actors.insert(actor, id);
        self.set(id, life);
        if let Some(exit) = self.early.remove(&actor) {
            self.exited(actor, exit, at);
        }
        Report::Taken
    }

    /// A start has failed, which counts as a failure of the child.
    pub(crate) fn start_failed(&mut self, id: NodeId, generation: u64, failure: Failure, at: Moment) {
        let Some(child) = self.children.get(&id).filter(|child| child.generation == generation) else {
            return;
        };
        match child.life {
            // Whoever asked for the child is told, and may ask again.
            Life::Starting if self.regime == Regime::Dynamic && !child.born => {
                self.note_down(id, Some(&failure));
                self.set(id, Life::Done { returns: false });
            }
            Life::Starting => self.came_down(id, Some(failure), at),
            Life::Condemned { actor: None, after } => self.settle(id, after),
            _ => {}
        }
    }

    /// An actor has ended.
    pub(crate) fn exited(&mut self, actor: ActorId, exit: Exit, at: Moment) {
        let Some(id) = self.actors.get(&actor).copied() else {
            self.keep_early(actor, exit);
            return;
        };
        let Some(child) = self.children.get_mut(&id) else { return };
        let failure = child.failure_of(exit);
        match child.life {
            Life::Up { .. } => {
                self.actors.remove(&actor);
                self.came_down(id, failure, at);
            }
            Life::Condemned { after, .. } => {
                self.actors.remove(&actor);
                self.note_down(id, failure.as_ref());
                self.settle(id, after);
            }
            // The stop that is under way reports the end.
            _ => {}
        }
    }

    /// A child that we took to be up is known to be dead, though no exit was heard.
    pub(crate) fn vanished(&mut self, id: NodeId, generation: u64, at: Moment) {
        if let Some(child) = self.children.get(&id)
            && child.generation == generation
            && let Life::Up { actor } = child.life
        {
            let failure = Failure::new(FailureClass::Bug, "ended as soon as it was up, without a reason");
            self.exited(actor, Exit::Failed(failure), at);
        }
    }

    /// A stop that was ordered has ended.
    pub(crate) fn stopped(&mut self, id: NodeId, generation: u64) {
        if let Some(child) = self.children.get(&id)
            && child.generation == generation
            && let Life::Stopping { actor, after } = child.life
        {
            if let Some(actor) = actor {
                self.actors.remove(&actor);
            }
            self.settle(id, after);
        }
    }

    /// A back-off is over.
    pub(crate) fn woke(&mut self, id: NodeId, generation: u64) {
        if let Some(child) = self.children.get(&id)
            && child.generation == generation
            && child.life == Life::Backoff
        {
            self.set(id, Life::Waiting);
        }
    }

    /// The child is about to be killed for this reason; false when it is not up.
    pub(crate) fn blame(&mut self, id: NodeId, fault: Fault) -> bool {
        match self.children.get_mut(&id) {
            Some(child) if matches!(child.life, Life::Up { .. }) => {
                child.fault = Some(fault);
                true
            }
            _ => false,
        }
    }

    /// Stops a child for good, wherever it is in its life; false when there is none.
    pub(crate) fn retire(&mut self, id: NodeId) -> bool {
        let Some(child) = self.children.get(&id) else { return false };
        let life = match child.life {
            Life::Waiting | Life::Backoff | Life::Done { .. } => Life::Done { returns: false },
            Life::Starting => Life::Condemned { actor: None, after: After::Retire },
            Life::Up { actor } => Life::Condemned { actor: Some(actor), after: After::Retire },
            Life::Condemned { actor, .. } => Life::Condemned { actor, after: After::Retire },
            Life::Stopping { actor, .. } => Life::Stopping { actor, after: After::Retire },
        };
        self.set(id, life);
        true
    }

    /// Stops every child for good, in reverse order, and then ends.
    pub(crate) fn close(&mut self, end: End) {
        if self.closing.is_none() {
            self.closing = Some(end);
            for id in self.children.keys().copied().collect::<Vec<_>>() {
                self.retire(id);
            }
        }
    }

    /// Decides what follows when a child came down unasked.
    fn came_down(&mut self, id: NodeId, failure: Option<Failure>, at: Moment) {
        self.note_down(id, failure.as_ref());
        let Some(child) = self.children.get_mut(&id) else { return };
        let exit = if failure.is_some() { strategy::Exit::Failed } else { strategy::Exit::Normal };
        if self.closing.is_some() || !child.rules.restart.restarts_after(exit) {
            let returns = child.rules.restart != RestartKind::Temporary;
            let significant = child.rules.significant;
            self.set(id, Life::Done { returns });
            if significant {
                self.auto_shutdown();
            }
            return;
        }
        let failure = failure.unwrap_or_else(|| Failure::new(FailureClass::Bug, "ended, though it is permanent"));
        if uses_up_restarts(failure.class) && self.window.record(at.now) == Verdict::Exceeded {
            self.escalate(id, failure);
        } else {
            self.restart(id, failure.class, at);
        }
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
        self.set(id, Life::Done { returns: false });
        self.orders.push(Order::Tell(SupervisionEvent::Escalated {
            supervisor: self.supervisor.clone(),
            child: self.name_of(id),
            class: failure.class,
            reason: failure.message.clone(),
        }));
        self.close(End::Escalated(failure));
    }

    fn restart(&mut self, id: NodeId, class: FailureClass, at: Moment) {
        let healthy_after = self.healthy_after;
        let Some(child) = self.children.get_mut(&id) else { return };
        let mut after = child.next_backoff(at, healthy_after);
        if !uses_up_restarts(class) {
            after = after.max(OUTAGE_BACKOFF_MIN);
        }
        let (generation, child) = (child.generation, child.name.clone());
        self.orders.push(Order::Tell(SupervisionEvent::Restarting { child, after }));
        if after.is_zero() {
            self.set(id, Life::Waiting);
        } else {
            self.orders.push(Order::Wake(id, generation, after));
            self.set(id, Life::Backoff);
        }
        if let Regime::Declared(strategy @ (Strategy::OneForAll | Strategy::RestForOne), _) = self.regime {
            let order: Vec<NodeId> = self.children.keys().copied().collect();
            for sibling in strategy::affected(strategy, &order, &id) {
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
            Life::Waiting | Life::Backoff | Life::Condemned { .. } | Life::Stopping { .. } | Life::Done { .. } => {}
        }
    }

    fn settle(&mut self, id: NodeId, after: After) {
        match after {
            After::Start if self.closing.is_none() => self.set(id, Life::Waiting),
            After::Start | After::Retire => self.set(id, Life::Done { returns: false }),
        }
    }

    fn note_down(&mut self, id: NodeId, failure: Option<&Failure>) {
        let class = failure.map(|failure| failure.class);
        let reason = failure.map_or_else(|| "ended".to_owned(), |failure| failure.message.clone());
        let child = self.name_of(id);
        self.orders.push(Order::Tell(SupervisionEvent::ChildDown { child, class, reason }));
        if let Some(failure) = failure {
            self.orders.push(Order::Failed(id, failure.clone()));
        }
    }

    fn name_of(&self, id: NodeId) -> String {
        self.children.get(&id).map_or_else(String::new, |child| child.name.clone())
    }

    fn keep_early(&mut self, actor: ActorId, exit: Exit) {
        if self.early.len() >= EARLY_EXITS_MAX {
            self.early.pop_first();
        }
        self.early.insert(actor, exit);
    }

    fn set(&mut self, id: NodeId, life: Life) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.life = life;
        match life {
            Life::Done { .. } if self.regime == Regime::Dynamic => {
                self.children.remove(&id);
                self.pending.remove(&id);
                self.orders.push(Order::Forget(id));
                return;
            }
            Life::Up { .. } | Life::Done { .. } => self.pending.remove(&id),
            _ => self.pending.insert(id),
        };
        self.orders.push(Order::Show(id));
    }
}

/// Moving on: who may stop now, who may start now, and whether all is done.
impl Books {
    fn advance(&mut self) {
        self.stop_in_reverse();
        if self.closing.is_none() {
            self.start_in_order();
        } else if self.pending.is_empty() && !self.ended {
            self.ended = true;
            self.orders.extend(self.closing.clone().map(Order::End));
        }
        let settled = |id: &NodeId| self.children.get(id).is_none_or(|child| child.born);
        if !self.ready && self.closing.is_none() && self.pending.iter().all(settled) {
            self.ready = true;
            self.orders.push(Order::Ready);
        }
        if !self.pending.iter().any(|id| self.children.get(id).is_some_and(Child::may_exit_early)) {
            self.early.clear();
        }
    }

    fn stop_in_reverse(&mut self) {
        for id in self.pending.iter().rev().copied().collect::<Vec<_>>() {
            let Some(child) = self.children.get(&id) else { continue };
            match child.life {
                Life::Condemned { actor, after } => {
                    self.orders.push(Order::Stop(id, child.generation));
                    self.set(id, Life::Stopping { actor, after });
                }
                Life::Stopping { .. } => {}
                _ => continue,
            }
            // Independent children need not wait for each other.
            if self.regime != Regime::Dynamic {
                break;
            }
        }
    }

    fn start_in_order(&mut self) {
        if self.is_held() {
            return;
        }
        let mut elders_up = true;
        for id in self.pending.iter().copied().collect::<Vec<_>>() {
            let Some(child) = self.children.get_mut(&id) else { continue };
            let gated = match self.regime {
                Regime::Dynamic => false,
                // Only the first start is in order; later each child goes alone.
                Regime::Declared(Strategy::OneForOne, _) => !child.born,
                Regime::Declared(Strategy::OneForAll | Strategy::RestForOne, _) => true,
            };
            if child.life == Life::Waiting && (elders_up || !gated) {
                child.generation += 1;
                self.orders.push(Order::Start(id, child.generation));
                self.set(id, Life::Starting);
            }
            elders_up &= !gated;
        }
    }

    /// Whether a group is still being stopped or waits out its back-off.
    fn is_held(&self) -> bool {
        let Regime::Declared(strategy, _) = self.regime else { return false };
        let lives = || self.pending.iter().filter_map(|id| self.children.get(id)).map(|child| child.life);
        let stopping = lives().any(|life| matches!(life, Life::Condemned { .. } | Life::Stopping { .. }));
        match strategy {
            Strategy::OneForOne => false,
            Strategy::RestForOne => stopping,
            Strategy::OneForAll => stopping || lives().any(|life| life == Life::Backoff),
        }
    }
}

/// An outage is not the child's fault: it backs off, but its supervisor does not give up.
fn uses_up_restarts(class: FailureClass) -> bool {
    !matches!(class, FailureClass::ProviderDown | FailureClass::RateLimited | FailureClass::BudgetSpent)
}
