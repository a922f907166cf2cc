//! Who is let through first of those that wait for the same place or the same rate.
//!
//! Invariant: nobody waits for ever behind others: each has a moment from which on nobody who comes later
//! is before it, whatever their priorities.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How urgent a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for it.
    High,
    /// As it comes.
    #[default]
    Normal,
    /// It has time.
    Low,
}

impl Priority {
    /// Every priority with its word.
    pub const WORDS: [(&str, Self); 3] = [("low", Self::Low), ("normal", Self::Normal), ("high", Self::High)];

    /// By how much later urgent ones may come and still be let through before it: a normal one is passed by
    /// those that are high and come within a minute after it, a low one by others within ten.
    pub const fn patience(self) -> Duration {
        match self {
            Self::High => Duration::ZERO,
            Self::Normal => Duration::from_secs(60),
            Self::Low => Duration::from_secs(600),
        }
    }

    /// Whether it is what it is where nobody says.
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// A place in a line: who has the least goes first. Of equals who came first; the caller numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(Duration);

impl Rank {
    /// That of a call which waits since a moment of the caller's clock.
    pub fn of(priority: Priority, since: Duration) -> Self {
        Self(since.saturating_add(priority.patience()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rank(priority: Priority, second: u64) -> Rank {
        Rank::of(priority, Duration::from_secs(second))
    }

    #[test]
    fn the_urgent_pass_those_that_have_not_waited_for_long() {
        use Priority::{High, Low, Normal};
        assert!(rank(High, 59) < rank(Normal, 0) && rank(Normal, 0) < rank(High, 61));
        assert!(rank(Normal, 539) < rank(Low, 0) && rank(Low, 0) < rank(Normal, 541));
        assert!(rank(Low, 0) < rank(High, 601), "it has waited long enough");
    }

    fn any() -> impl Strategy<Value = Priority> {
        prop::sample::select(Priority::WORDS.map(|(_, priority)| priority).to_vec())
    }

    proptest! {
        #[test]
        fn after_its_patience_nobody_who_comes_later_is_before_it(
            one in any(), other in any(), came in 0..10_000_u64, later in 0..10_000_u64,
        ) {
            let patience = one.patience().as_secs();
            prop_assert!(rank(one, came) <= rank(other, came + patience + later));
        }

        #[test]
        fn of_one_priority_who_came_first_is_first(of in any(), came in 0..10_000_u64, later in 1..10_000_u64) {
            prop_assert!(rank(of, came) < rank(of, came + later));
        }
    }
}
