//! Moving on: who may stop now, who may start now, and whether all is done.
//!
//! Invariant: declared children stop one by one, the youngest first, and start when their elders are up.

use std::time::Duration;

use policies::strategy::Strategy;

use super::life::Life;
use super::{Asks, Books, NodeId, Order, Regime};
use crate::board::Seat;
use crate::observer::SupervisionEvent;
use crate::prospects::Hold;

/// What puts a child's restart off, and for how long.
pub(super) type Held = Option<(Hold, Duration)>;

impl Books {
    pub(super) fn advance(&mut self, holds: impl Fn(&str, Asks) -> Held) {
        self.stop_in_reverse();
        if self.closing.is_none() {
            self.hold_back(holds);
            self.start_in_order();
        } else if self.pending.all.is_empty() && !self.ended {
            self.ended = true;
            self.orders.extend(self.closing.clone().map(Order::End));
        }
        if !self.ready && self.closing.is_none() && self.pending.unborn.is_empty() {
            self.ready = true;
            self.orders.push(Order::Ready);
        }
        if self.pending.unreported.is_empty() {
            self.early.clear();
        }
    }

    fn stop_in_reverse(&mut self) {
        if self.regime == Regime::Dynamic {
            // Independent children need not wait for each other.
            for seat in self.pending.condemned.iter().rev().copied().collect::<Vec<_>>() {
                self.stop(seat.id);
            }
        } else if let Some(youngest) = self.pending.condemned.last().copied()
            && self.pending.stopping.is_empty()
        {
            self.stop(youngest.id);
        }
    }

    fn stop(&mut self, id: NodeId) {
        if let Some(child) = self.children.get(&id)
            && let Life::Condemned { actor, after } = child.life
        {
            self.orders.push(Order::Stop(id, child.generation));
            self.set(id, Life::Stopping { actor, after });
        }
    }

    /// Puts off the restarts that have to wait for something, before any is begun: a group comes back
    /// as a whole.
    fn hold_back(&mut self, holds: impl Fn(&str, Asks) -> Held) {
        for Seat { id, .. } in self.pending.waiting.iter().copied().collect::<Vec<_>>() {
            let Some(child) = self.children.get(&id) else { continue };
            if let Some((hold, again_in)) = child.asks.and_then(|asks| holds(&child.name, asks)) {
                self.hold(id, hold, again_in);
            }
        }
    }

    fn start_in_order(&mut self) {
        let starts: Vec<Seat> = match self.regime {
            _ if self.pending.waiting.is_empty() || self.is_held() => return,
            Regime::Dynamic => self.pending.waiting.iter().copied().collect(),
            // Only the first start is in order; later each child goes alone.
            Regime::Declared(Strategy::OneForOne, _) => {
                let first = self.pending.unborn.first();
                let waiting = self.pending.waiting.iter();
                waiting.filter(|seat| first == Some(seat) || !self.pending.unborn.contains(seat)).copied().collect()
            }
            Regime::Declared(Strategy::OneForAll | Strategy::RestForOne, _) => {
                let first = self.pending.all.first();
                first.filter(|seat| self.pending.waiting.contains(seat)).copied().into_iter().collect()
            }
        };
        for seat in starts {
            self.start(seat.id);
        }
    }

    fn start(&mut self, id: NodeId) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.generation += 1;
        (child.asks, child.held_by) = (None, None);
        self.orders.push(Order::Start(id, child.generation));
        self.set(id, Life::Starting);
    }

    /// Puts a start off; told once, however often it is put off for the same reason.
    fn hold(&mut self, id: NodeId, hold: Hold, again_in: Duration) {
        let Some(child) = self.children.get_mut(&id) else { return };
        if child.held_by.replace(hold) != Some(hold) {
            let child = child.name.clone();
            self.orders.push(Order::Tell(SupervisionEvent::Paused { child, hold, again_in }));
        }
        let Some(child) = self.children.get(&id) else { return };
        self.orders.push(Order::Wake(id, child.generation, again_in));
        self.set(id, Life::Held);
    }

    /// Whether a group is still being stopped, waits out its back-off, or is held.
    fn is_held(&self) -> bool {
        let Regime::Declared(strategy, _) = self.regime else { return false };
        let stopping = !self.pending.condemned.is_empty() || !self.pending.stopping.is_empty();
        match strategy {
            Strategy::OneForOne => false,
            Strategy::RestForOne => stopping,
            Strategy::OneForAll => stopping || !self.pending.resting.is_empty(),
        }
    }
}
