//! What a checker found. Invariant: a message names what it is about, when it was, and both sides of
//! the contradiction.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aims::Invariant;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When it showed, in microseconds from the play's beginning.
    pub at_us: u64,
    /// What contradicts what.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.invariant.name(), Moment(self.at_us), self.message)
    }
}

/// A moment of a play, in microseconds from its beginning, as people read it: `12.034500 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / MICROS_PER_SECOND, self.0 % MICROS_PER_SECOND)
    }
}

/// A length of time as microseconds of a play.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_as_a_sentence() {
        let violation = Violation {
            invariant: Invariant::NoDoublePost,
            at_us: 12_034_500,
            message: "post `k` is out twice".to_owned(),
        };
        assert_eq!(violation.to_string(), "no_double_post at 12.034500 s: post `k` is out twice");
    }
}
