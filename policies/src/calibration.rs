//! How many tokens are reserved for an input that was counted here, of a model that was seen to bill more
//! or less than that.
//!
//! Invariant: what is reserved follows from the counts and the bills alone; a count that can be trusted is
//! never reserved at less than itself, and no count at more than [`FACTOR_MAX`] of itself.

use serde::{Deserialize, Serialize};

use crate::tokens::Tokens;

/// What is reserved for an estimate of which nothing is known yet, in thousandths: providers that publish
/// no tokenizer were seen to take up to half as many tokens again.
pub const FACTOR_UNKNOWN: u32 = 1_500;
/// The least that is reserved for an estimate, whatever was seen, in thousandths.
pub const FACTOR_MIN: u32 = 500;
/// The most that is reserved, whatever was seen, in thousandths.
pub const FACTOR_MAX: u32 = 4_000;
/// Bills that must have been seen before less is reserved than for the unknown.
pub const SEEN_MIN: u32 = 20;
/// What is reserved beyond the most that was seen, in thousandths of that.
const MARGIN: u32 = 1_100;
/// With each bill the most that was seen comes down to it by this part of the way.
const SINKING: u32 = 64;
/// Inputs shorter than this say little: what surrounds each message weighs too much.
const COUNTED_MIN: u64 = 50;

/// How far a count can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// It is what the provider bills.
    Exact,
    /// The provider never bills more, such as when bytes are counted.
    AtMost,
    /// By another model's tokenizer.
    Estimated,
}

/// What was seen of one model's bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Bills that were seen.
    seen: u32,
    /// The most that was billed lately for what was counted, in thousandths.
    high: u32,
}

impl Calibration {
    /// Takes in a bill: so much was counted before the call, and so much used.
    pub fn observe(&mut self, counted: Tokens, used: Tokens) {
        if counted.0 < COUNTED_MIN || used.0 == 0 {
            return;
        }
        let thousandths = (u128::from(used.0) * 1_000).div_ceil(u128::from(counted.0));
        let billed = u32::try_from(thousandths).unwrap_or(u32::MAX).min(FACTOR_MAX);
        self.seen = self.seen.saturating_add(1);
        // It rises at once and sinks slowly: to reserve too little is the worse mistake.
        self.high = billed.max(self.high - self.high.saturating_sub(billed) / SINKING);
    }

    /// What is reserved for each counted token, in thousandths.
    pub fn factor(&self, counting: Counting) -> u32 {
        let seen = u32::try_from(u64::from(self.high) * u64::from(MARGIN) / 1_000).unwrap_or(FACTOR_MAX);
        let least = match counting {
            // What was billed beyond a count that was trusted is a fault of the count, and reserved for.
            Counting::Exact | Counting::AtMost if self.high <= 1_000 => return 1_000,
            Counting::Exact | Counting::AtMost => 1_000,
            Counting::Estimated if self.seen < SEEN_MIN => FACTOR_UNKNOWN,
            Counting::Estimated => FACTOR_MIN,
        };
        seen.clamp(least, FACTOR_MAX)
    }

    /// How many tokens are reserved for so many counted ones.
    pub fn reserve(&self, counting: Counting, counted: Tokens) -> Tokens {
        let tokens = (u128::from(counted.0) * u128::from(self.factor(counting))).div_ceil(1_000);
        Tokens(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(bills: &[(u64, u64)]) -> Calibration {
        let mut calibration = Calibration::default();
        bills.iter().for_each(|(counted, used)| calibration.observe(Tokens(*counted), Tokens(*used)));
        calibration
    }

    #[test]
    fn of_an_unknown_model_half_as_much_again_is_reserved_for_an_estimate_alone() {
        let unknown = Calibration::default();
        assert_eq!(unknown.reserve(Counting::Estimated, Tokens(101)), Tokens(152));
        assert_eq!(unknown.reserve(Counting::Exact, Tokens(101)), Tokens(101));
        assert_eq!(unknown.reserve(Counting::AtMost, Tokens(101)), Tokens(101));
    }

    #[test]
    fn what_was_seen_often_is_reserved_with_a_margin() {
        assert_eq!(seen(&[(1_000, 1_200); 19]).factor(Counting::Estimated), FACTOR_UNKNOWN);
        assert_eq!(seen(&[(1_000, 1_200); 20]).factor(Counting::Estimated), 1_320);
        assert_eq!(seen(&[(1_000, 100); 99]).factor(Counting::Estimated), FACTOR_MIN);
        // One bill that is higher counts at once, and for long.
        assert_eq!(seen(&[(1_000, 2_000)]).factor(Counting::Estimated), 2_200);
        assert!(seen(&[&[(1_000, 2_000)][..], &[(1_000, 1_000); 20]].concat()).factor(Counting::Estimated) > 1_800);
    }

    #[test]
    fn a_count_that_was_billed_beyond_is_trusted_no_longer() {
        assert_eq!(seen(&[(1_000, 900)]).factor(Counting::Exact), 1_000);
        assert_eq!(seen(&[(1_000, 1_010)]).factor(Counting::Exact), 1_111);
    }

    #[test]
    fn short_inputs_and_bills_of_nothing_say_nothing() {
        assert_eq!(seen(&[(49, 4_000), (1_000, 0)]), Calibration::default());
    }

    fn counting() -> impl Strategy<Value = Counting> {
        prop_oneof![Just(Counting::Exact), Just(Counting::AtMost), Just(Counting::Estimated)]
    }

    proptest! {
        #[test]
        fn the_factor_is_bounded_and_never_less_than_what_is_trusted(
            bills in prop::collection::vec((0..5_000_u64, 0..50_000_u64), 0..60), counting in counting(), counted: u32,
        ) {
            let calibration = seen(&bills);
            let (factor, counted) = (calibration.factor(counting), Tokens(counted.into()));
            prop_assert!((FACTOR_MIN..=FACTOR_MAX).contains(&factor));
            prop_assert!(counting == Counting::Estimated || calibration.reserve(counting, counted) >= counted);
        }

        #[test]
        fn a_bill_like_the_last_is_covered(
            bills in prop::collection::vec((COUNTED_MIN..5_000, 1..20_000_u64), 1..60), counting in counting(),
        ) {
            let &(counted, used) = bills.last().unwrap();
            let reserved = seen(&bills).reserve(counting, Tokens(counted));
            prop_assert!(reserved.0 >= used.min(counted * 4), "{reserved} for {used} of {counted}");
        }
    }
}
