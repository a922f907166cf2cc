//! The children that are on their way: neither up, parked nor done.
//!
//! Invariant: a child is in exactly the sets that its life says, so that what may move next is found
//! without going through all of them, however many there are.

use std::collections::BTreeSet;

use super::life::{Child, Life};
use crate::board::NodeId;

#[derive(Default)]
pub(super) struct Pending {
    pub(super) all: BTreeSet<NodeId>,
    /// Those that may start in their turn.
    pub(super) waiting: BTreeSet<NodeId>,
    /// Those whose back-off runs, or whose start is put off.
    pub(super) resting: BTreeSet<NodeId>,
    /// Those whose actor may be there before we are told of it.
    pub(super) unreported: BTreeSet<NodeId>,
    pub(super) condemned: BTreeSet<NodeId>,
    pub(super) stopping: BTreeSet<NodeId>,
    /// Those that have not been up yet.
    pub(super) unborn: BTreeSet<NodeId>,
}

impl Pending {
    /// Takes note of where the child is now.
    pub(super) fn place(&mut self, id: NodeId, child: &Child) {
        self.forget(id);
        match child.life {
            Life::Up { .. } | Life::Parked | Life::Done { .. } => return,
            Life::Waiting => self.waiting.insert(id),
            Life::Backoff | Life::Held => self.resting.insert(id),
            Life::Starting => self.unreported.insert(id),
            Life::Condemned { actor, .. } => {
                if actor.is_none() {
                    self.unreported.insert(id);
                }
                self.condemned.insert(id)
            }
            Life::Stopping { .. } => self.stopping.insert(id),
        };
        self.all.insert(id);
        if !child.born {
            self.unborn.insert(id);
        }
    }

    /// The child is not on its way any more, or has left the books.
    pub(super) fn forget(&mut self, id: NodeId) {
        let sets = [
            &mut self.waiting,
            &mut self.resting,
            &mut self.unreported,
            &mut self.condemned,
            &mut self.stopping,
            &mut self.unborn,
        ];
        if self.all.remove(&id) {
            for set in sets {
                set.remove(&id);
            }
        }
    }
}
