//! How many children are where, and how much waits for them. Invariant: the board is locked for one walk
//! over its nodes, in which nothing is copied but what is told.

use std::collections::BTreeMap;

use actors::telemetry::{Census, Held};

use super::{Board, Hold, NodeId, NodeState, View};
use crate::snapshot::Depth;

impl Board {
    /// How many children each supervisor has in which state, and held back by what.
    pub(crate) fn census(&self) -> Census {
        let nodes = self.nodes();
        let (mut states, mut held) = (BTreeMap::new(), BTreeMap::new());
        for entry in nodes.entries.values() {
            let Some(above) = entry.parent else { continue };
            *states.entry((above, entry.view.state)).or_default() += 1;
            if let Some(by) = entry.view.held() {
                *held.entry((above, by)).or_default() += 1;
            }
        }
        let name = |id: NodeId| nodes.entries.get(&id).map(|entry| entry.name.clone()).unwrap_or_default();
        Census {
            states: states.into_iter().map(|((above, state), count)| ((name(above), state.as_str()), count)).collect(),
            held: held.into_iter().map(|((above, by), count)| ((name(above), by), count)).collect(),
        }
    }

    /// Shows each node's mailbox, eldest first; nodes without a gauge have none to show. `see` asks nothing
    /// of the board.
    pub(crate) fn mailboxes(&self, mut see: impl FnMut(&str, Depth)) {
        for entry in self.nodes().entries.values() {
            if let Some(gauge) = entry.gauge.get() {
                see(&entry.name, gauge());
            }
        }
    }
}

impl View {
    /// What holds it back, if anything does.
    fn held(&self) -> Option<Held> {
        match (self.state, self.held_by) {
            (NodeState::Parked, _) if self.stopped => Some(Held::Operator),
            (NodeState::Parked, _) => Some(Held::Failure),
            (NodeState::Paused, Some(Hold::Breaker)) => Some(Held::Breaker),
            (NodeState::Paused, Some(Hold::Budget)) => Some(Held::Budget),
            _ if !self.duty.is_open() => Some(Held::Operator),
            _ => None,
        }
    }
}
