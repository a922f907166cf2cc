//! `callboard-chaos live`: an experiment on a running server, from the command line. Invariant: it ends
//! with an error when something was violated, a probe did not hold, something that had to happen did
//! not, or the play aborted by itself; the report is written all the same.

use std::path::{Path, PathBuf};

use agents::secret::Secret;
use anyhow::Context;
use clap::Args;

use super::{INVARIANTS, LiveOptions, Played, SOMETIMES, play};
use crate::experiment::{self, Experiment, Mode};
use crate::report::{Heading, Report, Verdict, commit, svg};
use crate::simulation::command::write;

/// Where the reports go within the experiment's folder: not over those of the simulator.
const FOLDER: &str = "live";
/// What the reports call this runner, and by what it judges.
const RUNNER: &str = "live, judged by what the client saw";

/// Which experiment, and on which server.
#[derive(Args, Debug)]
pub struct LiveArguments {
    /// The experiment's file; its modes name `live`
    experiment: PathBuf,
    /// The running server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The environment variable that holds the token of the server's `[chaos]`
    #[arg(long, value_name = "NAME", default_value = "CALLBOARD_CHAOS_TOKEN")]
    token_env: String,
    /// What the plan follows from (default: as the experiment says)
    #[arg(long)]
    seed: Option<u64>,
    /// The publisher by which the runs post: their posts really go out
    #[arg(long, default_value = "feed")]
    publisher: String,
    /// The folder of the reports (default: `live` in the folder that the experiment says)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Plays, prints what it came to, and writes the report.
///
/// # Errors
/// Whatever was wrong, or was not shown, or why it could not be played.
pub(crate) async fn run(arguments: &LiveArguments) -> anyhow::Result<()> {
    let mut experiment = experiment::load(&arguments.experiment)?;
    // A swarm is for campaigns of many seeds; this is one play, and it is to have all of its faults.
    experiment.each_fault_off = 0.0;
    let name = &experiment.name;
    anyhow::ensure!(
        experiment.modes.contains(&Mode::Live),
        "{name} is not for a live server; add \"live\" to its modes"
    );
    let token = std::env::var(&arguments.token_env).ok().filter(|token| !token.trim().is_empty());
    let token = token.with_context(|| {
        let variable = &arguments.token_env;
        format!(
            "{variable} is not set; export the token of the server's [chaos] in it, or name another with --token-env"
        )
    })?;
    let options = LiveOptions {
        url: arguments.url.trim_end_matches('/').to_owned(),
        token: Secret::new(token.trim()),
        publisher: arguments.publisher.clone(),
        seed: arguments.seed.unwrap_or(experiment.seed),
    };
    let played = play(&experiment, &options).await?;
    let report = report(&experiment, &played, commit().await);
    let out = arguments.out.clone().unwrap_or_else(|| experiment.report.out.join(FOLDER));
    write(&experiment, &report, &out)?;
    keep(&played, &report, &out)?;
    tell(&report);
    println!("{name}: {}; the report is in {}", report.outcome.name(), out.display());
    if let Some(why) = &played.aborted {
        anyhow::bail!("{why}; all faults are stopped");
    }
    anyhow::ensure!(report.passed(), "{name} {}", report.outcome.name());
    Ok(())
}

/// The report: only what a client can judge is judged.
fn report(experiment: &Experiment, played: &Played, commit: String) -> Report {
    let invariants: Vec<_> = experiment.invariants.iter().copied().filter(|one| INVARIANTS.contains(one)).collect();
    let sometimes: Vec<_> = experiment.sometimes.iter().copied().filter(|one| SOMETIMES.contains(one)).collect();
    let verdict = Verdict::of(&played.history, &invariants, &sometimes);
    let heading = Heading {
        experiment: experiment.name.clone(),
        runner: RUNNER.to_owned(),
        file_system: None,
        commit,
        invariants,
        sometimes,
        events_per_second: None,
    };
    Report::of(heading, vec![verdict]).with_steady(played.steady.clone()).with_unjudged(unjudged(experiment))
}

/// What the experiment names and no client sees.
fn unjudged(experiment: &Experiment) -> Vec<String> {
    let invariants = experiment.invariants.iter().filter(|one| !INVARIANTS.contains(one)).map(|one| one.name());
    let sometimes = experiment.sometimes.iter().filter(|one| !SOMETIMES.contains(one)).map(|one| one.name());
    invariants.chain(sometimes).map(str::to_owned).collect()
}

/// The history, from which everything can be judged again, and the time line of a play that did not pass.
fn keep(played: &Played, report: &Report, out: &Path) -> anyhow::Result<()> {
    let put = |kind: &str, text: &str| {
        let (name, seed) = (&report.heading.experiment, played.history.plan.seed);
        let file = out.join(format!("{name}-{seed}-{kind}"));
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
    };
    put("history.json", &serde_json::to_string(&played.history).context("the history cannot be written down")?)?;
    if !report.passed() {
        let violations: Vec<_> = report.verdicts.iter().flat_map(|verdict| verdict.violations.clone()).collect();
        put("timeline.svg", &svg(&played.history, &violations))?;
    }
    Ok(())
}

fn tell(report: &Report) {
    let figure = |value: Option<f64>| value.map_or_else(|| "no data".to_owned(), |value| format!("{value:.2}"));
    println!("{:<24} {:>10} {:>10} {:>10}", "", "before", "during", "after");
    for line in &report.steady {
        let (before, during, after) = (figure(line.before), figure(line.during), figure(line.after));
        let wanted = line.wanted.as_ref().map_or_else(String::new, |wanted| {
            let word = if line.holds { "holds" } else { "DOES NOT HOLD" };
            format!("  {word}: {wanted}")
        });
        println!("{:<24} {before:>10} {during:>10} {after:>10}{wanted}", line.probe.name());
    }
    for line in &report.faults {
        println!("  {:<28} {} planned, {} struck, {} hits", line.kind, line.planned, line.struck, line.times);
    }
    for line in &report.sometimes {
        println!("  {:<28} {}", line.sometimes.name(), if line.seeds > 0 { "happened" } else { "NEVER" });
    }
    if !report.unjudged.is_empty() {
        println!("not judged, since a client does not see it: {}", report.unjudged.join(", "));
    }
    for violation in report.verdicts.iter().flat_map(|verdict| &verdict.violations) {
        println!("{violation}");
    }
}

#[cfg(test)]
mod tests {
    use policies::money::Money;

    use super::*;
    use crate::aims::{Invariant, Sometimes};
    use crate::experiment::Probe;
    use crate::history::{History, Seen, Sighting};
    use crate::plan::expand;
    use crate::report::{Outcome, SteadyLine, junit, markdown};

    fn played(holds: bool, is_open: bool) -> (Experiment, Played) {
        let text = include_str!("../../experiments/provider-storm.toml");
        let experiment = experiment::read("provider-storm.toml", text).unwrap();
        let what = Seen::BreakerMoved { guard: "model/x".to_owned(), to: "open".to_owned() };
        let seen = if is_open { vec![Sighting { at_us: 1, what }] } else { Vec::new() };
        let history = History { plan: expand(&experiment, 1), budget: Money::MAX, seen, broken: None };
        let line = SteadyLine {
            probe: Probe::Ready,
            wanted: Some("at least 1, before and after".to_owned()),
            before: Some(1.0),
            during: Some(0.0),
            after: None,
            holds,
        };
        (experiment, Played { history, steady: vec![line], aborted: None })
    }

    #[test]
    fn only_what_a_client_can_judge_is_judged() {
        let (experiment, played) = played(true, true);
        let report = report(&experiment, &played, "abc".to_owned());
        assert_eq!(report.outcome, Outcome::Passed);
        assert_eq!(report.heading.runner, RUNNER);
        assert_eq!(report.heading.sometimes, [Sometimes::BreakerOpened]);
        assert_eq!(report.heading.invariants.len(), INVARIANTS.len());
        assert!(report.heading.invariants.contains(&Invariant::NoLostRun));
        assert!(report.unjudged.iter().any(|name| name == "breaker_legal"), "{:?}", report.unjudged);
    }

    #[test]
    fn the_time_line_of_a_play_that_did_not_pass_is_drawn() {
        for (holds, is_open) in [(true, true), (false, true), (true, false)] {
            let folder = tempfile::tempdir().unwrap();
            let (experiment, played) = played(holds, is_open);
            let report = report(&experiment, &played, "abc".to_owned());
            keep(&played, &report, folder.path()).unwrap();
            assert!(folder.path().join("provider-storm-1-history.json").exists());
            let picture = std::fs::read_to_string(folder.path().join("provider-storm-1-timeline.svg"));
            assert_eq!(picture.is_ok_and(|picture| picture.contains("<svg")), !(holds && is_open));
        }
    }

    #[test]
    fn a_probe_that_does_not_hold_fails_the_report_in_every_form() {
        for holds in [true, false] {
            let (experiment, played) = played(holds, true);
            let report = report(&experiment, &played, "abc".to_owned());
            assert_eq!(report.passed(), holds);
            let text = markdown(&report);
            assert!(text.contains("| `ready` | at least 1, before and after | 1.00 | 0.00 | no data |"), "{text}");
            assert_eq!(junit(&report).contains("failures=\"0\""), holds);
        }
        let (experiment, played) = played(true, false);
        assert_eq!(report(&experiment, &played, "abc".to_owned()).outcome, Outcome::Inconclusive);
    }
}
