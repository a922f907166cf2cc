//! Makes a failing plan small: delta debugging over its faults, then its arrivals, then lengths of
//! time, then the yields. Invariant: the plan that comes out was itself seen to fail, if the plan that
//! went in does, and everything left of it keeps its number and so its chance.

use crate::fault::{ActorEffect, DiskEffect, Fault, PlatformEffect, ProviderEffect};
use crate::plan::Plan;

/// Plays that a shrinking may take, where the caller knows nothing better.
pub const RUNS_MAX: u32 = 400;

/// Parts that a list is cut into at first.
const PARTS_MIN: usize = 2;

/// What came of a shrinking.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smallest plan that was seen to fail; the first one, if not even that failed.
    pub plan: Plan,
    /// Plays that it took.
    pub runs: u32,
    /// Whether the first plan failed when it was played again.
    pub reproduced: bool,
    /// Whether nothing could be left out any more; else the plays ran out.
    pub minimal: bool,
}

/// Makes `plan` small in at most `runs_max` plays. `test` plays a plan and tells whether the same
/// checker still fails.
pub fn shrink(plan: &Plan, runs_max: u32, test: impl FnMut(&Plan) -> bool) -> Shrunk {
    let mut search = Search { best: plan.clone(), rejected: Vec::new(), runs: 0, runs_max, test };
    let reproduced = search.plays(plan);
    let mut minimal = false;
    while reproduced && !minimal && search.runs < runs_max {
        let before = search.best.clone();
        search.fewer_faults();
        search.fewer_arrivals();
        search.shorter();
        search.without_yields();
        minimal = search.best == before && search.runs < runs_max;
    }
    Shrunk { plan: search.best, runs: search.runs, reproduced, minimal }
}

struct Search<F> {
    best: Plan,
    /// Plans that did not fail; as many as there were plays, at most.
    rejected: Vec<Plan>,
    runs: u32,
    runs_max: u32,
    test: F,
}

impl<F: FnMut(&Plan) -> bool> Search<F> {
    fn plays(&mut self, candidate: &Plan) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        (self.test)(candidate)
    }

    /// Takes the candidate, if it is another plan and fails too.
    fn take(&mut self, candidate: Plan) -> bool {
        if candidate == self.best || self.rejected.contains(&candidate) {
            return false;
        }
        if self.plays(&candidate) {
            self.best = candidate;
            return true;
        }
        self.rejected.push(candidate);
        false
    }

    fn fewer_faults(&mut self) {
        let list = self.best.faults.clone();
        self.fewer(list, |plan, faults| plan.faults = faults);
    }

    fn fewer_arrivals(&mut self) {
        let list = self.best.workload.arrivals.clone();
        self.fewer(list, |plan, arrivals| plan.workload.arrivals = arrivals);
    }

    /// Zeller's ddmin: leaves out ever smaller parts, until no single item can be left out.
    fn fewer<T: Clone>(&mut self, mut list: Vec<T>, set: impl Fn(&mut Plan, Vec<T>)) {
        if self.take_list(Vec::new(), &set) {
            return;
        }
        let mut parts = PARTS_MIN;
        while list.len() > 1 && self.runs < self.runs_max {
            let size = list.len().div_ceil(parts);
            let subset = list.chunks(size).find(|part| self.take_list(part.to_vec(), &set)).map(<[T]>::to_vec);
            if let Some(subset) = subset {
                (list, parts) = (subset, PARTS_MIN);
                continue;
            }
            let rests = (0..list.len()).step_by(size).map(|from| without(&list, from, size));
            let rest = rests.into_iter().find(|rest| self.take_list(rest.clone(), &set));
            if let Some(rest) = rest {
                (list, parts) = (rest, (parts - 1).max(PARTS_MIN));
            } else if parts >= list.len() {
                return;
            } else {
                parts = (parts * 2).min(list.len());
            }
        }
    }

    fn take_list<T>(&mut self, list: Vec<T>, set: &impl Fn(&mut Plan, Vec<T>)) -> bool {
        let mut candidate = self.best.clone();
        set(&mut candidate, list);
        self.take(candidate)
    }

    /// Halves each length of time for as long as that fails too, and ends the play with what happens
    /// last.
    fn shorter(&mut self) {
        for place in 0..self.best.faults.len() {
            for lever in [window, delay] {
                while self.halve(place, lever) {}
            }
        }
        let last_ms = last_ms(&self.best);
        if last_ms < self.best.duration_ms {
            self.take(Plan { duration_ms: last_ms, ..self.best.clone() });
        }
    }

    fn halve(&mut self, place: usize, lever: fn(&mut Fault) -> Option<&mut u64>) -> bool {
        let mut candidate = self.best.clone();
        let Some(planned) = candidate.faults.get_mut(place) else { return false };
        match lever(&mut planned.fault) {
            Some(length) if *length > 1 => *length /= 2,
            _ => return false,
        }
        self.take(candidate)
    }

    fn without_yields(&mut self) {
        self.take(Plan { yields: false, ..self.best.clone() });
    }
}

fn without<T: Clone>(list: &[T], from: usize, count: usize) -> Vec<T> {
    let until = (from + count).min(list.len());
    [&list[..from], &list[until..]].concat()
}

/// For how long a fault is on.
fn window(fault: &mut Fault) -> Option<&mut u64> {
    match fault {
        Fault::Provider { hits, .. } | Fault::Platform { hits, .. } => Some(&mut hits.for_ms),
        Fault::Disk { effect: DiskEffect::Full { for_ms } } => Some(for_ms),
        Fault::Disk { .. } | Fault::Actor { .. } | Fault::Clock { .. } | Fault::Crash { .. } => None,
    }
}

/// How much later a fault makes something.
fn delay(fault: &mut Fault) -> Option<&mut u64> {
    match fault {
        Fault::Provider { effect: ProviderEffect::Slow { by_ms } | ProviderEffect::Drip { by_ms }, .. }
        | Fault::Provider { effect: ProviderEffect::Status { retry_after_ms: Some(by_ms), .. }, .. }
        | Fault::Platform { effect: PlatformEffect::Slow { by_ms } | PlatformEffect::Late { by_ms }, .. }
        | Fault::Actor { effect: ActorEffect::Slow { by_ms }, .. } => Some(by_ms),
        _ => None,
    }
}

/// When the last fault or arrival comes.
fn last_ms(plan: &Plan) -> u64 {
    let arrivals = plan.workload.arrivals.iter().map(|arrival| arrival.at_ms);
    let faults = plan.faults.iter().map(|planned| {
        let length = window(&mut planned.fault.clone()).map_or(0, |length| *length);
        planned.at_ms.saturating_add(length)
    });
    arrivals.chain(faults).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::fault::{Hits, Loss};
    use crate::plan::{Arrival, Planned, Workload};

    const SLOW_MS: u64 = 8_000;

    fn slow(number: u32) -> Planned {
        let hits = Hits { for_ms: 60_000, p: 1.0, count_max: None };
        let fault = if number.is_multiple_of(3) {
            Fault::Crash { point: None, nth: 1, loss: Loss::KeepAll }
        } else {
            Fault::Provider { effect: ProviderEffect::Slow { by_ms: SLOW_MS }, hits }
        };
        Planned { number, at_ms: u64::from(number) * 100, fault }
    }

    fn plan(faults: u32, arrivals: u64) -> Plan {
        let arrivals = (0..arrivals).map(|number| Arrival { at_ms: number * 10, key: format!("k{number}") }).collect();
        let plain = Plan::plain(&[], (0..faults).map(slow).collect());
        let workload = Workload { arrivals, ..plain.workload.clone() };
        Plan { workload, duration_ms: 600_000, yields: true, ..plain }
    }

    fn numbers(plan: &Plan) -> BTreeSet<u32> {
        plan.faults.iter().map(|planned| planned.number).collect()
    }

    fn keys(plan: &Plan) -> BTreeSet<String> {
        plan.workload.arrivals.iter().map(|arrival| arrival.key.clone()).collect()
    }

    fn subset(count: u64) -> impl Strategy<Value = BTreeSet<u64>> {
        prop::collection::btree_set(0..count, 0..5)
    }

    proptest! {
        /// Whatever the culprits are, they and nothing else are left, in a bounded number of plays.
        #[test]
        fn the_culprits_are_left(faults in subset(60), arrivals in subset(20), yields: bool) {
            let guilty: BTreeSet<u32> = faults.iter().map(|number| *number as u32).collect();
            let guests: BTreeSet<String> = arrivals.iter().map(|number| format!("k{number}")).collect();
            let mut played = 0;
            let shrunk = shrink(&plan(60, 20), RUNS_MAX, |plan| {
                played += 1;
                guilty.is_subset(&numbers(plan)) && guests.is_subset(&keys(plan)) && (plan.yields || !yields)
            });
            prop_assert_eq!(played, shrunk.runs);
            prop_assert!(shrunk.runs <= RUNS_MAX && shrunk.reproduced && shrunk.minimal);
            prop_assert_eq!(numbers(&shrunk.plan), guilty);
            prop_assert_eq!(keys(&shrunk.plan), guests);
            prop_assert_eq!(shrunk.plan.yields, yields);
            prop_assert_eq!(shrunk.plan.duration_ms, last_ms(&shrunk.plan));
        }

        /// Even when parts of a plan hinder each other, what comes out fails.
        #[test]
        fn what_comes_out_fails(wanted in 1..30_usize, modulus in 2..5_usize, runs_max in 1..60_u32) {
            let test = |plan: &Plan| plan.faults.len() >= wanted && plan.faults.len() % modulus == 60 % modulus;
            let shrunk = shrink(&plan(60, 3), runs_max, test);
            prop_assert!(test(&shrunk.plan));
            prop_assert!(shrunk.runs <= runs_max);
        }
    }

    #[test]
    fn lengths_of_time_are_halved_for_as_long_as_it_fails() {
        let test = |plan: &Plan| {
            plan.faults.iter().any(|planned| match &planned.fault {
                Fault::Provider { effect: ProviderEffect::Slow { by_ms }, hits } => {
                    *by_ms >= 1_500 && hits.for_ms >= 7_000
                }
                _ => false,
            })
        };
        let shrunk = shrink(&plan(9, 4), RUNS_MAX, test);
        assert_eq!(shrunk.plan.faults.len(), 1);
        let mut left = shrunk.plan.faults[0].fault.clone();
        assert_eq!(window(&mut left).copied(), Some(7_500));
        assert_eq!(delay(&mut left).copied(), Some(2_000));
        assert!(shrunk.plan.workload.arrivals.is_empty() && !shrunk.plan.yields);
    }

    #[test]
    fn a_plan_that_does_not_fail_again_is_left_as_it_is() {
        let shrunk = shrink(&plan(5, 5), RUNS_MAX, |_| false);
        assert_eq!((shrunk.plan, shrunk.runs, shrunk.reproduced), (plan(5, 5), 1, false));
    }
}
