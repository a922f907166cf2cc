//! Moving on: who may stop now, who may start now, and whether all is done.
//!
//! Invariant: declared children stop one by one, the youngest first, and start when their elders are up.

use std::time::Duration;

use policies::strategy::Strategy;

use super::life::Life;
use super::{Asks, Books, Child, NodeId, Order, Regime};
use crate::observer::SupervisionEvent;
use crate::prospects::Hold;

impl Books {
    pub(super) fn advance(&mut self, holds: impl Fn(&str, Asks) -> Option<(Hold, Duration)>) {
        self.stop_in_reverse();
        if self.closing.is_none() {
            self.start_in_order(holds);
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

    fn start_in_order(&mut self, holds: impl Fn(&str, Asks) -> Option<(Hold, Duration)>) {
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
                match child.asks.and_then(|asks| holds(&child.name, asks)) {
                    Some((hold, again_in)) => self.hold(id, hold, again_in),
                    None => self.start(id),
                }
            }
            elders_up &= !gated;
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
        let lives = || self.pending.iter().filter_map(|id| self.children.get(id)).map(|child| child.life);
        let stopping = lives().any(|life| matches!(life, Life::Condemned { .. } | Life::Stopping { .. }));
        match strategy {
            Strategy::OneForOne => false,
            Strategy::RestForOne => stopping,
            Strategy::OneForAll => stopping || lives().any(|life| matches!(life, Life::Backoff | Life::Held)),
        }
    }
}
