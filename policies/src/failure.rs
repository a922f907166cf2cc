//! What kind of failure it was, which decides everything that follows.
//!
//! Every failure has exactly one class; what each class leads to is policy.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Our own code failed: a panic or a broken invariant.
    Bug,
    /// No progress within the allowed time.
    Hung,
    /// The other side does not answer, or answers that it is unwell.
    ProviderDown,
    /// The other side asks for fewer calls.
    RateLimited,
    /// A budget does not cover the call.
    BudgetSpent,
    /// This message fails whoever handles it.
    Poison,
    /// The other side understood the call and refuses it.
    Rejected,
    /// The work was stopped because the system stops.
    Shutdown,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Bug,
        Self::Hung,
        Self::ProviderDown,
        Self::RateLimited,
        Self::BudgetSpent,
        Self::Poison,
        Self::Rejected,
        Self::Shutdown,
    ];

    /// Whether the same call may succeed if it is made again a little later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Hung | Self::ProviderDown | Self::RateLimited)
    }

    /// Whether it counts against the other side's health, and so towards
    /// opening its breaker. Asking for fewer calls is a sign of good health.
    pub const fn blames_provider(self) -> bool {
        matches!(self, Self::Hung | Self::ProviderDown)
    }

    /// The class as it is written in events, metrics and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bug => "bug",
            Self::Hung => "hung",
            Self::ProviderDown => "provider_down",
            Self::RateLimited => "rate_limited",
            Self::BudgetSpent => "budget_spent",
            Self::Poison => "poison",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_the_same_everywhere() {
        for class in FailureClass::ALL {
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{class}\""));
        }
    }

    #[test]
    fn what_blames_the_provider_may_be_tried_again() {
        assert!(FailureClass::ALL.iter().all(|class| class.is_retryable() || !class.blames_provider()));
    }
}
