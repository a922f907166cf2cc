//! How many tokens are reserved for an input that was counted here, of a model that was seen to bill more
//! than that.
//!
//! A count is an upper bound: no provider takes a limit for the input of a call, so nothing but the worst case
//! keeps a budget. What was billed can therefore only raise what is reserved, where the count was no bound.
//!
//! Invariant: what is reserved follows from the counts and the bills alone; no count is ever reserved at less
//! than itself, and none at more than [`FACTOR_MAX`] of itself.

use serde::{Deserialize, Serialize};

use crate::tokens::Tokens;

/// A count as it is, in thousandths.
const WHOLE: u32 = 1_000;
/// The most that is reserved, whatever was seen, in thousandths.
pub const FACTOR_MAX: u32 = 4_000;
/// What is reserved beyond the most that was seen, in thousandths of that.
const MARGIN: u32 = 1_100;
/// With each bill the most that was seen comes down to it by this part of the way.
const SINKING: u32 = 64;
/// Inputs shorter than this say little: what surrounds each message weighs too much.
const COUNTED_MIN: u64 = 50;

/// What was seen of one model's bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// The most that was billed lately for what was counted, in thousandths.
    high: u32,
}

impl Calibration {
    /// Takes in a bill: so much was counted before the call, and so much used.
    pub fn observe(&mut self, counted: Tokens, used: Tokens) {
        if counted.0 < COUNTED_MIN || used.0 == 0 {
            return;
        }
        let thousandths = (u128::from(used.0) * u128::from(WHOLE)).div_ceil(u128::from(counted.0));
        let billed = u32::try_from(thousandths).unwrap_or(u32::MAX).min(FACTOR_MAX);
        // It rises at once and sinks slowly: to reserve too little is the worse mistake.
        self.high = billed.max(self.high - self.high.saturating_sub(billed) / SINKING);
    }

    /// What is reserved for each counted token, in thousandths.
    pub fn factor(&self) -> u32 {
        if self.high <= WHOLE {
            return WHOLE;
        }
        let seen = u64::from(self.high) * u64::from(MARGIN) / u64::from(WHOLE);
        u32::try_from(seen).unwrap_or(FACTOR_MAX).clamp(WHOLE, FACTOR_MAX)
    }

    /// How many tokens are reserved for so many counted ones.
    pub fn reserve(&self, counted: Tokens) -> Tokens {
        let tokens = (u128::from(counted.0) * u128::from(self.factor())).div_ceil(u128::from(WHOLE));
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
    fn a_count_is_reserved_as_it_is_however_little_was_billed_of_it() {
        assert_eq!(Calibration::default().reserve(Tokens(101)), Tokens(101));
        assert_eq!(seen(&[(1_000, 250); 99]).reserve(Tokens(101)), Tokens(101));
    }

    #[test]
    fn a_count_that_was_billed_beyond_is_reserved_with_a_margin_and_for_long() {
        assert_eq!(seen(&[(1_000, 1_010)]).factor(), 1_111);
        assert_eq!(seen(&[(1_000, 2_000)]).factor(), 2_200);
        assert!(seen(&[&[(1_000, 2_000)][..], &[(1_000, 1_000); 20]].concat()).factor() > 1_800);
        assert_eq!(seen(&[&[(1_000, 2_000)][..], &[(1_000, 250); 99]].concat()).factor(), 1_000);
    }

    #[test]
    fn short_inputs_and_bills_of_nothing_say_nothing() {
        assert_eq!(seen(&[(49, 4_000), (1_000, 0)]), Calibration::default());
    }

    #[test]
    fn what_earlier_versions_kept_is_read() {
        let kept = serde_json::from_str::<Calibration>("{\"seen\":20,\"high\":2000}").unwrap();
        assert_eq!(kept.factor(), 2_200);
    }

    proptest! {
        #[test]
        fn the_factor_is_bounded_and_never_less_than_the_count(
            bills in prop::collection::vec((0..5_000_u64, 0..50_000_u64), 0..60), counted: u32,
        ) {
            let calibration = seen(&bills);
            let (factor, counted) = (calibration.factor(), Tokens(counted.into()));
            prop_assert!((WHOLE..=FACTOR_MAX).contains(&factor));
            prop_assert!(calibration.reserve(counted) >= counted);
        }

        #[test]
        fn a_bill_like_the_last_is_covered(
            bills in prop::collection::vec((COUNTED_MIN..5_000, 1..20_000_u64), 1..60),
        ) {
            let &(counted, used) = bills.last().unwrap();
            let reserved = seen(&bills).reserve(Tokens(counted));
            prop_assert!(reserved.0 >= used.min(counted * 4), "{reserved} for {used} of {counted}");
        }
    }
}
