//! Systems broken on purpose: each lacks one thing that a promise stands on, and the checkers of that
//! promise must find out. Invariant: a sabotage touches the system only, never the client, or the books of
//! the client, the provider or the platform.

mod disk;
mod door;
mod model;

use std::sync::Arc;

use agents::model::Model;
use axum::Router;
use gateway::system::Parts;
use policies::intensity::{Intensity, RESTARTS_MAX};
use policies::span::Span;
use policies::tree::NodePolicy;
use serde::{Deserialize, Serialize};

use super::parts::MODEL;
use crate::aims::Invariant;
use disk::{Synced, lying};
use model::{Lacking, Lacks};

/// Longer than any play.
const FOR_EVER: Span = Span::from_secs(30 * 24 * 3_600);

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sabotage {
    /// No file is synced: what is acknowledged is in the cache at best.
    NoSync,
    /// A file is synced, but only after what it holds was acknowledged.
    AcknowledgesBeforeSync,
    /// A post in doubt is sent again, without asking for the first one.
    PostsWithoutAsking,
    /// Money is counted when it is spent, not before.
    ReservesNothing,
    /// Every post is approved by nobody.
    SkipsApproval,
    /// A supervisor restarts for ever.
    IgnoresIntensity,
    /// Calls go on through an open breaker.
    CallsThroughBreaker,
    /// A call that is never answered is waited for without an end.
    WaitsForEver,
    /// A run that has finished is told as failed when it is looked at again.
    TellsAnotherEnd,
    /// Calls leave actors behind that no supervisor has.
    LeavesActors,
    /// Calls leave tasks behind.
    LeavesTasks,
}

const CRASH_MID_POST: &str = include_str!("../../experiments/crash-mid-post.toml");
const CRASH_IN_RECOVERY: &str = include_str!("../../experiments/crash-in-recovery.toml");
const BUDGET_RACE: &str = include_str!("../../experiments/budget-race.toml");
const APPROVAL_UNDER_CRASH: &str = include_str!("../../experiments/approval-under-crash.toml");
const TREE_MELTDOWN: &str = include_str!("../../experiments/tree-meltdown.toml");
const BREAKER_FLAP: &str = include_str!("../../experiments/breaker-flap.toml");
const SLOW_PROVIDER: &str = include_str!("../../experiments/slow-provider.toml");

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoSync,
        Self::AcknowledgesBeforeSync,
        Self::PostsWithoutAsking,
        Self::ReservesNothing,
        Self::SkipsApproval,
        Self::IgnoresIntensity,
        Self::CallsThroughBreaker,
        Self::WaitsForEver,
        Self::TellsAnotherEnd,
        Self::LeavesActors,
        Self::LeavesTasks,
    ];

    /// Its name on the command line and in plans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSync => "no_sync",
            Self::AcknowledgesBeforeSync => "acknowledges_before_sync",
            Self::PostsWithoutAsking => "posts_without_asking",
            Self::ReservesNothing => "reserves_nothing",
            Self::SkipsApproval => "skips_approval",
            Self::IgnoresIntensity => "ignores_intensity",
            Self::CallsThroughBreaker => "calls_through_breaker",
            Self::WaitsForEver => "waits_for_ever",
            Self::TellsAnotherEnd => "tells_another_end",
            Self::LeavesActors => "leaves_actors",
            Self::LeavesTasks => "leaves_tasks",
        }
    }

    /// The checkers that must find out, each by itself, and the shipped experiment in which it shows.
    #[must_use]
    pub fn betrayed(self) -> (&'static [Invariant], &'static str) {
        use Invariant as I;
        match self {
            Self::NoSync => (&[I::AcknowledgedSurvives, I::RecoveryIdempotent], CRASH_MID_POST),
            Self::AcknowledgesBeforeSync => (&[I::ResultsStable], CRASH_MID_POST),
            Self::PostsWithoutAsking => (&[I::NoDoublePost], CRASH_IN_RECOVERY),
            Self::ReservesNothing => (&[I::NoBudgetOverrun], BUDGET_RACE),
            Self::SkipsApproval => (&[I::ApprovalFirst], APPROVAL_UNDER_CRASH),
            Self::IgnoresIntensity => (&[I::RestartsBounded], TREE_MELTDOWN),
            Self::CallsThroughBreaker => (&[I::BreakerLegal], BREAKER_FLAP),
            Self::WaitsForEver => (&[I::NoLostRun], SLOW_PROVIDER),
            Self::TellsAnotherEnd => (&[I::NoLostRun, I::ResultsStable], CRASH_MID_POST),
            Self::LeavesActors => (&[I::RestartsBounded], CRASH_MID_POST),
            Self::LeavesTasks => (&[I::Bounded], CRASH_MID_POST),
        }
    }

    /// Takes it out of the parts.
    pub(super) fn apply(self, parts: &mut Parts) {
        match self {
            Self::NoSync => lies(parts, Synced::Never),
            Self::AcknowledgesBeforeSync => lies(parts, Synced::Later),
            Self::ReservesNothing => lack(parts, Lacks::Worst),
            Self::LeavesActors => lack(parts, Lacks::ActorsEnd),
            Self::LeavesTasks => lack(parts, Lacks::TasksEnd),
            Self::IgnoresIntensity => {
                for node in parts.policies.tree.nodes.values_mut() {
                    match node {
                        NodePolicy::Supervisor(policy) => policy.intensity = endless(policy.intensity),
                        NodePolicy::Dynamic(policy) => policy.intensity = endless(policy.intensity),
                        NodePolicy::Worker(_) => {}
                    }
                }
            }
            Self::CallsThroughBreaker => lack(parts, Lacks::Respect),
            Self::WaitsForEver => wait_for_ever(parts),
            // The publisher is told so where it is made; the others stand at the door.
            Self::PostsWithoutAsking | Self::SkipsApproval | Self::TellsAnotherEnd => {}
        }
    }

    /// Stands at the door of the system.
    pub(super) fn stand_at(self, door: Router) -> Router {
        match self {
            Self::SkipsApproval => door::asks_nobody(door),
            Self::TellsAnotherEnd => door::tells_another_end(door),
            _ => door,
        }
    }
}

fn lies(parts: &mut Parts, when: Synced) {
    parts.disk = lying(Arc::clone(&parts.disk), when);
}

fn lack(parts: &mut Parts, lacks: Lacks) {
    for agent in &mut parts.agents {
        let (model, world) = (Arc::clone(&agent.model), parts.world.clone());
        agent.model = Arc::new(Lacking { model, world, lacks }) as Arc<dyn Model>;
    }
}

fn wait_for_ever(parts: &mut Parts) {
    let name = format!("model/{MODEL}");
    let mut guard = parts.policies.guards.get(&name);
    (guard.timeout, guard.deadline) = (FOR_EVER, FOR_EVER);
    parts.policies.guards.set(name, guard);
    for agent in &mut parts.agents {
        agent.timeout = FOR_EVER.duration();
    }
    for node in parts.policies.tree.nodes.values_mut() {
        match node {
            NodePolicy::Worker(worker) => worker.liveness = None,
            NodePolicy::Dynamic(_) | NodePolicy::Supervisor(_) => {}
        }
    }
}

/// As many restarts as a policy can say.
fn endless(intensity: Intensity) -> Intensity {
    Intensity { restarts: RESTARTS_MAX, ..intensity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::check;
    use crate::experiment::read;
    use crate::plan::{Approval, Plan, expand};
    use crate::simulation::{Made, play};

    /// What each checker finds in a plan that is played like this.
    fn found(plan: &Plan, sabotage: Option<Sabotage>) -> Vec<Invariant> {
        let played = play(plan, Made { lines: false, sabotage }).unwrap();
        Invariant::ALL.into_iter().filter(|invariant| !check(*invariant, &played.history).is_empty()).collect()
    }

    #[test]
    fn what_needs_no_fault_to_show_is_found_without_one() {
        let mut plan = expand(&read("calm.toml", include_str!("calm.toml")).unwrap(), 1);
        plan.workload.arrivals.truncate(1);
        plan.workload.approval = Approval::Ask;
        for (sabotage, wanted) in [
            (None, &[][..]),
            (Some(Sabotage::LeavesActors), &[Invariant::RestartsBounded]),
            (Some(Sabotage::LeavesTasks), &[Invariant::Bounded]),
            (Some(Sabotage::SkipsApproval), &[Invariant::ApprovalFirst]),
            (Some(Sabotage::TellsAnotherEnd), &[Invariant::NoLostRun, Invariant::ResultsStable]),
        ] {
            assert_eq!(found(&plan, sabotage), wanted, "{sabotage:?}");
        }
    }

    #[test]
    fn calls_through_an_open_breaker_are_found_though_all_go_by_one_guard() {
        let plan = expand(&read("breaker-flap.toml", BREAKER_FLAP).unwrap(), 1);
        assert_eq!(found(&plan, None), []);
        let found = found(&plan, Some(Sabotage::CallsThroughBreaker));
        assert!(found.contains(&Invariant::BreakerLegal), "{found:?}");
    }

    #[test]
    fn every_invariant_is_betrayed_by_a_broken_system() {
        let betrayed = |invariant| Sabotage::ALL.into_iter().any(|one| one.betrayed().0.contains(&invariant));
        let kept: Vec<_> = Invariant::ALL.into_iter().filter(|invariant| !betrayed(*invariant)).collect();
        assert!(kept.is_empty(), "{kept:?}");
    }
}
