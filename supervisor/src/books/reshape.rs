//! Children that come, go or change their order while the others are at work.
//!
//! Invariant: whoever stays is neither stopped nor started by it; whoever leaves is stopped in the
//! order that it had, and is never brought back.

use super::life::Child;
use super::{Books, NodeId};
use crate::board::Seat;

impl Books {
    /// Makes these the children, in this order: those that are new come as `made`, the others that are
    /// known leave. Books that are being closed take nobody in.
    pub(crate) fn reshape(&mut self, order: &[NodeId], made: impl Fn(NodeId) -> Option<Child>) {
        if self.closing.is_some() {
            return;
        }
        let before = self.order();
        for id in before.iter().filter(|id| !order.contains(id)) {
            self.dismiss(*id);
        }
        for id in order {
            if !self.children.contains_key(id)
                && let Some(mut child) = made(*id)
            {
                // Who has only moved here has shown that it can be up.
                child.on_trial = child.generation == 0;
                self.add(*id, child);
            }
        }
        self.arrange(&merged(&before, order));
    }

    /// The children in start order, with those that leave.
    pub(crate) fn order(&self) -> Vec<NodeId> {
        let mut order: Vec<NodeId> = self.children.keys().copied().collect();
        order.sort_by_key(|id| self.children.get(id).map(|child| child.rank));
        order
    }

    /// Stops a child for good, and has it leave the books.
    fn dismiss(&mut self, id: NodeId) {
        if let Some(child) = self.children.get_mut(&id) {
            child.leaves = true;
        }
        self.retire(id);
    }

    fn arrange(&mut self, order: &[NodeId]) {
        for (rank, id) in (0_u64..).zip(order) {
            let Some(child) = self.children.get_mut(id) else { continue };
            self.pending.forget(Seat { rank: child.rank, id: *id });
            child.rank = rank;
            self.pending.place(Seat { rank, id: *id }, child);
            self.next_rank = rank + 1;
        }
    }
}

/// The new order, in which those that leave keep their place behind the elder sibling that they had.
fn merged(before: &[NodeId], after: &[NodeId]) -> Vec<NodeId> {
    let mut order = after.to_vec();
    let mut elder = None;
    for id in before {
        if !order.contains(id) {
            let place = elder.and_then(|elder| order.iter().position(|id| *id == elder)).map_or(0, |at| at + 1);
            order.insert(place, *id);
        }
        elder = Some(*id);
    }
    order
}
