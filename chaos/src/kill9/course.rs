//! The plan of a kill -9 play, from its seed. Invariant: a pure function; each kill draws by its own
//! number, so that leaving one out leaves the others as they were.

use actors::transport;
use actors::world::{Chance, World};

use super::Kill9Options;
use crate::fault::{Fault, Loss, Point};
use crate::plan::{Arrival, Plan, Planned, Workload};

/// The shortest and the longest life of a process, from when it is ready.
const LIFE_MS: (u64, u64) = (100, 1_300);

/// The plan that these options come to.
#[must_use]
pub fn plan(options: &Kill9Options) -> Plan {
    let points = if options.points.is_empty() { &Point::ALL[..] } else { &options.points };
    let mut faults = Vec::new();
    let mut at_ms = 0;
    for number in 0..options.cycles {
        let mut chance = stream(options.seed, &format!("kill9/{number}"));
        let (least, most) = LIFE_MS;
        at_ms += least + chance.below(most - least);
        let (point, nth) = place(&mut chance, points);
        faults.push(Planned { number, at_ms, fault: Fault::Crash { point, nth, loss: loss(options, number) } });
    }
    let spread = |nth: u32| at_ms * u64::from(nth) / u64::from(options.runs.max(1));
    let arrivals = (0..options.runs)
        .map(|nth| Arrival { at_ms: spread(nth), key: format!("{}/{}/{nth}", options.experiment, options.seed) });
    Plan {
        experiment: options.experiment.clone(),
        seed: options.seed,
        workload: Workload {
            arrivals: arrivals.collect(),
            approval: options.approval,
            budget: options.budget,
            cost_max: options.cost_max,
            platform: options.platform,
            stand_in: false,
        },
        duration_ms: at_ms,
        quiet_ms: u64::try_from(options.quiet.as_millis()).unwrap_or(u64::MAX),
        yields: false,
        faults,
    }
}

/// What becomes of that which was not synced when this kill comes.
fn loss(options: &Kill9Options, number: u32) -> Loss {
    let mut chance = stream(options.seed, &format!("kill9/loss/{number}"));
    let place = usize::try_from(chance.below(options.losses.len().max(1) as u64)).unwrap_or(0);
    options.losses.get(place).copied().unwrap_or_default()
}

/// A stream of chance that follows from the seed and its name.
pub(super) fn stream(seed: u64, name: &str) -> Chance {
    World::simulated(seed, transport::unplugged()).chance(name)
}

/// Half of the kills come when their time has come, half at a point. Small passings come while the
/// program recovers, large ones in the middle of its work.
fn place(chance: &mut Chance, points: &[Point]) -> (Option<Point>, u32) {
    if chance.below(2) == 0 {
        return (None, 1);
    }
    let place = usize::try_from(chance.below(points.len() as u64)).unwrap_or(0);
    let point = points.get(place).copied().unwrap_or(Point::AppendBefore);
    let nth_max = match point {
        Point::AppendBefore | Point::AppendAfter | Point::SyncBefore | Point::SyncAfter => 30,
        Point::CallBeforeSend | Point::CallAfterSend => 8,
        Point::PostBeforeSend | Point::PostAfterSend => 2,
        Point::AckBefore | Point::AckAfter => 3,
    };
    (Some(point), u32::try_from(1 + chance.below(nth_max)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed() {
        let options = Kill9Options { cycles: 200, runs: 40, ..Kill9Options::default() };
        let one = plan(&options);
        assert_eq!(one, plan(&options));
        assert_ne!(one.faults, plan(&Kill9Options { seed: 2, ..options.clone() }).faults);
        let fewer = plan(&Kill9Options { cycles: 100, ..options });
        assert_eq!(one.faults[..100], fewer.faults[..]);
    }

    #[test]
    fn kills_come_in_order_at_every_point_and_at_none_and_runs_come_before_the_last() {
        let plan = plan(&Kill9Options { cycles: 400, ..Kill9Options::default() });
        assert!(plan.faults.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
        let hit = |wanted: Option<Point>| {
            plan.faults.iter().any(|planned| matches!(planned.fault, Fault::Crash { point, .. } if point == wanted))
        };
        assert!(hit(None));
        for point in Point::ALL {
            assert!(hit(Some(point)), "{point:?}");
        }
        assert!(plan.workload.arrivals.iter().all(|arrival| arrival.at_ms < plan.duration_ms));
        let keys: std::collections::BTreeSet<_> = plan.workload.arrivals.iter().map(|a| &a.key).collect();
        assert_eq!(keys.len(), 50);
    }

    #[test]
    fn kills_lose_what_is_named_and_nothing_else_changes() {
        let options = Kill9Options::default();
        let losses = |losses: &[Loss]| plan(&Kill9Options { losses: losses.to_vec(), ..options.clone() });
        let hit = |plan: &Plan| {
            let of = |planned: &Planned| match planned.fault {
                Fault::Crash { loss, .. } => format!("{loss:?}"),
                _ => panic!("{planned:?}"),
            };
            plan.faults.iter().map(of).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(hit(&plan(&options)), ["KeepAll".to_owned()].into());
        assert_eq!(hit(&losses(&[Loss::LoseUnsynced])), ["LoseUnsynced".to_owned()].into());
        let both = losses(&[Loss::LoseUnsynced, Loss::Torn]);
        assert_eq!(hit(&both), ["LoseUnsynced".to_owned(), "Torn".to_owned()].into());
        let times = |plan: &Plan| plan.faults.iter().map(|planned| planned.at_ms).collect::<Vec<_>>();
        assert_eq!(times(&both), times(&plan(&options)));
    }

    #[test]
    fn kills_aim_at_the_points_that_are_named() {
        let points = vec![Point::PostAfterSend];
        let plan = plan(&Kill9Options { points, ..Kill9Options::default() });
        let hit = plan.faults.iter().map(|planned| match planned.fault {
            Fault::Crash { point, .. } => point,
            _ => panic!("{planned:?}"),
        });
        assert_eq!(hit.collect::<std::collections::BTreeSet<_>>(), [None, Some(Point::PostAfterSend)].into());
    }
}
