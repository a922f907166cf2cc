//! Tokens, and what one model call used.
//!
//! The four counts of a [`Usage`] are disjoint, whatever the provider's wire
//! format says, so that no token is priced twice.

use std::{fmt, iter::Sum, ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// A number of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(pub u64);

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Saturating: a count that reached the end stays there.
impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self(0), Add::add)
    }
}

/// What one or several model calls used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Input tokens neither read from a prompt cache nor written to one.
    pub input: Tokens,
    /// Output tokens, reasoning included.
    pub output: Tokens,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: Tokens,
    /// Input tokens written to the provider's prompt cache.
    pub cache_write: Tokens,
    /// Processor time of a local model, summed over cores; zero for a remote one.
    pub cpu: Span,
}

impl Usage {
    /// All input tokens, cached or not: the count that decides a price tier.
    pub fn input_total(&self) -> Tokens {
        self.input + self.cache_read + self.cache_write
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            output: self.output + other.output,
            cache_read: self.cache_read + other.cache_read,
            cache_write: self.cache_write + other.cache_write,
            cpu: Span(Duration::saturating_add(self.cpu.0, other.cpu.0)),
        }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_add_up_count_by_count() {
        let one = Usage {
            input: Tokens(1),
            output: Tokens(2),
            cache_read: Tokens(3),
            cache_write: Tokens(4),
            cpu: Span::from_millis(5),
        };
        let two: Usage = [one, one].into_iter().sum();
        assert_eq!(two.input_total(), Tokens(16));
        assert_eq!((two.output, two.cpu), (Tokens(4), Span::from_millis(10)));
        assert_eq!(Tokens(u64::MAX) + Tokens(1), Tokens(u64::MAX));
    }

    #[test]
    fn counts_missing_from_json_are_zero() {
        let usage: Usage = serde_json::from_str(r#"{"input": 7, "cpu": "2s"}"#).unwrap();
        assert_eq!(usage, Usage { input: Tokens(7), cpu: Span::from_secs(2), ..Usage::default() });
    }
}
