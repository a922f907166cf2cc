//! The tree's actors, as faults reach them. Invariant: only workers take turns; the root is never killed, since its end is the
//! process's; an actor that a fault holds in a turn is killed when the fault is gone, and an actor in
//! another turn is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actors::world::World;
use futures::future::BoxFuture;
use policies::pattern::covers;
use supervisor::{Fault as Death, NodeKind, Tree};
use tokio_util::sync::CancellationToken;

use super::Live;
use super::board::Shown;

/// Between two looks for somebody to kill.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Stands for all runs: the tree names them only while they are awake.
pub(super) const RUNS: &str = "run/*";

/// Names in the tree, and what each is.
pub(super) type Nodes = BTreeMap<String, NodeKind>;

/// The names in the tree, and how one is killed.
#[derive(Clone)]
pub(super) struct Actors {
    nodes: Arc<dyn Fn() -> Nodes + Send + Sync>,
    kill: Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>,
}

impl Actors {
    pub(super) fn of(tree: Tree) -> Self {
        let picture = tree.clone();
        // All but the root, which is never killed.
        let nodes = move || picture.draw().root.nodes().skip(1).map(|node| (node.name.clone(), node.kind)).collect();
        let kill = move |name: String| {
            let tree = tree.clone();
            Box::pin(async move { tree.fault(&name, Death::Kill).await.is_ok() }) as BoxFuture<'static, bool>
        };
        Self::new(nodes, kill)
    }

    pub(super) fn new(
        nodes: impl Fn() -> Nodes + Send + Sync + 'static,
        kill: impl Fn(String) -> BoxFuture<'static, bool> + Send + Sync + 'static,
    ) -> Self {
        Self { nodes: Arc::new(nodes), kill: Arc::new(kill) }
    }

    /// The names that a kill can be aimed at, now and later.
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.named(|_| true)
    }

    /// The names whose turns can be aimed at, now and later.
    pub(super) fn workers(&self) -> BTreeSet<String> {
        self.named(|kind| kind == NodeKind::Worker)
    }

    fn named(&self, fits: impl Fn(NodeKind) -> bool) -> BTreeSet<String> {
        let nodes = (self.nodes)().into_iter().filter(|(name, kind)| fits(*kind) && !covers(RUNS, name));
        nodes.map(|(name, _)| name).chain([RUNS.to_owned()]).collect()
    }

    /// Kills those that are still in the turn in which they were stopped.
    pub(super) async fn free(self, world: World, hung: BTreeMap<String, Duration>) {
        for (actor, stopped_at) in hung {
            if world.busy().iter().any(|pulse| pulse.actor == actor && pulse.since <= stopped_at) {
                (self.kill)(actor).await;
            }
        }
    }
}

impl Live {
    /// Kills each actor that the fault names once, as they show, until the fault is over.
    pub(super) async fn kill(self, fault: Shown, gone: CancellationToken) {
        let Some(actors) = self.0.actors.get().cloned() else { return };
        let target = fault.fault.target.unwrap_or_default();
        let mut killed = BTreeSet::new();
        while !gone.is_cancelled() {
            for name in (actors.nodes)().into_keys() {
                if !covers(&target, &name) || killed.contains(&name) {
                    continue;
                }
                // Only this task counts its hits, so what may hit now may still hit when it is done.
                if !self.books().board.may_hit(&fault.id, self.0.world.elapsed()) {
                    return;
                }
                if (actors.kill)(name.clone()).await {
                    killed.insert(name);
                    let hit = self.books().board.carried_out(&fault.id);
                    self.noted(hit);
                }
            }
            let _ = tokio::time::timeout(LOOK_EVERY, gone.cancelled()).await;
        }
    }
}
