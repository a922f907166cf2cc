//! `callboard-chaos kill9`: the kill -9 runner from the command line. Invariant: it ends with an error
//! when a run that was acknowledged has no end, a post is there twice, or the program did something
//! that no fault explains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use policies::document;

use super::{Kill9Options, Medium, Played, Yard, plan, play};
use crate::aims::Invariant;
use crate::disk::command::Deaf;
use crate::experiment::{self, Experiment, Form, Mode};
use crate::fault::Point;
use crate::history::{History, Seen};
use crate::report::{Heading, Report, Verdict, junit, markdown, svg};

/// Between two words about how far it is.
const TOLD_EVERY: usize = 25;
/// The program that is killed, beside this one.
const CALLBOARD: &str = "callboard";

/// The longest quiet time, however generous an experiment is with simulated time.
const QUIET_MAX: Duration = Duration::from_secs(180);

/// What to kill, how often, and what surrounds it.
#[derive(Args, Debug)]
pub struct Kill9Arguments {
    /// The experiment's file: its workload, and the points at which it crashes
    experiment: PathBuf,
    /// How often the program is killed
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// How many runs are asked for over all lives (default: as many as there are kills)
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
/// What the program did wrong, or why the play could not be made.
pub async fn run(arguments: &Kill9Arguments) -> anyhow::Result<()> {
    let experiment = experiment::load(&arguments.experiment)?;
    let options = options(arguments, &experiment)?;
    let servers = std::env::current_exe().context("this program cannot find itself")?;
    let name = format!("reports/kill9-{}-{}", options.experiment, options.seed);
    let folder = arguments.out.clone().unwrap_or_else(|| PathBuf::from(name));
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("{} cannot be used", folder.display()))?;
    let mut yard = Yard::new(folder.join("yard"), callboard(arguments, &servers)?, servers);
    yard.deaf_to = arguments.deaf_to;
    let told = |kills: usize| {
        if kills.is_multiple_of(TOLD_EVERY) {
            eprintln!("{kills} of {} kills", options.cycles);
        }
    };
    let Played { history, medium } = play(plan(&options), &yard, &told).await?;
    let history = in_real_time(history);
    let verdict = Verdict::of(&history, &Invariant::ALL, &[]);
    let put = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
    };
    put("history.json", &serde_json::to_string(&history).context("the history cannot be written down")?)?;
    put("timeline.svg", &svg(&history, &verdict.violations))?;
    print!("{}", Summary::of(&history));
    println!("the data lay on {medium}");
    for violation in &verdict.violations {
        println!("{}: {}", violation.invariant.name(), violation.message);
    }
    let wrong = verdict.violations.len();
    let report = Report::of(heading(&options, &medium).await, vec![verdict]);
    put("report.json", &report.json()?)?;
    put("report.md", &markdown(&report))?;
    put("report.xml", &junit(&report))?;
    println!("the report is in {}", folder.display());
    if let Some(broken) = &history.broken {
        anyhow::bail!("{broken}; see {}", yard.folder.display());
    }
    anyhow::ensure!(wrong == 0, "{wrong} violations");
    Ok(())
}

/// A plan counts the time that the program was up, and a history the time of day: the quiet time
/// begins with the last kill.
fn in_real_time(mut history: History) -> History {
    let last = history.seen.iter().rev().find(|sighting| matches!(sighting.what, Seen::Crashed { .. }));
    history.plan.duration_ms = last.map_or(0, |sighting| sighting.at_us / 1000);
    history
}

async fn heading(options: &Kill9Options, medium: &Medium) -> Heading {
    Heading {
        experiment: options.experiment.clone(),
        runner: Mode::Kill9.name().to_owned(),
        file_system: Some(medium.to_string()),
        commit: crate::report::commit().await,
        invariants: Invariant::ALL.to_vec(),
        sometimes: Vec::new(),
        events_per_second: None,
    }
}

fn options(arguments: &Kill9Arguments, experiment: &Experiment) -> anyhow::Result<Kill9Options> {
    let Experiment { name, workload, .. } = experiment;
    let fits = experiment.modes.contains(&Mode::Kill9);
    anyhow::ensure!(fits, "{name} is not for kill9; add \"kill9\" to its modes");
    let crashes = experiment.faults.iter().filter_map(|fault| match fault.form {
        Form::Crash { point, loss, .. } => Some((point, loss)),
        Form::Whole(_) => None,
    });
    let (named, losses): (Vec<_>, Vec<_>) = crashes.unzip();
    let points = match &arguments.points[..] {
        [] => named.into_iter().flatten().collect(),
        given => given.to_vec(),
    };
    Ok(Kill9Options {
        experiment: name.clone(),
        seed: arguments.seed.unwrap_or(experiment.seed),
        cycles: arguments.cycles,
        runs: arguments.runs.unwrap_or(arguments.cycles),
        points,
        losses,
        approval: workload.approval,
        platform: workload.platform,
        budget: workload.budget,
        cost_max: workload.cost_max,
        quiet: Duration::from_millis(experiment.quiet_ms).min(QUIET_MAX),
    })
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
