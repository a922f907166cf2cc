//! Drawing the tree without holding anybody up.
//!
//! Invariant: the board is locked for one part of the nodes at a time, so that no restart waits for a
//! picture, however large the tree. Each node is shown as it was when its part was drawn.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::span::Span;

use crate::board::NodeId;
use crate::keeper::Shared;
use crate::snapshot::{NodeSnapshot, TreeSnapshot, Work};

/// How many nodes are drawn in one go.
const PART: usize = 64;
/// The least time between two published pictures, so that a storm of restarts costs no more than
/// this many drawings.
const EVERY: Duration = Duration::from_millis(50);
/// What each node adds to that when they are many: a tree of ten thousand is drawn once a second.
const EVERY_NODE: Duration = Duration::from_micros(100);

/// The picture of the whole tree, drawn now.
pub(crate) fn draw(shared: &Shared) -> TreeSnapshot {
    let board = &shared.board;
    let drawn = board.order().chunks(PART).flat_map(|part| board.draw(part)).collect();
    assemble(shared, drawn)
}

/// The same, with room for others between the parts; and how long to wait before the next.
pub(crate) async fn draw_between(shared: &Shared) -> (TreeSnapshot, Duration) {
    let board = &shared.board;
    let order = board.order();
    let mut drawn = Vec::with_capacity(order.len());
    for part in order.chunks(PART) {
        if !drawn.is_empty() {
            tokio::task::yield_now().await;
        }
        drawn.extend(board.draw(part));
    }
    let nodes = u32::try_from(drawn.len()).unwrap_or(u32::MAX);
    (assemble(shared, drawn), EVERY.max(EVERY_NODE.saturating_mul(nodes)))
}

/// Puts each node under its parent; whose parent is gone is gone too.
fn assemble(shared: &Shared, drawn: Vec<(NodeId, Option<NodeId>, NodeSnapshot)>) -> TreeSnapshot {
    let at = shared.board.now();
    let mut doing = doing(shared);
    let mut below: BTreeMap<Option<NodeId>, Vec<NodeSnapshot>> = BTreeMap::new();
    // From the last to the first, so that a node comes after all that is below it.
    for (id, parent, mut node) in drawn.into_iter().rev() {
        node.children = below.remove(&Some(id)).unwrap_or_default();
        node.children.reverse();
        node.work.extend(doing.remove(&node.name).unwrap_or_default());
        node.standing = shared.prospects.standing(&node.name);
        below.entry(parent).or_default().push(node);
    }
    let root = below.remove(&None).and_then(|mut roots| roots.pop());
    TreeSnapshot { at, root: root.unwrap_or_else(|| NodeSnapshot::absent(at)) }
}

/// What the actors at work are doing, by their names.
fn doing(shared: &Shared) -> BTreeMap<String, Vec<Work>> {
    let now = shared.world.elapsed();
    let mut doing: BTreeMap<String, Vec<Work>> = BTreeMap::new();
    for pulse in shared.world.busy() {
        let lasts = Span(now.saturating_sub(pulse.since));
        doing.entry(pulse.actor).or_default().push(Work { what: pulse.doing.as_str().to_owned(), lasts });
    }
    doing
}
