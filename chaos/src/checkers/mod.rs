//! The checkers: what a history must not show, and what a campaign must have seen.
//!
//! Invariant: a checker is a function of the [`History`] alone. It judges by what the client, the
//! provider and the platform saw; what the process says about itself is a claim that is judged too.
//! Where something cannot be told from outside, a checker stays silent and its documents say so.
//! The sightings must stand in the order of time, as [`History`] promises.

mod acknowledged;
mod approval;
mod bounds;
mod breaker;
mod budget;
mod double_post;
#[cfg(test)]
pub(crate) mod honest;
mod lost_run;
pub mod mutants;
mod orders;
mod recovery;
mod restarts;
mod results;
pub mod score;
mod sometimes;
mod steady;
mod unrest;
mod violation;

#[cfg(test)]
mod tests;

pub use bounds::{MEMORY_MAX_KIB, memory};
pub use breaker::ON_THE_WAY;
pub use lost_run::{GOES_ON_WITHIN, SEEN_WITHIN};
pub use recovery::{DURABLE_WITHIN, LISTENED_FOR};
pub use restarts::ESCALATED_WITHIN;
pub(crate) use sometimes::SPARE;
pub use sometimes::{BUDGET_SHARE_PERCENT, RECOVERING, reached};
pub use steady::{steady_lines, unsteady};
pub use unrest::SETTLED_AFTER;
pub use violation::{Moment, Violation};

use crate::aims::Invariant;
use crate::history::History;

/// Where a history breaks one invariant, in the order in which the checker found it.
#[must_use]
pub fn check(invariant: Invariant, history: &History) -> Vec<Violation> {
    match invariant {
        Invariant::NoLostRun => lost_run::check(history),
        Invariant::NoDoublePost => double_post::check(history),
        Invariant::NoBudgetOverrun => budget::check(history),
        Invariant::AcknowledgedSurvives => acknowledged::check(history),
        Invariant::ResultsStable => results::check(history),
        Invariant::RecoveryIdempotent => recovery::check(history),
        Invariant::RestartsBounded => restarts::check(history),
        Invariant::BreakerLegal => breaker::check(history),
        Invariant::ApprovalFirst => approval::check(history),
        Invariant::Bounded => bounds::check(history),
    }
}

/// Where a history breaks any of these invariants, by time.
#[must_use]
pub fn check_all(invariants: &[Invariant], history: &History) -> Vec<Violation> {
    let mut found: Vec<_> = invariants.iter().flat_map(|invariant| check(*invariant, history)).collect();
    found.sort_by_key(|violation| violation.at_us);
    found
}
