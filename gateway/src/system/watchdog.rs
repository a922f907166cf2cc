//! The watchdog: kills a worker that has shown no progress for as long as its liveness allows for
//! what it is doing, and has it counted as hung. Invariant: an actor that waits for its next message,
//! a person, a timer or a rate limit is never taken for hung, however long it waits.

use std::sync::Arc;
use std::time::Duration;

use actors::latest::Watcher;
use actors::world::{Pulse, World};
use policies::liveness::Liveness;
use policies::tree::TreePolicy;
use supervisor::{Fault, Tree};

use super::RUNS;

/// Between two looks at the turns under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until the tree has ended.
pub(super) async fn watch(world: World, tree: Tree, policy: Watcher<Arc<TreePolicy>>) {
    let mut killed: Vec<Pulse> = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = tree.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let busy = world.busy();
        // What runs on after its kill blocks; its supervisor reports that, and to kill it again is of no use.
        killed.retain(|pulse| busy.contains(pulse));
        for pulse in hung(&policy.get(), &busy, world.elapsed()) {
            if killed.contains(pulse) {
                continue;
            }
            killed.push(pulse.clone());
            let Pulse { actor, doing, since } = pulse;
            let silent = world.elapsed().saturating_sub(*since);
            tracing::warn!(actor, %doing, ?silent, "it shows no progress, so it is killed");
            if let Err(error) = tree.fault(actor, Fault::Hung).await {
                // It ended meanwhile, or is on its way down.
                tracing::debug!(actor, %error, "it could not be killed");
            }
        }
    }
}

/// Those that have shown no progress for longer than their policy allows for what they are doing.
fn hung<'a>(policy: &TreePolicy, busy: &'a [Pulse], now: Duration) -> Vec<&'a Pulse> {
    let is_hung = |pulse: &&Pulse| {
        let liveness = liveness(policy, &pulse.actor);
        liveness.is_some_and(|liveness| liveness.is_hung(pulse.doing, now.saturating_sub(pulse.since)))
    };
    busy.iter().filter(is_hung).collect()
}

/// When this actor counts as hung.
fn liveness(policy: &TreePolicy, actor: &str) -> Option<Liveness> {
    let declared = policy.worker(actor);
    let dynamic = || actor.starts_with("run/").then(|| policy.dynamic(RUNS)).flatten().map(|runs| &runs.child);
    declared.or_else(dynamic)?.liveness
}

#[cfg(test)]
mod tests {
    use policies::liveness::Doing;

    use super::*;

    #[test]
    fn every_worker_of_the_built_in_tree_that_answers_questions_is_watched() {
        let policy = TreePolicy::builtin().unwrap();
        for actor in ["ledger", "context", "feed", "writer", "reviewer", "researcher", "run/x"] {
            assert!(liveness(&policy, actor).is_some(), "{actor}");
        }
        assert_eq!(liveness(&policy, "nobody"), None);
    }

    #[test]
    fn who_waits_for_a_person_a_timer_or_a_rate_limit_is_never_hung() {
        let policy = TreePolicy::builtin().unwrap();
        let busy = Doing::ALL.map(|doing| Pulse { actor: "run/x".into(), doing, since: Duration::ZERO });
        let found = hung(&policy, &busy, Duration::from_secs(7 * 86_400));
        assert_eq!(found.iter().map(|pulse| pulse.doing).collect::<Vec<_>>(), [Doing::Working, Doing::Calling]);
        assert!(hung(&policy, &busy, Duration::from_secs(1)).is_empty());
    }
}
