//! The watchdog: kills a worker whose handler has shown no progress for as long as its liveness
//! allows, and has it counted as hung. Invariant: an actor that waits for its next message is never
//! taken for hung, however long it waits.

use std::time::Duration;

use actors::world::World;
use policies::tree::TreePolicy;
use supervisor::{Fault, Tree};

use super::RUNS;

/// Between two looks at the turns under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until the tree has ended.
pub(super) async fn watch(world: World, tree: Tree, policy: TreePolicy) {
    loop {
        tokio::select! {
            biased;
            _ = tree.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = world.elapsed();
        for (actor, since) in world.busy() {
            let Some(allowed) = allowed(&policy, &actor) else { continue };
            let busy = now.saturating_sub(since);
            if busy < allowed {
                continue;
            }
            tracing::warn!(actor, ?busy, ?allowed, "its handler makes no progress, so it is killed");
            if let Err(error) = tree.fault(&actor, Fault::Hung).await {
                // It ended meanwhile, or is on its way down.
                tracing::debug!(actor, %error, "it could not be killed");
            }
        }
    }
}

/// How long a turn of this actor may take.
fn allowed(policy: &TreePolicy, actor: &str) -> Option<Duration> {
    let declared = policy.worker(actor);
    let dynamic = || actor.starts_with("run/").then(|| policy.dynamic(RUNS)).flatten().map(|runs| &runs.child);
    let liveness = declared.or_else(dynamic)?.liveness?;
    Some(liveness.progress_within.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_of_the_built_in_tree_that_answers_questions_is_watched() {
        let policy = TreePolicy::builtin().unwrap();
        for actor in ["ledger", "context", "feed", "writer", "reviewer", "researcher", "run/x"] {
            assert!(allowed(&policy, actor).is_some(), "{actor}");
        }
        assert_eq!(allowed(&policy, "nobody"), None);
    }
}
