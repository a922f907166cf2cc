//! What an experiment aims at: what must always hold, and what must happen at least once. Invariant:
//! an aim has one name, the same in experiments, reports and messages.

use serde::{Deserialize, Serialize};

/// What must hold in every play. Each has a checker of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// Each acknowledged run comes to exactly one end within the quiet time.
    NoLostRun,
    /// One post at most for each key; what is said to be posted is out, and the reverse.
    NoDoublePost,
    /// The provider's bill is within the budget at every instant.
    NoBudgetOverrun,
    /// What was acknowledged survives every crash, and recovery invents nothing.
    #[serde(alias = "journal_vs_ledger")]
    AcknowledgedSurvives,
    /// A reported result never changes, and one key never carries two orders.
    ResultsStable,
    /// To recover twice, or to crash while recovering, changes nothing.
    RecoveryIdempotent,
    /// Restarts stay within their intensity, and no actor is left alone.
    RestartsBounded,
    /// The breaker makes only legal moves, and nothing is called while it is open.
    BreakerLegal,
    /// No post precedes its approval.
    ApprovalFirst,
    /// Mailboxes and tasks stay within their bounds, and nothing is stuck at the end.
    Bounded,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoLostRun,
        Self::NoDoublePost,
        Self::NoBudgetOverrun,
        Self::AcknowledgedSurvives,
        Self::ResultsStable,
        Self::RecoveryIdempotent,
        Self::RestartsBounded,
        Self::BreakerLegal,
        Self::ApprovalFirst,
        Self::Bounded,
    ];

    /// Its name in experiments and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLostRun => "no_lost_run",
            Self::NoDoublePost => "no_double_post",
            Self::NoBudgetOverrun => "no_budget_overrun",
            Self::AcknowledgedSurvives => "acknowledged_survives",
            Self::ResultsStable => "results_stable",
            Self::RecoveryIdempotent => "recovery_idempotent",
            Self::RestartsBounded => "restarts_bounded",
            Self::BreakerLegal => "breaker_legal",
            Self::ApprovalFirst => "approval_first",
            Self::Bounded => "bounded",
        }
    }
}

/// What must happen in at least one play of a campaign, else the campaign proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sometimes {
    /// A breaker opened.
    BreakerOpened,
    /// The process came back while an effect was intended and not resolved.
    RecoveredWithOpenIntent,
    /// A post was found to be out already, and was not made again.
    PostDeduplicated,
    /// A doubtful post was held for a person.
    PostHeld,
    /// A call was made again.
    Retried,
    /// An actor was restarted.
    Restarted,
    /// A supervisor gave up.
    Escalated,
    /// The process died.
    Crashed,
    /// The process died before it was ready again.
    CrashedInRecovery,
    /// A run was refused.
    RunRefused,
    /// A run failed because its budget was spent.
    BudgetSpent,
    /// The disk was full.
    DiskWasFull,
    /// A question was open when the process died, and was answered after it.
    ApprovalWaitedOverCrash,
    /// A call failed at the provider.
    ProviderFailed,
    /// A call was billed and never answered.
    CallLost,
    /// The wall clock jumped.
    ClockJumped,
    /// An actor was killed.
    ActorKilled,
    /// Another model stood in for an agent's own.
    StoodIn,
    /// A call that kills whoever makes it went to the dead letters.
    DeadLettered,
    /// A dead letter was replayed.
    Replayed,
}

impl Sometimes {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::BreakerOpened,
        Self::RecoveredWithOpenIntent,
        Self::PostDeduplicated,
        Self::PostHeld,
        Self::Retried,
        Self::Restarted,
        Self::Escalated,
        Self::Crashed,
        Self::CrashedInRecovery,
        Self::RunRefused,
        Self::BudgetSpent,
        Self::DiskWasFull,
        Self::ApprovalWaitedOverCrash,
        Self::ProviderFailed,
        Self::CallLost,
        Self::ClockJumped,
        Self::ActorKilled,
        Self::StoodIn,
        Self::DeadLettered,
        Self::Replayed,
    ];

    /// Its name in experiments and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BreakerOpened => "breaker_opened",
            Self::RecoveredWithOpenIntent => "recovered_with_open_intent",
            Self::PostDeduplicated => "post_deduplicated",
            Self::PostHeld => "post_held",
            Self::Retried => "retried",
            Self::Restarted => "restarted",
            Self::Escalated => "escalated",
            Self::Crashed => "crashed",
            Self::CrashedInRecovery => "crashed_in_recovery",
            Self::RunRefused => "run_refused",
            Self::BudgetSpent => "budget_spent",
            Self::DiskWasFull => "disk_was_full",
            Self::ApprovalWaitedOverCrash => "approval_waited_over_crash",
            Self::ProviderFailed => "provider_failed",
            Self::CallLost => "call_lost",
            Self::ClockJumped => "clock_jumped",
            Self::ActorKilled => "actor_killed",
            Self::StoodIn => "stood_in",
            Self::DeadLettered => "dead_lettered",
            Self::Replayed => "replayed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_read_and_written_by_its_name() {
        for aim in Invariant::ALL {
            assert_eq!(serde_json::to_value(aim).unwrap(), aim.name());
        }
        for aim in Sometimes::ALL {
            assert_eq!(serde_json::to_value(aim).unwrap(), aim.name());
        }
        let alias: Invariant = serde_json::from_str("\"journal_vs_ledger\"").unwrap();
        assert_eq!(alias, Invariant::AcknowledgedSurvives);
    }

    #[test]
    fn every_aim_is_listed_in_its_order() {
        assert!(Invariant::ALL.is_sorted());
        assert!(Sometimes::ALL.is_sorted());
    }
}
