//! `callboard-chaos kill9`: the kill -9 runner from the command line. Invariant: it ends with an error
//! when a run that was acknowledged has no end, a post is there twice, or the program did something
//! that no fault explains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use policies::document;

use super::replay::replay;
use super::terms::{self, Asked};
use super::{Aim, Medium, Played, Yard, plan, play};
use crate::disk::command::Deaf;
use crate::experiment::{self, Experiment, Mode};
use crate::fault::Point;
use crate::history::{History, Seen};
use crate::plan::Saved;
use crate::report::{Heading, Report, Verdict, junit, markdown, svg};

/// Between two words about how far it is.
const TOLD_EVERY: usize = 25;
/// The program that is killed, beside this one.
const CALLBOARD: &str = "callboard";
/// The file of the kill as a plan.
const REPLAY: &str = "replay.json";
/// What the reports call this runner.
const RUNNER: &str = "kill9, judged by what client, provider and platform saw";

/// What to kill, how often, and what surrounds it.
#[derive(Args, Debug)]
pub struct Kill9Arguments {
    /// The experiment's file: its workload, what provider and platform do, and the points at which it crashes
    experiment: PathBuf,
    /// How often the program is killed
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// How many runs are asked for over all lives (default: as the experiment says, and one for each kill at least)
    #[arg(long)]
    runs: Option<u32>,
    /// A point that half of the kills aim at, such as `post.after_send`; may be given more than once (default: those of
    /// the experiment)
    #[arg(long = "point", value_name = "POINT", value_parser = point)]
    points: Vec<Point>,
    /// What the kills follow from (default: as the experiment says)
    #[arg(long)]
    seed: Option<u64>,
    /// The program to kill (default: `callboard` beside this one)
    #[arg(long, value_name = "PATH")]
    callboard: Option<PathBuf>,
    /// Syncs that the disk beneath does not do: a mutant, to see that the checkers find out
    #[arg(long, value_name = "SYNCS", hide = true)]
    deaf_to: Option<Deaf>,
    /// A folder for the data, the ledgers and the reports (default: `reports/kill9-NAME-SEED`)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Plays, judges what was seen, and keeps the history.
///
/// # Errors
/// What the program did wrong, or what was not shown, or why the play could not be made.
pub async fn run(arguments: &Kill9Arguments) -> anyhow::Result<()> {
    let experiment = experiment::load(&arguments.experiment)?;
    let name = &experiment.name;
    anyhow::ensure!(experiment.modes.contains(&Mode::Kill9), "{name} is not for kill9; add \"kill9\" to its modes");
    let Kill9Arguments { seed, cycles, runs, .. } = *arguments;
    let aims = arguments.points.iter().copied().map(Aim::from).collect();
    let options = terms::options(&experiment, &Asked { seed, cycles, runs, aims });
    let servers = std::env::current_exe().context("this program cannot find itself")?;
    let out = PathBuf::from(format!("reports/kill9-{name}-{}", options.seed));
    let folder = arguments.out.clone().unwrap_or(out);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("{} cannot be used", folder.display()))?;
    let mut yard = Yard::new(folder.join("yard"), callboard(arguments, &servers)?, servers);
    yard.deaf_to = arguments.deaf_to;
    let plan = plan(&options);
    for line in terms::told(&experiment, &options, &plan) {
        println!("{name}: {line}");
    }
    let told = |kills: usize| {
        if kills.is_multiple_of(TOLD_EVERY) {
            eprintln!("{kills} of {} kills", options.cycles);
        }
    };
    let Played { history, medium } = play(plan, &yard, &told).await?;
    let history = in_real_time(history);
    let report = report(&experiment, &history, &medium, crate::report::commit().await);
    keep(&experiment, &history, &report, &folder)?;
    tell(&history, &medium, &report);
    println!("the report is in {}", folder.display());
    if let Some(broken) = &history.broken {
        anyhow::bail!("{broken}; see {}", yard.folder.display());
    }
    anyhow::ensure!(report.passed(), "{name} {}", report.outcome.name());
    Ok(())
}

/// A plan counts the time that the program was up, and a history the time of day: the quiet time
/// begins with the last kill.
fn in_real_time(mut history: History) -> History {
    let last = history.seen.iter().rev().find(|sighting| matches!(sighting.what, Seen::Crashed { .. }));
    history.plan.duration_ms = last.map_or(0, |sighting| sighting.at_us / 1000);
    history
}

/// The report: only what can be seen from outside is judged, and what is left out is named.
fn report(experiment: &Experiment, history: &History, medium: &Medium, commit: String) -> Report {
    let (invariants, sometimes) = terms::judged(experiment);
    let steady = terms::steady(experiment);
    let verdict = Verdict::of(history, &invariants, &sometimes).with_steady(&steady, history);
    let heading = Heading {
        experiment: experiment.name.clone(),
        runner: RUNNER.to_owned(),
        file_system: Some(medium.to_string()),
        commit,
        invariants,
        sometimes,
        events_per_second: None,
    };
    Report::of(heading, vec![verdict]).with_unjudged(terms::unjudged(experiment))
}

/// The history, from which everything can be judged again, the reports of it, and the kill as a plan.
fn keep(experiment: &Experiment, history: &History, report: &Report, folder: &Path) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
    };
    let violations: Vec<_> = report.verdicts.iter().flat_map(|verdict| verdict.violations.clone()).collect();
    put("history.json", &serde_json::to_string(history).context("the history cannot be written down")?)?;
    put("timeline.svg", &svg(history, &violations))?;
    put("report.json", &report.json()?)?;
    put("report.md", &markdown(report))?;
    put("report.xml", &junit(report))?;
    if let Some(plan) = replay(history, &violations, experiment.quiet_ms) {
        let mut failed = Vec::new();
        for violation in &violations {
            if !failed.contains(&violation.invariant) {
                failed.push(violation.invariant);
            }
        }
        let saved = Saved { commit: report.heading.commit.clone(), trace: None, failed, plan };
        put(REPLAY, &serde_json::to_string_pretty(&saved)?)?;
        println!("`callboard-chaos replay {}` plays the kill in simulation", folder.join(REPLAY).display());
    }
    Ok(())
}

fn tell(history: &History, medium: &Medium, report: &Report) {
    print!("{}", Summary::of(history));
    println!("the data lay on {medium}");
    for line in &report.faults {
        println!("  {:<28} {} planned, {} struck, {} hits", line.kind, line.planned, line.struck, line.times);
    }
    for line in &report.sometimes {
        println!("  {:<28} {}", line.sometimes.name(), if line.seeds > 0 { "happened" } else { "NEVER" });
    }
    for verdict in &report.verdicts {
        for probe in &verdict.unsteady {
            println!("unsteady: {probe}");
        }
        for violation in &verdict.violations {
            println!("{}: {}", violation.invariant.name(), violation.message);
        }
    }
}

fn point(name: &str) -> Result<Point, String> {
    let help = || document::suggestion(name, Point::ALL.iter().map(|point| point.name()));
    Point::named(name).ok_or_else(|| format!("there is no such point; {}", help()))
}

/// The program to kill: the one that is named, or the one beside this one.
fn callboard(arguments: &Kill9Arguments, this: &Path) -> anyhow::Result<PathBuf> {
    let path = arguments.callboard.clone().unwrap_or_else(|| this.with_file_name(CALLBOARD));
    path.canonicalize().with_context(|| {
        let path = path.display();
        format!(
            "there is no program {path}; build it with `cargo build --release -p gateway`, or name it with --callboard"
        )
    })
}

/// A history in a few numbers.
#[derive(Debug, Default)]
pub struct Summary {
    /// Kills by where they hit: a point's name, `ready` or `starting`.
    pub kills: BTreeMap<String, u32>,
    /// Runs that were acknowledged.
    pub acknowledged: usize,
    /// Acknowledged runs by their end.
    pub ends: BTreeMap<String, u32>,
    /// Runs without an end.
    pub unfinished: u64,
    /// Posts that are out.
    pub posts: usize,
    /// Keys that are out more than once.
    pub twice: Vec<String>,
    /// Posts that were held for a person.
    pub held: usize,
    /// Model calls that were billed.
    pub billed: usize,
}

impl Summary {
    /// Counts what was seen.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut summary = Self::default();
        let (mut acknowledged, mut ends) = (BTreeMap::new(), BTreeMap::new());
        let (mut posts, mut held) = (BTreeMap::<&str, u32>::new(), std::collections::BTreeSet::new());
        let mut is_ready = false;
        for sighting in &history.seen {
            match &sighting.what {
                Seen::Ready { .. } => is_ready = true,
                Seen::Crashed { point, .. } => {
                    let place = point.map_or(if is_ready { "ready" } else { "starting" }, Point::name);
                    *summary.kills.entry(place.to_owned()).or_default() += 1;
                    is_ready = false;
                }
                Seen::Acknowledged { key, run } => drop(acknowledged.insert(run.as_str(), key)),
                Seen::Reported { run, status, .. } => drop(ends.insert(run.as_str(), status.as_str())),
                Seen::Posted { key, .. } => *posts.entry(key).or_default() += 1,
                Seen::Held { key, .. } => drop(held.insert(key)),
                Seen::Billed { .. } => summary.billed += 1,
                Seen::Over { unfinished, .. } => summary.unfinished = *unfinished,
                _ => {}
            }
        }
        summary.acknowledged = acknowledged.len();
        let endless = acknowledged.keys().filter(|run| !ends.contains_key(*run)).count() as u64;
        summary.unfinished = summary.unfinished.max(endless);
        for status in ends.into_values() {
            *summary.ends.entry(status.to_owned()).or_default() += 1;
        }
        summary.posts = posts.values().sum::<u32>() as usize;
        summary.twice = posts.into_iter().filter(|(_, times)| *times > 1).map(|(key, _)| key.to_owned()).collect();
        summary.held = held.len();
        summary
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counted = |counts: &BTreeMap<String, u32>| {
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let Self { acknowledged, posts, held, billed, unfinished, .. } = self;
        writeln!(f, "{} kills: {}", self.kills.values().sum::<u32>(), counted(&self.kills))?;
        writeln!(f, "{acknowledged} runs acknowledged: {}; {unfinished} without an end", counted(&self.ends))?;
        writeln!(f, "{posts} posts out, {} keys twice, {held} held for a person", self.twice.len())?;
        writeln!(f, "{billed} model calls billed")
    }
}
