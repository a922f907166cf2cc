//! The bill stays within the budgets at every instant. Invariant: what the provider billed counts,
//! answered or not; what the system believes to have spent does not.

use std::collections::BTreeMap;

use policies::money::Money;

use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// A budget, and what was billed against it so far.
#[derive(Debug)]
struct Account {
    whose: String,
    budget: Money,
    sum: Money,
    /// Its first bill too many is told, and the later ones say nothing new.
    is_told: bool,
}

impl Account {
    fn new(whose: String, budget: Money) -> Self {
        Self { whose, budget, sum: Money::ZERO, is_told: false }
    }

    fn bill(&mut self, call: u64, cost: Money, at_us: u64) -> Option<Violation> {
        let before = self.sum;
        self.sum = before.saturating_add(cost);
        if self.is_told || self.sum <= self.budget {
            return None;
        }
        self.is_told = true;
        let (at, Self { whose, budget, sum, .. }) = (Moment(at_us), self);
        let message =
            format!("call {call} was billed {cost} at {at} after {before}: {sum} together, and {whose} is {budget}");
        Some(Violation { invariant: Invariant::NoBudgetOverrun, at_us, message })
    }
}

/// Judges the workspace's budget, and that of each run. A bill does not name its run, but the words of a
/// call may name the order; a call that names none counts for the workspace alone.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut workspace = Account::new("the budget".to_owned(), history.budget);
    let mut runs: BTreeMap<&str, Account> = BTreeMap::new();
    let mut orders: BTreeMap<u64, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::CalledFor { call, key } => {
                orders.insert(*call, key);
            }
            Seen::Billed { call, cost } => {
                found.extend(workspace.bill(*call, *cost, *at_us));
                let order = orders.get(call).zip(history.plan.workload.cost_max);
                found.extend(order.and_then(|(key, cost_max)| {
                    let own = || Account::new(format!("the budget of the run under key `{key}`"), cost_max);
                    runs.entry(key).or_insert_with(own).bill(*call, *cost, *at_us)
                }));
            }
            _ => {}
        }
    }
    found
}
