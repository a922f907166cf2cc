//! The watchdog: kills a worker that has shown no progress for as long as its liveness allows for
//! what it is doing, and has it counted as hung. Invariant: an actor that waits for its next message,
//! a person, a timer or a rate limit is never taken for hung, however long it waits.

use std::sync::Arc;
use std::time::Duration;

use actors::latest::Watcher;
use actors::telemetry::{Kin, Metrics};
use actors::world::{Pulse, World};
use policies::liveness::Liveness;
use policies::tree::TreePolicy;
use supervisor::{Fault, Tree};

use super::RUNS;

/// Between two looks at the turns under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until the tree has ended.
pub(super) async fn watch(world: World, tree: Tree, policy: Watcher<Arc<TreePolicy>>, metrics: Metrics) {
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
            match tree.fault(actor, Fault::Hung).await {
                Ok(()) => metrics.hang_killed(&kin(&policy.get(), actor)),
                // It ended meanwhile, or is on its way down.
                Err(error) => tracing::debug!(actor, %error, "it could not be killed"),
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

/// Whom its kill is counted for; a run's for all of them.
fn kin(policy: &TreePolicy, actor: &str) -> Kin {
    let supervisor = policy.parent(actor).unwrap_or(RUNS).to_owned();
    let child = if policy.node(actor).is_some() { actor.to_owned() } else { supervisor.clone() };
    Kin { supervisor, child }
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
    fn a_kill_is_counted_under_a_name_of_the_policy() {
        let policy = TreePolicy::builtin().unwrap();
        let of = |supervisor: &str, child: &str| Kin { supervisor: supervisor.to_owned(), child: child.to_owned() };
        assert_eq!(kin(&policy, "writer"), of("agents", "writer"));
        assert_eq!(kin(&policy, "run/0123"), of("runs", "runs"));
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
