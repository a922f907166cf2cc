//! Which of an agent's chain is asked instead of one that a budget does not cover. Invariant: only one
//! that is further down the chain and costs less at its worst, so that going on comes to an end.

use super::{AtEnd, Refusal};
use crate::money::Money;

/// The place of the next in the chain whose worst case fits into what is left, where a refusal of the one
/// at `place` lets it be asked; none where another answer follows, or none fits.
///
/// `worst` has the worst case of each of the chain; none for one that cannot make the call.
pub fn downgrade(refusal: &Refusal, place: usize, worst: &[Option<Money>]) -> Option<usize> {
    if refusal.then != AtEnd::Downgrade {
        return None;
    }
    let is_fitting = |cost: &Option<Money>| cost.is_some_and(|cost| cost < refusal.asked && cost <= refusal.left);
    worst.iter().enumerate().skip(place + 1).find(|(_, cost)| is_fitting(cost)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::ScopeId;

    fn refusal(asked: u64, left: u64, then: AtEnd) -> Refusal {
        let (asked, left) = (Money::from_nanos(asked), Money::from_nanos(left));
        Refusal { scope: ScopeId::Run("a".to_owned()), asked, left, window: None, until: None, then }
    }

    #[test]
    fn the_next_that_fits_is_asked_and_only_where_the_policy_says_so() {
        let worst = [Some(9), None, Some(7), Some(3), Some(1)].map(|cost| cost.map(Money::from_nanos));
        assert_eq!(downgrade(&refusal(9, 4, AtEnd::Downgrade), 0, &worst), Some(3));
        assert_eq!(downgrade(&refusal(3, 2, AtEnd::Downgrade), 3, &worst), Some(4));
        assert_eq!(downgrade(&refusal(1, 0, AtEnd::Downgrade), 4, &worst), None);
        for then in [AtEnd::Reject, AtEnd::Wait, AtEnd::Ask] {
            assert_eq!(downgrade(&refusal(9, 4, then), 0, &worst), None);
        }
    }

    proptest! {
        #[test]
        fn it_goes_down_the_chain_to_something_that_fits(
            worst in prop::collection::vec(prop::option::of(0..50_u64), 0..8), place in 0..9_usize, asked in 1..50_u64, left in 0..50_u64,
        ) {
            let worst: Vec<Option<Money>> = worst.into_iter().map(|cost| cost.map(Money::from_nanos)).collect();
            let left = left.min(asked - 1);
            match downgrade(&refusal(asked, left, AtEnd::Downgrade), place, &worst) {
                Some(next) => prop_assert!(next > place && worst[next].unwrap().nanos() <= left),
                None => prop_assert!(worst.iter().skip(place + 1).flatten().all(|cost| cost.nanos() > left)),
            }
        }
    }
}
