//! An experiment on the terms of the kill loop. Invariant: what of an experiment is done otherwise here, or
//! is not judged here, is told before the play begins.

use std::collections::BTreeSet;
use std::time::Duration;

use policies::span::Span;

use super::{Aim, INVARIANTS, Kill9Options, SOMETIMES};
use crate::aims::{Invariant, Sometimes};
use crate::experiment::{Experiment, FaultSpec, Form, Moment, Probe, Steady};
use crate::plan::{Plan, expand};

/// The longest quiet time, however generous an experiment is with simulated time.
const QUIET_MAX: Duration = Duration::from_secs(180);

/// What the command line says instead of the experiment, or beside it.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) seed: Option<u64>,
    pub(super) cycles: u32,
    pub(super) runs: Option<u32>,
    pub(super) aims: Vec<Aim>,
}

/// The experiment as a kill loop has it.
pub(super) fn options(experiment: &Experiment, asked: &Asked) -> Kill9Options {
    let workload = &experiment.workload;
    let seed = asked.seed.unwrap_or(experiment.seed);
    // A swarm is for campaigns of many seeds; this is one play, and it is to have all of its faults.
    let whole = Experiment { each_fault_off: 0.0, ..experiment.clone() };
    let aims = if asked.aims.is_empty() { aims(&experiment.faults) } else { asked.aims.clone() };
    let losses = experiment.faults.iter().filter_map(|spec| match spec.form {
        Form::Crash { loss, .. } => Some(loss),
        Form::Whole(_) => None,
    });
    Kill9Options {
        experiment: experiment.name.clone(),
        seed,
        cycles: asked.cycles,
        runs: asked.runs.unwrap_or(workload.runs.max(asked.cycles)),
        aims,
        faults: expand(&whole, seed).faults,
        duration: Duration::from_millis(experiment.duration_ms),
        losses: losses.collect(),
        approval: workload.approval,
        platform: workload.platform,
        budget: workload.budget,
        cost_max: workload.cost_max,
        quiet: Duration::from_millis(experiment.quiet_ms).min(QUIET_MAX),
    }
}

/// The points of the experiment's crashes, each as often as it is to come.
fn aims(faults: &[FaultSpec]) -> Vec<Aim> {
    let of = |spec: &FaultSpec| match spec.form {
        Form::Crash { point: Some(point), nth, .. } => vec![Aim { point, nth }; spec.times as usize],
        _ => Vec::new(),
    };
    faults.iter().flat_map(of).collect()
}

/// What is checked here, and what has to happen here.
pub(super) fn judged(experiment: &Experiment) -> (Vec<Invariant>, Vec<Sometimes>) {
    let invariants = experiment.invariants.iter().copied().filter(|one| INVARIANTS.contains(one));
    let sometimes = experiment.sometimes.iter().copied().filter(|one| SOMETIMES.contains(one));
    (invariants.collect(), sometimes.collect())
}

/// The steady state that is judged here: what must hold when the last kill is over. Before the first kill and
/// between two of them there is hardly time to measure anything.
pub(super) fn steady(experiment: &Experiment) -> Vec<Steady> {
    let at_end = |steady: &&Steady| matches!(steady.mode, Moment::End | Moment::Edge);
    let seen = |steady: &&Steady| steady.probe != Probe::RestartsPerMin;
    experiment.steady.iter().filter(seen).filter(at_end).map(|steady| Steady { mode: Moment::End, ..*steady }).collect()
}

/// What the experiment names and nobody here can see.
pub(super) fn unjudged(experiment: &Experiment) -> Vec<String> {
    let invariants = experiment.invariants.iter().filter(|one| !INVARIANTS.contains(one)).map(|one| one.name());
    let sometimes = experiment.sometimes.iter().filter(|one| !SOMETIMES.contains(one)).map(|one| one.name());
    let steady = experiment.steady.iter().filter_map(|steady| match (steady.probe, steady.mode) {
        (Probe::RestartsPerMin, _) => Some(steady.probe.name().to_owned()),
        (_, Moment::End) => None,
        _ => Some(format!("{} before and during the kills", steady.probe.name())),
    });
    invariants.chain(sometimes).map(str::to_owned).chain(steady).collect()
}

/// What is told before the play: how it is killed, and what of the experiment is otherwise here.
pub(super) fn told(experiment: &Experiment, options: &Kill9Options, plan: &Plan) -> Vec<String> {
    let (length, kills) = (Span::from_millis(plan.duration_ms), options.cycles);
    let points: BTreeSet<&str> = options.aims.iter().map(|aim| aim.point.name()).collect();
    let points = match points.len() {
        0 => "every point".to_owned(),
        _ => points.into_iter().collect::<Vec<_>>().join(", "),
    };
    let mut lines = vec![format!(
        "{kills} kills in {length} of the program's life, half of them at random times, half at {points}"
    )];
    if experiment.faults.iter().any(|spec| matches!(spec.form, Form::Crash { .. })) {
        lines.push("crashes keep to their `point`, `nth`, `count` and `disk`, not to their `at`".to_owned());
    }
    if plan.faults.len() > kills as usize {
        let whole = Span(options.duration);
        lines.push(format!(
            "{whole} of the experiment are {length} here, and faults and their lengths are as much shorter"
        ));
    }
    let workload = &experiment.workload;
    let (runs, written, arrival) = (options.runs, workload.runs, workload.arrival);
    lines.push(format!("{runs} runs, spread evenly over the kills, instead of {written} at {arrival}"));
    if options.quiet < Duration::from_millis(experiment.quiet_ms) {
        let (here, written) = (Span(options.quiet), Span::from_millis(experiment.quiet_ms));
        lines.push(format!("the quiet time is {here} at most, instead of {written}"));
    }
    if experiment.each_fault_off > 0.0 {
        lines.push("this is one play, and [swarm] leaves nothing out of it".to_owned());
    }
    if experiment.abort.is_some() {
        lines.push("[abort] is for `live` alone".to_owned());
    }
    let unjudged = unjudged(experiment);
    if !unjudged.is_empty() {
        lines.push(format!("not judged, since it cannot be seen from outside: {}", unjudged.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Mode, load};
    use crate::fault::{Fault, Point};
    use crate::kill9::plan;

    fn shipped(name: &str) -> Experiment {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
        let experiment = load(&std::path::Path::new(folder).join(format!("{name}.toml"))).unwrap();
        assert!(experiment.modes.contains(&Mode::Kill9), "{name}");
        experiment
    }

    fn asked(cycles: u32) -> Asked {
        Asked { cycles, ..Asked::default() }
    }

    /// The kinds of fault of the plan, beside kills.
    fn kinds(experiment: &Experiment) -> BTreeSet<&'static str> {
        let plan = plan(&options(experiment, &asked(20)));
        plan.faults.iter().map(|planned| crate::report::kind(&planned.fault)).filter(|kind| *kind != "crash").collect()
    }

    #[test]
    fn what_provider_and_platform_are_to_do_is_in_the_plan() {
        let storm = ["provider.cut", "provider.garbage", "provider.reset", "provider.status"];
        assert_eq!(kinds(&shipped("provider-storm")), storm.into());
        let flap = ["platform.reset", "platform.status", "provider.reset", "provider.status"];
        assert_eq!(kinds(&shipped("breaker-flap")), flap.into());
        assert_eq!(kinds(&shipped("crash-in-recovery")), BTreeSet::new());
        let count = |name| options(&shipped(name), &asked(20)).faults.len();
        assert_eq!((count("provider-storm"), count("breaker-flap")), (6, 5), "the swarm leaves nothing out");
    }

    #[test]
    fn kills_keep_to_the_points_passings_and_counts_of_the_experiment() {
        let options = options(&shipped("crash-in-recovery"), &asked(300));
        let of = |point| options.aims.iter().filter(move |aim| aim.point == point);
        assert_eq!(of(Point::SyncAfter).count(), 3, "as often as its `count`");
        assert_eq!(of(Point::SyncAfter).next().unwrap().nth, (1, 20));
        let hits = plan(&options).faults.into_iter().filter_map(|planned| match planned.fault {
            Fault::Crash { point: Some(Point::PostAfterSend), nth, .. } => Some(nth),
            _ => None,
        });
        assert_eq!(hits.collect::<BTreeSet<_>>(), (1..=6).collect());
    }

    #[test]
    fn there_are_as_many_runs_as_written_and_one_for_each_kill() {
        let experiment = shipped("crash-mid-post");
        let runs = |cycles| options(&experiment, &asked(cycles)).runs;
        assert_eq!((runs(3), runs(50)), (8, 50));
        assert_eq!(options(&experiment, &Asked { runs: Some(2), ..asked(50) }).runs, 2);
    }

    #[test]
    fn only_what_is_seen_from_outside_is_judged_and_the_rest_is_named() {
        let experiment = shipped("provider-storm");
        let (invariants, sometimes) = judged(&experiment);
        assert_eq!(invariants, INVARIANTS);
        assert_eq!(sometimes, [Sometimes::Retried, Sometimes::ProviderFailed]);
        let names =
            ["restarts_bounded", "breaker_legal", "bounded", "breaker_opened", "ready before and during the kills"];
        assert_eq!(unjudged(&experiment), names);
        assert_eq!(steady(&experiment).iter().map(|steady| steady.mode).collect::<Vec<_>>(), [Moment::End]);
        let options = options(&experiment, &asked(20));
        let told = told(&experiment, &options, &plan(&options)).join("\n");
        for word in
            ["every point", "2m of the experiment are", "instead of 10 at 1/8s", "[swarm]", "[abort]", "3m at most"]
        {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(told.contains(&names.join(", ")), "{told}");
    }
}
