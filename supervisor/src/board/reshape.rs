//! Nodes that take the place of others, and children that change places.
//!
//! Invariant: a name is that of one node, the latest; whoever had it before has ended before that one
//! starts, and has no say about the gate that they share.

use ractor::ActorStatus;

use super::{Board, Gate, NodeId, NodeKind, Seat, View};

impl Board {
    /// Adds a node that has the name from now on; whoever has it now is about to leave. When that one
    /// only moves here, what an operator said of it stays said.
    pub(crate) fn succeed(&self, parent: Option<NodeId>, name: &str, kind: NodeKind, moves: bool) -> NodeId {
        let since = self.world.now();
        let nodes = &mut *self.nodes();
        let before = nodes.names.get(name).and_then(|id| Some((*id, nodes.entries.get(id)?)));
        let before = before.map(|(id, entry)| {
            let left = entry.predecessors.iter().filter(|id| nodes.entries.contains_key(id));
            let predecessors: Vec<NodeId> = left.copied().chain([id]).collect();
            (predecessors, entry.view.clone(), entry.last_failure.clone())
        });
        let id = nodes.add(parent, name, kind, since);
        if let (Some((predecessors, view, last_failure)), Some(entry)) = (before, nodes.entries.get_mut(&id)) {
            entry.predecessors = predecessors;
            if moves {
                let takes_work = !view.stopped && view.duty.is_open();
                entry.view = View { state: entry.view.state, held_by: None, takes_work, ..view };
                entry.last_failure = last_failure;
            }
        }
        nodes.turn_gates(id);
        self.changed.notify_one();
        id
    }

    /// Puts the children of a node into this order.
    pub(crate) fn arrange(&self, parent: NodeId, order: &[NodeId]) {
        let nodes = &mut *self.nodes();
        let mut seats = nodes.entries.get(&parent).map(|entry| entry.children.clone()).unwrap_or_default();
        for (rank, id) in (0_u64..).zip(order) {
            if let Some(entry) = nodes.entries.get_mut(id) {
                seats.remove(&Seat { rank: std::mem::replace(&mut entry.rank, rank), id: *id });
                seats.insert(Seat { rank, id: *id });
            }
        }
        if let Some(entry) = nodes.entries.get_mut(&parent) {
            entry.children = seats;
        }
        self.changed.notify_one();
    }

    /// Whether those that had its name before it have ended, so that it may start.
    pub(crate) fn is_free(&self, id: NodeId) -> bool {
        let nodes = self.nodes();
        let has_ended = |id: &NodeId| {
            let cell = nodes.entries.get(id).and_then(|entry| entry.cell.as_ref());
            cell.is_none_or(|cell| cell.get_status() == ActorStatus::Stopped)
        };
        let is_gone = |old: &NodeId| match nodes.entries.get(old) {
            None => true,
            // A supervisor that lives may be starting it at this very moment.
            Some(entry) => {
                entry.parent.as_ref().is_none_or(has_ended) && has_ended(old) && nodes.below(*old).iter().all(has_ended)
            }
        };
        nodes.entries.get(&id).is_none_or(|entry| entry.predecessors.iter().all(is_gone))
    }

    /// Removes the children of an earlier life of a supervisor that its next one does not know.
    pub(crate) fn keep_only(&self, parent: NodeId, children: &[NodeId]) {
        let known = self.nodes().entries.get(&parent).map(|entry| entry.children.clone()).unwrap_or_default();
        known.iter().filter(|seat| !children.contains(&seat.id)).for_each(|seat| self.remove(seat.id));
    }

    /// The gate of whatever worker is declared under this name, now or later.
    pub(crate) fn gate_of(&self, name: &str) -> Gate {
        self.nodes().gates.entry(name.to_owned()).or_insert_with(Gate::closed).clone()
    }
}
