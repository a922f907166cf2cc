//! The bill stays within the budget at every instant. Invariant: what the provider billed counts,
//! answered or not; what the system believes to have spent does not.

use policies::money::Money;

use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// Judges the workspace's budget. A bill does not name its run, so a run's own limit cannot be seen
/// from outside.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut sum = Money::ZERO;
    for Sighting { at_us, what } in &history.seen {
        let Seen::Billed { call, cost } = what else { continue };
        let before = sum;
        sum = sum.saturating_add(*cost);
        if sum > history.budget {
            let message = format!(
                "call {call} was billed {cost} at {} after {before}: {sum} together, and the budget is {}",
                Moment(*at_us),
                history.budget
            );
            return vec![Violation { invariant: Invariant::NoBudgetOverrun, at_us: *at_us, message }];
        }
    }
    Vec::new()
}
