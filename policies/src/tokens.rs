//! Tokens, and what one model call used.
//!
//! The five priced counts of a [`Usage`] are disjoint, whatever the provider's
//! wire format says, so that no token is priced twice. Reasoning is no count of
//! its own: it is a part of the output.

use std::{fmt, iter::Sum, ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{money::Money, span::Span};

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
    /// Input tokens written to the provider's prompt cache for five minutes.
    pub cache_write: Tokens,
    /// Input tokens written to the provider's prompt cache for one hour.
    #[serde(skip_serializing_if = "is_none")]
    pub cache_write_1h: Tokens,
    /// Those of the output tokens that were thought and not said. They are
    /// billed as output, and so priced there alone.
    #[serde(skip_serializing_if = "is_none")]
    pub reasoning: Tokens,
    /// Web searches that the provider bills.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
    /// Requests beyond the first that the call has led to; each may have its fee.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeats: u64,
    /// Processor time of a local model, summed over cores; zero for a remote one.
    pub cpu: Span,
    /// What the provider itself says that it costs, which counts over any
    /// table; of a sum, only where it was said of each part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_told: Option<Money>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(tokens: &Tokens) -> bool {
    tokens.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// All input tokens, cached or not: the count that decides a price tier.
    pub fn input_total(&self) -> Tokens {
        self.input + self.cache_read + self.cache_write + self.cache_write_1h
    }

    /// Whether nothing at all was used.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What both together cost by their providers' word.
    fn told_with(&self, other: &Self) -> Option<Money> {
        match (self.cost_told, other.cost_told) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (told, None) if other.is_nothing() => told,
            (None, told) if self.is_nothing() => told,
            _ => None,
        }
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
            cache_write_1h: self.cache_write_1h + other.cache_write_1h,
            reasoning: self.reasoning + other.reasoning,
            searches: self.searches.saturating_add(other.searches),
            repeats: self.repeats.saturating_add(other.repeats),
            cpu: Span(Duration::saturating_add(self.cpu.0, other.cpu.0)),
            cost_told: self.told_with(&other),
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
            cache_write_1h: Tokens(5),
            reasoning: Tokens(1),
            searches: 6,
            repeats: 2,
            cpu: Span::from_millis(5),
            cost_told: Some(Money::from_nanos(7)),
        };
        let two: Usage = [one, one].into_iter().sum();
        assert_eq!(two.input_total(), Tokens(26));
        assert_eq!((two.output, two.reasoning, two.searches, two.repeats), (Tokens(4), Tokens(2), 12, 4));
        assert_eq!((two.cpu, two.cost_told), (Span::from_millis(10), Some(Money::from_nanos(14))));
        assert_eq!(Tokens(u64::MAX) + Tokens(1), Tokens(u64::MAX));
    }

    #[test]
    fn a_cost_is_told_only_where_it_was_told_of_every_part() {
        let told = Usage { input: Tokens(1), cost_told: Some(Money::from_nanos(7)), ..Usage::default() };
        let untold = Usage { input: Tokens(1), ..Usage::default() };
        assert_eq!((Usage::default() + told).cost_told, told.cost_told);
        assert_eq!([told, untold, told].into_iter().sum::<Usage>().cost_told, None);
    }

    #[test]
    fn what_few_providers_bill_is_written_only_where_there_is_some() {
        let plain = Usage { input: Tokens(1), ..Usage::default() };
        let json = serde_json::to_string(&plain).unwrap();
        assert_eq!(json, r#"{"input":1,"output":0,"cache_read":0,"cache_write":0,"cpu":"0s"}"#);
        let all = Usage { searches: 2, reasoning: Tokens(3), cost_told: Some(Money::from_nanos(7)), ..plain };
        assert_eq!(serde_json::from_str::<Usage>(&serde_json::to_string(&all).unwrap()).unwrap(), all);
    }

    #[test]
    fn counts_missing_from_json_are_zero() {
        let usage: Usage = serde_json::from_str(r#"{"input": 7, "cpu": "2s"}"#).unwrap();
        assert_eq!(usage, Usage { input: Tokens(7), cpu: Span::from_secs(2), ..Usage::default() });
    }
}
