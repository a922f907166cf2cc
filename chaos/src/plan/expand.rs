//! From an experiment and a seed to a plan. Invariant: the plan follows from these two alone, and each
//! part of an experiment draws from a stream of its own, so that a part left out leaves the others as
//! they were.

use std::time::Duration;

use super::{Arrival, Plan, Planned, Workload};
use crate::experiment::{Experiment, FaultSpec, Form, WorkloadSpec};
use crate::fault::Fault;

/// Writes down everything that will be done to the system under this seed.
#[must_use]
pub fn expand(experiment: &Experiment, seed: u64) -> Plan {
    let drawn = experiment.faults.iter().flat_map(|spec| faults(spec, experiment.each_fault_off, seed));
    let mut drawn: Vec<(u64, Fault)> = drawn.collect();
    // The sort is stable: faults of one moment keep the order of the file.
    drawn.sort_by_key(|(at_ms, _)| *at_ms);
    let numbered = (0..).zip(drawn).map(|(number, (at_ms, fault))| Planned { number, at_ms, fault });
    let workload = &experiment.workload;
    Plan {
        experiment: experiment.name.clone(),
        seed,
        workload: Workload {
            arrivals: arrivals(&experiment.name, workload, seed),
            approval: workload.approval,
            budget: workload.budget,
            cost_max: workload.cost_max,
            platform: workload.platform,
            stand_in: workload.stand_in,
        },
        duration_ms: experiment.duration_ms,
        quiet_ms: experiment.quiet_ms,
        yields: true,
        faults: numbered.collect(),
    }
}

/// Each run comes at some moment of its turn.
fn arrivals(name: &str, workload: &WorkloadSpec, seed: u64) -> Vec<Arrival> {
    let mut stream = Stream::new(seed, "arrivals");
    let arrive = |number: u32| {
        let begin = workload.turn(number);
        let length = workload.turn(number.saturating_add(1)).saturating_sub(begin);
        let late = Duration::from_nanos(stream.below(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)));
        let at_ms = u64::try_from(begin.saturating_add(late).as_millis()).unwrap_or(u64::MAX);
        Arrival { at_ms, key: format!("{name}-{seed}-{number}") }
    };
    (0..workload.runs).map(arrive).collect()
}

/// The faults of one spec, each with its time; none when the swarm leaves the spec out.
fn faults(spec: &FaultSpec, off: f64, seed: u64) -> Vec<(u64, Fault)> {
    let mut stream = Stream::new(seed, &format!("fault/{}", spec.index));
    // Drawn whether or not there is a swarm, so that adding one moves nothing.
    if stream.unit() < off {
        return Vec::new();
    }
    let one = |_| {
        let at_ms = spec.at.from_ms + stream.below(spec.at.length_ms());
        let fault = match &spec.form {
            Form::Whole(fault) => fault.clone(),
            Form::Crash { point, nth: (first, last), loss } => {
                let passings = u64::from(last.saturating_sub(*first)) + 1;
                let later = u32::try_from(stream.below(passings)).unwrap_or(0);
                Fault::Crash { point: *point, nth: first.saturating_add(later), loss: *loss }
            }
        };
        (at_ms, fault)
    };
    (0..spec.times).map(one).collect()
}

/// Chance by name: BLAKE3's output for seed and name. No generator of a library is used, whose next
/// version could give an old seed another meaning.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Self(hasher.finalize_xof())
    }

    fn draw(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A whole number below `n`; 0 when `n` is 0. Biased by less than `n` in 2^64.
    fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(n);
        u64::try_from(wide >> u64::BITS).unwrap_or(0)
    }

    /// A number in [0, 1), evenly spread.
    fn unit(&mut self) -> f64 {
        /// 2^-32: the step between the numbers that 32 random bits can name.
        const STEP: f64 = 1.0 / 4_294_967_296.0;
        let bits = u32::try_from(self.draw() >> 32).unwrap_or(0);
        f64::from(bits) * STEP
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::experiment::read;

    const HEAD: &str = "[experiment]\nname = 'x'\nduration = '2m'\nquiet = '10m'\n\
                        [workload]\nruns = 12\narrival = '1/4s'\n";

    fn written(faults: &str) -> Experiment {
        read("x.toml", &format!("{HEAD}{faults}")).unwrap()
    }

    /// Six specs of all sorts, each of a form that no other has.
    fn mixed(off: f64) -> Experiment {
        let text = format!(
            "{HEAD}[[swarm]]\neach_fault_off = {off:?}\n{}",
            "[[fault]]\nkind = 'provider_stall'\nat = '10s..50s'\nfor = '5s'\np = 0.5\n\
             [[fault]]\nkind = 'crash'\npoint = 'sync.after'\nnth = '1..9'\ncount = 3\n\
             [[fault]]\nkind = 'actor_panic'\ntarget = 'writer'\nat = '1s..119s'\ncount = 4\n\
             [[fault]]\nkind = 'disk_full'\nat = '30s..60s'\nfor = '9s'\n\
             [[fault]]\nkind = 'clock_jump'\nby = '-1h'\nat = '30s'\n\
             [[fault]]\nkind = 'platform_lost'\ncount = 2\n"
        );
        read("x.toml", &text).unwrap()
    }

    /// The faults with their times, without the numbers, by what was asked for: no two specs look alike.
    fn by_sort(plan: &Plan) -> BTreeMap<String, Vec<(u64, Fault)>> {
        let mut sorts: BTreeMap<String, Vec<(u64, Fault)>> = BTreeMap::new();
        for planned in &plan.faults {
            let sort = serde_json::to_value(&planned.fault).unwrap()["on"].to_string();
            sorts.entry(sort).or_default().push((planned.at_ms, planned.fault.clone()));
        }
        sorts
    }

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let plan = expand(&mixed(0.0), 42);
        let times: Vec<u64> = plan.faults.iter().map(|planned| planned.at_ms).collect();
        let arrivals: Vec<u64> = plan.workload.arrivals.iter().map(|arrival| arrival.at_ms).collect();
        assert_eq!(times, [0, 8351, 11339, 12084, 30000, 37003, 51707, 58083, 93707, 101790, 101831]);
        assert_eq!(arrivals, [3347, 7879, 9717, 14341, 16696, 21641, 24243, 28307, 35737, 37906, 43497, 46668]);
    }

    #[test]
    fn what_was_asked_for_is_planned() {
        let plan = expand(&mixed(0.0), 7);
        let counts: Vec<usize> = by_sort(&plan).values().map(Vec::len).collect();
        // actor, clock, crash, disk, platform, provider
        assert_eq!(counts, [4, 1, 3, 1, 1, 1]);
        let keys: Vec<&str> = plan.workload.arrivals.iter().map(|arrival| arrival.key.as_str()).collect();
        assert_eq!((keys.len(), keys[0], keys[11]), (12, "x-7-0", "x-7-11"));
        assert!(plan.yields);
    }

    #[test]
    fn a_fault_without_length_is_there_for_its_whole_range() {
        let plan = expand(&written("[[fault]]\nkind = 'provider_reset'\nat = '30s..90s'\n"), 1);
        let [Planned { number: 0, at_ms: 30_000, fault: Fault::Provider { hits, .. } }] = plan.faults[..] else {
            panic!("{:?}", plan.faults)
        };
        assert_eq!((hits.for_ms, hits.p, hits.count_max), (60_000, 1.0, None));
    }

    #[test]
    fn the_swarm_leaves_out_the_share_that_it_should() {
        let seeds = 0..1_000;
        let left = |off: f64| {
            let experiment = mixed(off);
            seeds.clone().filter(|seed| by_sort(&expand(&experiment, *seed)).contains_key("\"crash\"")).count()
        };
        assert_eq!((left(0.0), left(1.0)), (1_000, 0));
        assert!((600..800).contains(&left(0.3)), "{}", left(0.3));
    }

    #[test]
    fn the_passings_of_a_crash_cover_their_range() {
        let experiment = written("[[fault]]\nkind = 'crash'\npoint = 'ack.after'\nnth = '2..4'\n");
        let passings = |seed| match expand(&experiment, seed).faults[0].fault {
            Fault::Crash { nth, .. } => nth,
            ref other => panic!("{other:?}"),
        };
        let seen: std::collections::BTreeSet<u32> = (0..100).map(passings).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_plan(seed: u64, off in 0.0..1.0) {
            prop_assert_eq!(expand(&mixed(off), seed), expand(&mixed(off), seed));
        }

        #[test]
        fn another_seed_gives_another_plan(seed: u64, step in 1..u64::MAX) {
            let plan = |seed| Plan { seed: 0, ..expand(&mixed(0.0), seed) };
            prop_assert_ne!(plan(seed).faults, plan(seed.wrapping_add(step)).faults);
        }

        #[test]
        fn a_spec_taken_out_leaves_the_others_alone(seed: u64, off in 0.0..0.7, gone in 0..6_usize) {
            let experiment = mixed(off);
            let mut fewer = experiment.clone();
            let spec = fewer.faults.remove(gone);
            let mut expected = by_sort(&expand(&experiment, seed));
            if let Some((_, fault)) = faults(&spec, 0.0, seed).first() {
                expected.remove(&serde_json::to_value(fault).unwrap()["on"].to_string());
            }
            prop_assert_eq!(by_sort(&expand(&fewer, seed)), expected);
            prop_assert_eq!(expand(&fewer, seed).workload, expand(&experiment, seed).workload);
        }

        #[test]
        fn a_swarm_changes_nothing_of_what_it_leaves(seed: u64, off in 0.0..1.0) {
            let whole = by_sort(&expand(&mixed(0.0), seed));
            for (sort, faults) in by_sort(&expand(&mixed(off), seed)) {
                prop_assert_eq!(&whole[&sort], &faults);
            }
        }

        #[test]
        fn everything_comes_within_the_duration_and_in_order(
            seed: u64,
            from_ms in 0..60_000_u64,
            length_ms in 1..30_000_u64,
            for_ms in 1..30_000_u64,
            count in 1..20_u32,
        ) {
            let to_ms = from_ms + length_ms;
            let experiment = written(&format!(
                "[[fault]]\nkind = 'disk_full'\nat = '{from_ms}ms..{to_ms}ms'\nfor = '{for_ms}ms'\ncount = {count}\n\
                 [[fault]]\nkind = 'crash'\nat = '{from_ms}ms'\n[[fault]]\nkind = 'provider_cut'\nfor = '{for_ms}ms'\n"
            ));
            let plan = expand(&experiment, seed);
            for (number, planned) in (0..).zip(&plan.faults) {
                let lasts_ms = match &planned.fault {
                    Fault::Provider { hits, .. } => hits.for_ms,
                    Fault::Disk { .. } => for_ms,
                    _ => 0,
                };
                prop_assert_eq!(planned.number, number);
                prop_assert!(planned.at_ms < plan.duration_ms && planned.at_ms + lasts_ms <= plan.duration_ms);
            }
            prop_assert!(plan.faults.is_sorted_by_key(|planned| planned.at_ms));
            prop_assert!(plan.workload.arrivals.is_sorted_by_key(|arrival| arrival.at_ms));
            prop_assert!(plan.workload.arrivals.iter().all(|arrival| arrival.at_ms < plan.duration_ms));
        }
    }
}
