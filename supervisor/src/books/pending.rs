//! The children that are on their way: neither up, parked nor done.
//!
//! Invariant: a child is in exactly the sets that its life says, so that what may move next is found
//! without going through all of them, however many there are.

use std::collections::BTreeSet;

use super::life::{Child, Life};
use crate::board::Seat;

#[derive(Default)]
pub(super) struct Pending {
    pub(super) all: BTreeSet<Seat>,
    /// Those that may start in their turn.
    pub(super) waiting: BTreeSet<Seat>,
    /// Those whose back-off runs, or whose start is put off.
    pub(super) resting: BTreeSet<Seat>,
    /// Those whose actor may be there before we are told of it.
    pub(super) unreported: BTreeSet<Seat>,
    pub(super) condemned: BTreeSet<Seat>,
    pub(super) stopping: BTreeSet<Seat>,
    /// Those that have not been up yet.
    pub(super) unborn: BTreeSet<Seat>,
}

impl Pending {
    /// Takes note of where the child is now.
    pub(super) fn place(&mut self, seat: Seat, child: &Child) {
        self.forget(seat);
        match child.life {
            Life::Up { .. } | Life::Parked | Life::Done { .. } => return,
            Life::Waiting => self.waiting.insert(seat),
            Life::Backoff | Life::Held => self.resting.insert(seat),
            Life::Starting => self.unreported.insert(seat),
            Life::Condemned { actor, .. } => {
                if actor.is_none() {
                    self.unreported.insert(seat);
                }
                self.condemned.insert(seat)
            }
            Life::Stopping { .. } => self.stopping.insert(seat),
        };
        self.all.insert(seat);
        if !child.born {
            self.unborn.insert(seat);
        }
    }

    /// The child is not on its way any more, or has left the books.
    pub(super) fn forget(&mut self, seat: Seat) {
        let sets = [
            &mut self.waiting,
            &mut self.resting,
            &mut self.unreported,
            &mut self.condemned,
            &mut self.stopping,
            &mut self.unborn,
        ];
        if self.all.remove(&seat) {
            for set in sets {
                set.remove(&seat);
            }
        }
    }
}
