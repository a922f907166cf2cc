//! Drawing the tree without holding anybody up.
//!
//! Invariant: the board is locked for one part of the nodes at a time, so that no restart waits for a
//! picture, however large the tree. Each node is shown as it was when its part was drawn.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::board::{Board, NodeId};
use crate::snapshot::{NodeSnapshot, TreeSnapshot};

/// How many nodes are drawn in one go.
const PART: usize = 64;
/// The least time between two published pictures, so that a storm of restarts costs no more than
/// this many drawings.
const EVERY: Duration = Duration::from_millis(50);
/// What each node adds to that when they are many: a tree of ten thousand is drawn once a second.
const EVERY_NODE: Duration = Duration::from_micros(100);

/// The picture of the whole tree, drawn now.
pub(crate) fn draw(board: &Board) -> TreeSnapshot {
    let drawn = board.order().chunks(PART).flat_map(|part| board.draw(part)).collect();
    assemble(board, drawn)
}

/// The same, with room for others between the parts; and how long to wait before the next.
pub(crate) async fn draw_between(board: &Board) -> (TreeSnapshot, Duration) {
    let order = board.order();
    let mut drawn = Vec::with_capacity(order.len());
    for part in order.chunks(PART) {
        if !drawn.is_empty() {
            tokio::task::yield_now().await;
        }
        drawn.extend(board.draw(part));
    }
    let nodes = u32::try_from(drawn.len()).unwrap_or(u32::MAX);
    (assemble(board, drawn), EVERY.max(EVERY_NODE.saturating_mul(nodes)))
}

/// Puts each node under its parent; whose parent is gone is gone too.
fn assemble(board: &Board, drawn: Vec<(NodeId, Option<NodeId>, NodeSnapshot)>) -> TreeSnapshot {
    let at = board.now();
    let mut below: BTreeMap<Option<NodeId>, Vec<NodeSnapshot>> = BTreeMap::new();
    // From the last to the first, so that a node comes after all that is below it.
    for (id, parent, mut node) in drawn.into_iter().rev() {
        node.children = below.remove(&Some(id)).unwrap_or_default();
        node.children.reverse();
        below.entry(parent).or_default().push(node);
    }
    let root = below.remove(&None).and_then(|mut roots| roots.pop());
    TreeSnapshot { at, root: root.unwrap_or_else(|| NodeSnapshot::absent(at)) }
}
