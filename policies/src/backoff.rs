//! How long to wait before the next try.
//!
//! A delay never passes the cap, and jitter only ever shortens it.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::span::Span;

/// Exponential back-off with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The delay after the first failed attempt.
    pub first: Span,
    /// What each further failure multiplies the delay by, at least 1.
    #[serde(deserialize_with = "factor")]
    pub factor: f64,
    /// The longest delay.
    pub cap: Span,
    /// The share of a delay, from 0 to 1, that chance may take off.
    #[serde(deserialize_with = "share")]
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Span::from_millis(50), factor: 2.0, cap: Span::from_secs(5), jitter: 0.2 }
    }
}

impl Backoff {
    /// The delay after the `attempt`th attempt has failed, counted from 1.
    ///
    /// `chance`, in `[0, 1)`, says how much of the jitter is taken off:
    /// `min(cap, first * factor^(attempt - 1)) * (1 - jitter * chance)`.
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let exponent = attempt.saturating_sub(1).min(1_000) as f64;
        // A product past the range of f64 is infinite, which the cap cuts off.
        let grown = self.first.0.as_secs_f64() * self.factor.powf(exponent);
        let cap = self.cap.0;
        let longest = if grown.is_nan() { cap } else { Duration::try_from_secs_f64(grown).unwrap_or(cap).min(cap) };
        let kept = 1.0 - (self.jitter * chance).clamp(0.0, 1.0);
        Duration::try_from_secs_f64(longest.as_secs_f64() * kept).unwrap_or(cap).min(cap)
    }
}

fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    if factor.is_finite() && factor >= 1.0 {
        return Ok(factor);
    }
    Err(de::Error::custom(format!("`{factor}` is not a back-off factor; write a number of 1 or more such as 2.0")))
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(de::Error::custom(format!("`{share}` is not a share; write a number from 0 to 1 such as 0.2")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grows_by_the_factor_up_to_the_cap() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let delays = [0, 1, 2, 3, 8, u32::MAX].map(|attempt| backoff.delay(attempt, 0.9).as_millis());
        assert_eq!(delays, [50, 50, 100, 200, 5_000, 5_000]);
    }

    #[test]
    fn full_jitter_spreads_from_nothing_to_the_whole() {
        let backoff = Backoff { jitter: 1.0, ..Backoff::default() };
        assert_eq!(backoff.delay(1, 0.0).as_millis(), 50);
        assert_eq!(backoff.delay(1, 0.5).as_millis(), 25);
    }

    #[test]
    fn refuses_numbers_that_make_no_sense() {
        let read = |text: &str| toml::from_str::<Backoff>(text).map_err(|error| error.message().to_owned());
        assert!(read("factor = 0.5").unwrap_err().contains("back-off factor"));
        assert!(read("factor = inf").is_err());
        assert!(read("jitter = 1.5").unwrap_err().contains("from 0 to 1"));
        assert!(read("jitter = nan").is_err());
        assert_eq!(read("factor = 3.0").unwrap().cap, Span::from_secs(5));
    }

    proptest! {
        #[test]
        fn stays_within_the_cap_and_the_jitter(
            first in 0..100_000_u64, cap in 0..100_000_u64, factor in 1.0..10.0, jitter in 0.0..=1.0,
            attempt: u32, chance in 0.0..1.0,
        ) {
            let backoff = Backoff { first: Span::from_millis(first), factor, cap: Span::from_millis(cap), jitter };
            let (delay, whole) = (backoff.delay(attempt, chance), backoff.delay(attempt, 0.0));
            prop_assert!(delay <= whole && whole <= backoff.cap.0);
            prop_assert!(delay.as_secs_f64() >= whole.as_secs_f64() * (1.0 - jitter) - 1e-8);
            prop_assert!(backoff.delay(attempt.saturating_add(1), 0.0) >= whole);
        }

        #[test]
        fn no_number_gets_past_the_cap(first: u64, factor: f64, jitter: f64, attempt: u32, chance: f64) {
            let backoff = Backoff { first: Span::from_secs(first), factor, cap: Span::from_secs(7), jitter };
            prop_assert!(backoff.delay(attempt, chance) <= backoff.cap.0);
        }
    }
}
