//! The plan of a kill -9 play, from its seed. Invariant: a pure function; each kill draws by its own
//! number, so that leaving one out leaves the others as they were.

use actors::transport;
use actors::world::{Chance, World};

use super::{Aim, Kill9Options};
use crate::fault::{Fault, Hits, Loss, PlatformEffect, Point, ProviderEffect};
use crate::plan::{Arrival, Plan, Planned, Workload};

/// The shortest and the longest life of a process, from when it is ready.
const LIFE_MS: (u64, u64) = (100, 1_300);
/// The first number of a fault that is no kill: whatever the kills are, such a fault keeps its chance.
const FAULTS_FROM: u32 = 1_000_000;

/// The plan that these options come to.
#[must_use]
pub fn plan(options: &Kill9Options) -> Plan {
    let anywhere = Point::ALL.map(Aim::from);
    let aims = if options.aims.is_empty() { &anywhere[..] } else { &options.aims };
    let mut faults = Vec::new();
    let mut at_ms = 0;
    for number in 0..options.cycles {
        let mut chance = stream(options.seed, &format!("kill9/{number}"));
        let (least, most) = LIFE_MS;
        at_ms += least + chance.below(most - least);
        let (point, nth) = place(&mut chance, aims);
        faults.push(Planned { number, at_ms, fault: Fault::Crash { point, nth, loss: loss(options, number) } });
    }
    let pace = Pace { from_ms: millis(options.duration), to_ms: at_ms };
    faults.extend(options.faults.iter().filter_map(|planned| pace.fault(planned)));
    // The sort is stable, and kills come at times of their own.
    faults.sort_by_key(|planned| planned.at_ms);
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
        quiet_ms: millis(options.quiet),
        yields: false,
        faults,
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How an experiment's time becomes that of a play: all its lengths alike.
struct Pace {
    from_ms: u64,
    to_ms: u64,
}

impl Pace {
    /// At least a moment, for a fault of no length would be none.
    fn length(&self, length_ms: u64) -> u64 {
        self.moment(length_ms).max(1)
    }

    fn moment(&self, at_ms: u64) -> u64 {
        let scaled = u128::from(at_ms) * u128::from(self.to_ms) / u128::from(self.from_ms.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// A fault of the provider or the platform in the play; nothing for all others.
    fn fault(&self, planned: &Planned) -> Option<Planned> {
        let hits = |hits: Hits| Hits { for_ms: self.length(hits.for_ms), ..hits };
        let fault = match &planned.fault {
            Fault::Provider { effect, hits: of } => {
                let effect = match *effect {
                    ProviderEffect::Slow { by_ms } => ProviderEffect::Slow { by_ms: self.length(by_ms) },
                    ProviderEffect::Status { status, retry_after_ms } => {
                        let retry_after_ms = retry_after_ms.map(|ms| self.length(ms));
                        ProviderEffect::Status { status, retry_after_ms }
                    }
                    other => other,
                };
                Fault::Provider { effect, hits: hits(*of) }
            }
            Fault::Platform { effect, hits: of } => {
                let effect = match *effect {
                    PlatformEffect::Slow { by_ms } => PlatformEffect::Slow { by_ms: self.length(by_ms) },
                    PlatformEffect::Late { by_ms } => PlatformEffect::Late { by_ms: self.length(by_ms) },
                    other => other,
                };
                Fault::Platform { effect, hits: hits(*of) }
            }
            Fault::Actor { .. } | Fault::Disk { .. } | Fault::Clock { .. } | Fault::Crash { .. } => return None,
        };
        let number = FAULTS_FROM.saturating_add(planned.number);
        Some(Planned { number, at_ms: self.moment(planned.at_ms), fault })
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

/// Half of the kills come when their time has come, half at a point.
fn place(chance: &mut Chance, aims: &[Aim]) -> (Option<Point>, u32) {
    if chance.below(2) == 0 {
        return (None, 1);
    }
    let place = usize::try_from(chance.below(aims.len() as u64)).unwrap_or(0);
    let Some(Aim { point, nth: (first, last) }) = aims.get(place).copied() else { return (None, 1) };
    let passings = u64::from(last.saturating_sub(first)) + 1;
    (Some(point), first.saturating_add(u32::try_from(chance.below(passings)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let aims = vec![Aim::from(Point::PostAfterSend)];
        let plan = plan(&Kill9Options { aims, ..Kill9Options::default() });
        let hit = plan.faults.iter().map(|planned| match planned.fault {
            Fault::Crash { point, .. } => point,
            _ => panic!("{planned:?}"),
        });
        assert_eq!(hit.collect::<std::collections::BTreeSet<_>>(), [None, Some(Point::PostAfterSend)].into());
    }

    #[test]
    fn faults_of_provider_and_platform_come_in_the_plays_own_time_whatever_the_kills() {
        let text = "[experiment]\nname = 'x'\nmodes = ['kill9']\nduration = '2m'\nquiet = '1m'\n\
                    [workload]\nruns = 1\narrival = '1/s'\n\
                    [[fault]]\nkind = 'provider_status'\nstatus = 429\nretry_after = '5s'\nat = '30s..90s'\np = 0.3\n\
                    [[fault]]\nkind = 'platform_late'\nby = '6s'\nat = '60s'\ncount = 2\n\
                    [[fault]]\nkind = 'crash'\n";
        let experiment = crate::experiment::read("x.toml", text).unwrap();
        let faults = crate::plan::expand(&experiment, 1).faults;
        let options = |cycles| Kill9Options {
            cycles,
            faults: faults.clone(),
            duration: Duration::from_secs(120),
            ..Kill9Options::default()
        };
        let others = |plan: &Plan| {
            let no_kill = |planned: &&Planned| !matches!(planned.fault, Fault::Crash { .. });
            plan.faults.iter().filter(no_kill).cloned().collect::<Vec<_>>()
        };
        let play = plan(&options(40));
        let length = |ms: u64| ms * play.duration_ms / 120_000;
        let [status, late] = &others(&play)[..] else { panic!("{:?}", play.faults) };
        assert_eq!((status.at_ms, late.at_ms), (length(30_000), length(60_000)));
        let effect = ProviderEffect::Status { status: 429, retry_after_ms: Some(length(5_000)) };
        let hits = Hits { for_ms: length(60_000), p: 0.3, count_max: None };
        assert_eq!(status.fault, Fault::Provider { effect, hits });
        let hits = Hits { for_ms: length(60_000), p: 1.0, count_max: Some(2) };
        assert_eq!(late.fault, Fault::Platform { effect: PlatformEffect::Late { by_ms: length(6_000) }, hits });
        assert!(play.faults.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        let numbers = |plan: &Plan| others(plan).iter().map(|planned| planned.number).collect::<Vec<_>>();
        assert_eq!(numbers(&play), numbers(&plan(&options(10))), "by its number a fault has its chance");
    }

    #[test]
    fn a_kill_at_a_point_comes_at_one_of_the_passings_that_are_named() {
        let aims = vec![Aim { point: Point::SyncAfter, nth: (3, 5) }];
        let plan = plan(&Kill9Options { aims, cycles: 100, ..Kill9Options::default() });
        let passings = plan.faults.iter().filter_map(|planned| match planned.fault {
            Fault::Crash { point: Some(_), nth, .. } => Some(nth),
            _ => None,
        });
        assert_eq!(passings.collect::<std::collections::BTreeSet<_>>(), [3, 4, 5].into());
    }
}
