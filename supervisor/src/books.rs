//! A supervisor's books: which child is where in its life, and what is to be done next.
//!
//! Pure: knows no clock, no chance, no task and no actor but its id. Events come in, and
//! [`Order`]s come out. Invariants: every child is in exactly one [`Life`]; children start in
//! order and stop in reverse; an event of a life that is over changes nothing.

mod advance;
mod consequence;
mod life;
mod order;
mod pending;
mod reshape;
mod word;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use policies::failure::FailureClass;
use policies::intensity::{Intensity, Window};
use ractor::ActorId;

use crate::board::{NodeId, Seat, View};
use crate::failure::{Exit, Failure};
use crate::observer::SupervisionEvent;
use crate::tree::Fault;
use advance::Held;
use life::{After, Life};
pub(crate) use life::{Asks, Child, History, Rules};
pub(crate) use order::{End, Moment, Order, Regime, Report};
use pending::Pending;

/// Exits kept of actors that ended before their start was reported. More can only come
/// from as many children starting at once; the oldest is dropped for the newest.
const EARLY_EXITS_MAX: usize = 4_096;

pub(crate) struct Books {
    supervisor: String,
    regime: Regime,
    window: Window,
    healthy_after: Duration,
    children: BTreeMap<NodeId, Child>,
    /// The rank of whoever comes next.
    next_rank: u64,
    /// The children whose actor we know.
    actors: BTreeMap<ActorId, NodeId>,
    pending: Pending,
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
            next_rank: 0,
            actors: BTreeMap::new(),
            pending: Pending::default(),
            early: BTreeMap::new(),
            closing: None,
            ready: false,
            ended: false,
            orders: Vec::new(),
        }
    }

    /// Decides by another policy from now on. What has happened still counts.
    pub(crate) fn govern(&mut self, regime: Regime, intensity: Intensity) {
        self.regime = regime;
        self.window.govern(intensity);
        self.healthy_after = intensity.within.0;
    }

    /// Holds a child to other rules from now on.
    pub(crate) fn amend(&mut self, id: NodeId, rules: Rules) {
        if let Some(child) = self.children.get_mut(&id) {
            child.amend(rules);
        }
    }

    /// Adds a child after its elder siblings, to be started in its turn unless an operator stopped it.
    pub(crate) fn add(&mut self, id: NodeId, mut child: Child) {
        child.rank = self.next_rank;
        self.next_rank += 1;
        let life = if child.stopped { Life::Parked } else { Life::Waiting };
        self.children.insert(id, child);
        self.set(id, life);
    }

    /// What is to be done after the events so far. A restart that has to wait for what the child
    /// needs is held for as long as `holds` says.
    pub(crate) fn orders(&mut self, holds: impl Fn(&str, Asks) -> Held) -> Vec<Order> {
        self.advance(holds);
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
                (child.born, child.on_trial) = (true, false);
                child.up_since = Some(at.now);
                child.stuck = false;
                let down = child.failed_at.take().map(|failed| at.now.saturating_sub(failed));
                let child = child.name.clone();
                self.orders.push(Order::Tell(SupervisionEvent::ChildUp { child, generation, down }));
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

    /// A back-off is over, or it is time to ask again for a child that is held.
    pub(crate) fn woke(&mut self, id: NodeId, generation: u64) {
        if let Some(child) = self.children.get(&id)
            && child.generation == generation
            && matches!(child.life, Life::Backoff | Life::Held)
        {
            self.set(id, Life::Waiting);
        }
    }

    /// The child is about to be killed for this reason; the generation that is, or nothing when it
    /// is not up.
    pub(crate) fn blame(&mut self, id: NodeId, fault: Fault) -> Option<u64> {
        let child = self.children.get_mut(&id).filter(|child| matches!(child.life, Life::Up { .. }))?;
        child.fault = Some(fault);
        Some(child.generation)
    }

    /// Stops a child for good, wherever it is in its life; false when there is none.
    pub(crate) fn retire(&mut self, id: NodeId) -> bool {
        let Some(child) = self.children.get(&id) else { return false };
        let life = match child.life {
            Life::Waiting | Life::Backoff | Life::Held | Life::Parked | Life::Done { .. } => {
                Life::Done { returns: false }
            }
            _ => child.life.ending(After::Retire),
        };
        self.set(id, life);
        true
    }

    /// A kill of the child has had no effect in time.
    pub(crate) fn stuck(&mut self, id: NodeId, generation: u64) {
        let Some(child) = self.children.get_mut(&id).filter(|child| child.generation == generation) else { return };
        child.stuck = match child.life {
            Life::Up { .. } => true,
            // Its supervisor goes on without it.
            Life::Stopping { .. } => false,
            // It has ended since.
            _ => return,
        };
        let child = child.name.clone();
        self.orders.push(Order::Tell(SupervisionEvent::Stuck { child }));
        self.orders.push(Order::Show(id));
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

    fn settle(&mut self, id: NodeId, after: After) {
        match after {
            After::Start if self.closing.is_none() => self.set(id, Life::Waiting),
            After::Park if self.closing.is_none() => self.set(id, Life::Parked),
            After::Start | After::Park | After::Retire => self.set(id, Life::Done { returns: false }),
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
        let seat = Seat { rank: child.rank, id };
        if (self.regime == Regime::Dynamic || child.leaves) && matches!(life, Life::Done { .. }) {
            self.children.remove(&id);
            self.pending.forget(seat);
            self.orders.push(Order::Forget(id));
            return;
        }
        self.pending.place(seat, child);
        self.orders.push(Order::Show(id));
    }
}
