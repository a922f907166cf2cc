//! Which children a failure takes along, and which of them come back.
//!
//! The rules are those of Erlang/OTP's `supervisor`: affected children are
//! stopped in reverse start order and started again in start order.

use serde::{Deserialize, Serialize};

/// What a supervisor restarts when one child fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the child that failed.
    #[default]
    OneForOne,
    /// All children.
    OneForAll,
    /// The child that failed and those started after it.
    RestForOne,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It was done.
    Normal,
    /// It failed.
    Failed,
}

/// Which ends a child is restarted after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartKind {
    /// Always.
    #[default]
    Permanent,
    /// Only after a failure.
    Transient,
    /// Never, not even when another child's failure takes it along.
    Temporary,
}

impl RestartKind {
    /// Whether a child of this kind is restarted after such an end.
    pub const fn restarts_after(self, exit: Exit) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => matches!(exit, Exit::Failed),
            Self::Temporary => false,
        }
    }
}

/// The children that the failure of `failed` stops, in start order.
///
/// `order` is all children in start order. Nothing is affected by the failure
/// of a child that is not among them. Of the affected, those that are
/// temporary stay stopped.
pub fn affected<T: Clone + PartialEq>(strategy: Strategy, order: &[T], failed: &T) -> Vec<T> {
    let Some(at) = order.iter().position(|child| child == failed) else {
        return Vec::new();
    };
    let affected = match strategy {
        Strategy::OneForOne => &order[at..=at],
        Strategy::OneForAll => order,
        Strategy::RestForOne => &order[at..],
    };
    affected.to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    // By name, since the prelude has a trait of the same name.
    use super::{Strategy, *};

    #[test]
    fn rest_for_one_leaves_those_started_before() {
        let order = ["ledger", "context", "agents"];
        assert_eq!(affected(Strategy::RestForOne, &order, &"context"), ["context", "agents"]);
        assert_eq!(affected(Strategy::OneForAll, &order, &"context"), order);
        assert_eq!(affected(Strategy::OneForOne, &order, &"context"), ["context"]);
    }

    #[test]
    fn a_kind_decides_after_which_end_a_child_comes_back() {
        let back = |kind: RestartKind| (kind.restarts_after(Exit::Normal), kind.restarts_after(Exit::Failed));
        assert_eq!(back(RestartKind::Permanent), (true, true));
        assert_eq!(back(RestartKind::Transient), (false, true));
        assert_eq!(back(RestartKind::Temporary), (false, false));
    }

    fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
        prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
    }

    proptest! {
        /// OTP's rules, child by child: a child is affected if and only if it
        /// failed, or the strategy is one_for_all, or it started later under
        /// rest_for_one.
        #[test]
        fn follows_otp(strategy in strategies(), count in 1..20_usize, failed: prop::sample::Index) {
            let order: Vec<usize> = (0..count).collect();
            let failed = failed.index(count);
            let expected: Vec<usize> = order.iter().copied().filter(|child| match strategy {
                Strategy::OneForOne => *child == failed,
                Strategy::OneForAll => true,
                Strategy::RestForOne => *child >= failed,
            }).collect();
            prop_assert_eq!(affected(strategy, &order, &failed), expected);
            prop_assert!(affected(strategy, &order, &count).is_empty());
        }
    }
}
