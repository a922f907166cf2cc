//! A kill as a plan for the simulator. Invariant: a pure function of what was seen; the crash comes at the
//! first passing of the point from its time on, and the simulation passes it.

use std::collections::BTreeMap;

use crate::checkers::Violation;
use crate::fault::{Fault, Hits, Loss, Point};
use crate::history::{History, Seen, Sighting};
use crate::plan::{Arrival, Plan, Planned, Workload};

const MICROS_PER_MILLI: u64 = 1_000;
/// Simulated calls take longer than those of a play: so much more time has the last run to pass every point.
const PASSED_WITHIN_MS: u64 = 120_000;

/// The workload as it came, what provider and platform did, and the last kill at a point before the first
/// violation, or of all; nothing where no kill hit a point.
pub(super) fn replay(history: &History, violations: &[Violation], quiet_ms: u64) -> Option<Plan> {
    let first_us = violations.iter().map(|violation| violation.at_us).min().unwrap_or(u64::MAX);
    let hits: Vec<_> = history.seen.iter().filter_map(hit).collect();
    let before = hits.iter().rev().find(|(at_us, ..)| *at_us <= first_us);
    let (at_us, point, loss) = *before.or(hits.last())?;
    let arrivals = arrivals(history);
    // Whatever the point is, a run passes it that comes then or later.
    let last_ms = arrivals.iter().map(|arrival| arrival.at_ms).max()?;
    let at_ms = (at_us / MICROS_PER_MILLI).min(last_ms);
    let mut faults = weather(history);
    let number = faults.iter().map(|planned| planned.number.saturating_add(1)).max().unwrap_or(0);
    faults.push(Planned { number, at_ms, fault: Fault::Crash { point: Some(point), nth: 1, loss } });
    faults.sort_by_key(|planned| planned.at_ms);
    let end_ms = faults.iter().map(|planned| planned.at_ms).max().unwrap_or(0).max(last_ms);
    Some(Plan {
        experiment: history.plan.experiment.clone(),
        seed: history.plan.seed,
        workload: Workload { arrivals, ..history.plan.workload.clone() },
        duration_ms: end_ms.saturating_add(PASSED_WITHIN_MS),
        quiet_ms,
        yields: true,
        faults,
    })
}

/// A kill at a point.
fn hit(sighting: &Sighting) -> Option<(u64, Point, Loss)> {
    match sighting.what {
        Seen::Crashed { point: Some(point), loss } => Some((sighting.at_us, point, loss)),
        _ => None,
    }
}

/// The runs when they were asked for first.
fn arrivals(history: &History) -> Vec<Arrival> {
    let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
    for Sighting { at_us, what } in &history.seen {
        if let Seen::Asked { key, .. } = what {
            asked.entry(key).or_insert(at_us / MICROS_PER_MILLI);
        }
    }
    let of = |arrival: &Arrival| Some(Arrival { at_ms: *asked.get(arrival.key.as_str())?, key: arrival.key.clone() });
    history.plan.workload.arrivals.iter().filter_map(of).collect()
}

/// The faults of provider and platform, from their first hit to their last, with as many hits.
fn weather(history: &History) -> Vec<Planned> {
    let mut hits: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for Sighting { at_us, what } in &history.seen {
        if let Seen::Struck { number } = what {
            hits.entry(*number).or_default().push(at_us / MICROS_PER_MILLI);
        }
    }
    let of = |planned: &Planned| {
        let times = hits.get(&planned.number)?;
        let (first, last) = (*times.first()?, *times.last()?);
        let count_max = u32::try_from(times.len()).ok();
        let (for_ms, at_ms) = (last.saturating_sub(first).saturating_add(1), first);
        let fault = match &planned.fault {
            Fault::Provider { effect, hits } => {
                Fault::Provider { effect: *effect, hits: Hits { for_ms, count_max, ..*hits } }
            }
            Fault::Platform { effect, hits } => {
                Fault::Platform { effect: *effect, hits: Hits { for_ms, count_max, ..*hits } }
            }
            _ => return None,
        };
        Some(Planned { at_ms, fault, ..*planned })
    };
    history.plan.faults.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use policies::money::Money;

    use super::*;
    use crate::aims::Invariant;
    use crate::fault::ProviderEffect;
    use crate::kill9::{Kill9Options, plan};
    use crate::simulation::{Made, play};

    fn history() -> History {
        let hits = Hits { for_ms: 60_000, p: 0.5, count_max: None };
        let fault = Fault::Provider { effect: ProviderEffect::Reset, hits };
        let faults = vec![Planned { number: 3, at_ms: 0, fault }];
        let plan = plan(&Kill9Options { cycles: 2, runs: 2, faults, ..Kill9Options::default() });
        let number = plan.faults.iter().map(|planned| planned.number).max().unwrap();
        let keys: Vec<_> = plan.workload.arrivals.iter().map(|arrival| arrival.key.clone()).collect();
        let asked = |nth: usize| Seen::Asked { key: keys[nth].clone(), order: "o".to_owned() };
        let crashed = |point| Seen::Crashed { point, loss: Loss::LoseUnsynced };
        let seen = [
            (1_000, asked(0)),
            (1_500, Seen::Struck { number }),
            (2_500, Seen::Struck { number }),
            (3_000, crashed(Some(Point::PostAfterSend))),
            (4_000, asked(0)),
            (5_000, asked(1)),
            (9_000, crashed(Some(Point::SyncAfter))),
            (9_500, crashed(None)),
        ];
        let seen = seen.into_iter().map(|(at_ms, what)| Sighting { at_us: at_ms * 1_000, what });
        History { plan, budget: Money::MAX, seen: seen.collect(), broken: None }
    }

    #[test]
    fn the_last_kill_at_a_point_before_something_was_wrong_is_replayed() {
        let history = history();
        let crash = |violations: &[Violation]| {
            let plan = replay(&history, violations, 7).unwrap();
            plan.faults.into_iter().find(|planned| matches!(planned.fault, Fault::Crash { .. })).unwrap()
        };
        let violation =
            Violation { invariant: Invariant::NoLostRun, at_us: 4_000_000, message: "it is gone".to_owned() };
        let wanted = Fault::Crash { point: Some(Point::PostAfterSend), nth: 1, loss: Loss::LoseUnsynced };
        let found = crash(&[violation]);
        assert_eq!((found.at_ms, found.fault), (3_000, wanted));
        let wanted = Fault::Crash { point: Some(Point::SyncAfter), nth: 1, loss: Loss::LoseUnsynced };
        let found = crash(&[]);
        assert_eq!((found.at_ms, found.fault), (5_000, wanted), "while there is still a run to pass it");
    }

    #[test]
    fn what_came_meanwhile_is_in_the_plan_at_its_time() {
        let plan = replay(&history(), &[], 7).unwrap();
        assert_eq!(plan.workload.arrivals.iter().map(|arrival| arrival.at_ms).collect::<Vec<_>>(), [1_000, 5_000]);
        let Planned { at_ms: 1_500, fault: Fault::Provider { hits, .. }, .. } = plan.faults[0] else {
            panic!("{:?}", plan.faults)
        };
        assert_eq!(hits, Hits { for_ms: 1_001, p: 0.5, count_max: Some(2) });
        let mut unhurt = history();
        unhurt.seen.retain(|sighting| hit(sighting).is_none());
        assert_eq!(replay(&unhurt, &[], 7), None);
    }

    #[test]
    fn the_simulated_process_dies_at_the_point() {
        let plan = replay(&history(), &[], 600_000).unwrap();
        let played = play(&plan, Made::default()).unwrap();
        let died = played.history.seen.iter().find_map(hit).unwrap();
        assert_eq!((died.1, died.2), (Point::SyncAfter, Loss::LoseUnsynced));
        assert!(died.0 >= 5_000_000);
        assert!(crate::checkers::check_all(&Invariant::ALL, &played.history).is_empty());
    }
}
