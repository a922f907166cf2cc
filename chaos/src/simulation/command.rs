//! The commands of the simulator: campaigns, single plays, replays, shrinking. Invariant: each ends
//! with an error when something was wrong, or was not shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use policies::document;

use super::campaign::{Ask, Campaign, Told};
use super::sabotage::Sabotage;
use super::{Made, Played, play};
use crate::aims::{Invariant, Sometimes};
use crate::checkers::check_all;
use crate::experiment::{self, Experiment, Format, Mode};
use crate::plan::{Plan, expand};
use crate::report::{Heading, Outcome, Report, Verdict, junit, markdown, svg};
use crate::shrink::{RUNS_MAX, shrink};

/// The experiment without faults, which is played when none is named.
const CALM: &str = include_str!("calm.toml");

/// `sim`
#[derive(Args)]
pub(crate) struct SimArguments {
    /// The experiment's file, or a folder for all that are in it; without one, a few runs in which nothing goes wrong
    experiment: Option<PathBuf>,
    /// How many seeds (default: as the experiment says)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed (default: as the experiment says)
    #[arg(long)]
    first: Option<u64>,
    /// Processes at once
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// The folder of the reports (default: as the experiment says); of a folder's, each has one in it
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only a share of the campaign: what must happen at some time need not have happened in it
    #[arg(long)]
    share: bool,
}

/// `act`
#[derive(Args)]
pub(crate) struct ActArguments {
    /// The experiment's file; without one, the calm one
    experiment: Option<PathBuf>,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play this plan instead
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Write the trace to this file, line by line
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
    /// Write all that was seen to this file, as JSON
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// What the system is to lack
    #[arg(long, value_parser = sabotage)]
    sabotage: Option<Sabotage>,
}

/// `replay`
#[derive(Args)]
pub(crate) struct ReplayArguments {
    /// The experiment's file, or a plan's (`.json`)
    file: PathBuf,
    /// The experiment's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw the time line into this file, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// `shrink`
#[derive(Args)]
pub(crate) struct ShrinkArguments {
    /// The plan of a play that failed, as `sim` writes it beside its report
    plan: PathBuf,
    /// Where the smallest failing plan goes
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `regressions`
#[derive(Args)]
pub(crate) struct RegressionsArguments {
    /// The folder of the plans
    #[arg(default_value = "chaos/regressions")]
    folder: PathBuf,
    /// Processes at once
    #[arg(long, default_value_t = 2)]
    processes: usize,
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    let known = || Sabotage::ALL.map(Sabotage::name).join(", ");
    let found = Sabotage::ALL.into_iter().find(|sabotage| sabotage.name() == name);
    found.ok_or_else(|| format!("known are {}", known()))
}

fn read(file: Option<&Path>) -> anyhow::Result<Experiment> {
    match file {
        Some(file) => Ok(experiment::load(file)?),
        None => experiment::read("calm.toml", CALM).map_err(|mistakes| anyhow::anyhow!(document::lines(&mistakes))),
    }
}

fn read_plan(file: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a plan", file.display()))
}

/// The files of one kind in a folder, in the order of their names.
pub(super) fn files(folder: &Path, kind: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == kind));
    files.sort();
    Ok(files)
}

pub(super) fn campaign(processes: usize) -> anyhow::Result<Campaign> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    Ok(Campaign { program, processes })
}

/// Plays the seeds of an experiment, or of each in a folder, and reports.
///
/// # Errors
/// When a play failed, differed from itself, or what had to happen did not.
pub(crate) async fn sim(arguments: &SimArguments) -> anyhow::Result<()> {
    match arguments.experiment.as_deref() {
        Some(folder) if folder.is_dir() => sim_all(arguments, folder).await,
        file => sim_one(arguments, file, arguments.out.clone()).await,
    }
}

/// One that fails keeps none of the others from being played.
async fn sim_all(arguments: &SimArguments, folder: &Path) -> anyhow::Result<()> {
    let files = files(folder, "toml")?;
    // Each has a folder of its own, or the last one's report would be the only one.
    let reports = arguments.out.clone().unwrap_or_else(|| PathBuf::from("reports/campaign"));
    anyhow::ensure!(!files.is_empty(), "{} holds no experiment (.toml)", folder.display());
    let mut failed = Vec::new();
    for file in &files {
        let out = reports.join(file.file_stem().unwrap_or_default());
        if let Err(error) = sim_one(arguments, Some(file), Some(out)).await {
            failed.push(format!("{}: {error:#}", file.display()));
        }
    }
    println!("{} of {} experiments passed", files.len() - failed.len(), files.len());
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

async fn sim_one(arguments: &SimArguments, file: Option<&Path>, out: Option<PathBuf>) -> anyhow::Result<()> {
    let experiment = read(file)?;
    let name = &experiment.name;
    anyhow::ensure!(experiment.modes.contains(&Mode::Sim), "{name} is not for the simulator; add \"sim\" to its modes");
    let first = arguments.first.unwrap_or(experiment.seed);
    let seeds = arguments.seeds.unwrap_or(experiment.seeds);
    let out = out.unwrap_or_else(|| experiment.report.out.clone());
    let asks = (first..first + seeds).map(|seed| Ask::Seed { experiment: file.map(Path::to_owned), seed });
    let told = campaign(arguments.processes)?
        .run(asks.collect(), |_, told| {
            if told.verdict.is_failure() {
                println!("seed {}: {}", told.verdict.seed, worst(&told.verdict));
            }
        })
        .await?;
    let (events, cpu_us) = told.iter().fold((0, 0), |(e, c), told| (e + told.events, c + told.cpu_us));
    let heading = Heading {
        experiment: name.clone(),
        runner: Mode::Sim.name().to_owned(),
        file_system: None,
        commit: crate::report::commit().await,
        invariants: experiment.invariants.iter().copied().collect(),
        sometimes: experiment.sometimes.iter().copied().collect(),
        events_per_second: (cpu_us > 0).then(|| per_second(events, cpu_us)),
    };
    let traces: BTreeSet<_> = told.iter().filter_map(|told| told.verdict.trace.clone()).collect();
    let (lives, simulated) = told.iter().fold((0, 0), |(l, s), told| (l + u64::from(told.lives), s + told.elapsed_ms));
    let diverged = told.iter().filter(|told| told.verdict.diverged.is_some()).count() as u64;
    let report = Report::of(heading, told.into_iter().map(|told| told.verdict).collect());
    write(&experiment, &report, &out)?;
    println!(
        "{name}: {} of {seeds} seeds replayed the same trace; {} different traces, {lives} lives, {events} events, \
         {:.0} simulated seconds, {:.0} events a CPU-second",
        seeds - diverged,
        traces.len(),
        std::time::Duration::from_millis(simulated).as_secs_f64(),
        per_second(events, cpu_us),
    );
    for line in &report.sometimes {
        let shown = if line.seeds > 0 { format!("in {} seeds", line.seeds) } else { "NEVER".to_owned() };
        println!("  {:<28} {shown}", line.sometimes.name());
    }
    println!("{name}: {}; the report is in {}", report.outcome.name(), out.display());
    let inconclusive = report.outcome == Outcome::Inconclusive;
    anyhow::ensure!(report.passed() || (arguments.share && inconclusive), "{name} {}", report.outcome.name());
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(events: u64, cpu_us: u64) -> f64 {
    events as f64 / (cpu_us.max(1) as f64 / 1e6)
}

fn worst(verdict: &Verdict) -> String {
    if let Some(diverged) = &verdict.diverged {
        return format!("did not replay: {diverged}");
    }
    verdict.violations.first().map_or_else(
        || "failed".to_owned(),
        |violation| format!("{}: {}", violation.invariant.name(), violation.message),
    )
}

/// The report in its forms, and the plan of each seed that failed.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(experiment: &Experiment, report: &Report, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("the folder {} cannot be made", out.display()))?;
    let put = |file: String, text: &str| {
        let path = out.join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let name = &experiment.name;
    for format in &experiment.report.formats {
        match format {
            Format::Json => put(format!("{name}.json"), &report.json()?)?,
            Format::Md => put(format!("{name}.md"), &markdown(report))?,
            Format::Junit => put(format!("{name}.xml"), &junit(report))?,
        }
    }
    for verdict in report.verdicts.iter().filter(|verdict| verdict.is_failure()) {
        let plan = expand(experiment, verdict.seed);
        put(format!("{name}-{}.json", verdict.seed), &serde_json::to_string_pretty(&plan)?)?;
    }
    Ok(())
}

/// Makes one play in this process, and prints what it told.
///
/// # Errors
/// When the experiment or the plan cannot be read, or the play cannot be made.
pub(crate) fn act(arguments: &ActArguments) -> anyhow::Result<()> {
    let (plan, invariants, sometimes) = match &arguments.plan {
        Some(plan) => (read_plan(plan)?, Invariant::ALL.to_vec(), Sometimes::ALL.to_vec()),
        None => {
            let experiment = read(arguments.experiment.as_deref())?;
            let sometimes = experiment.sometimes.iter().copied().collect();
            (expand(&experiment, arguments.seed), experiment.invariants.iter().copied().collect(), sometimes)
        }
    };
    let played = play(&plan, Made { lines: arguments.lines.is_some(), sabotage: arguments.sabotage })?;
    if let Some(path) = &arguments.history {
        let text = serde_json::to_string(&played.history)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.lines {
        std::fs::write(path, lines(&played)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let verdict = Verdict { trace: Some(played.trace), ..Verdict::of(&played.history, &invariants, &sometimes) };
    let Played { events, elapsed_ms, lives, .. } = played;
    println!("{}", serde_json::to_string(&Told { verdict, events, cpu_us: cpu_us(), elapsed_ms, lives })?);
    Ok(())
}

/// The trace, and after it what was seen.
fn lines(played: &Played) -> anyhow::Result<String> {
    let mut text = played.lines.join("\n");
    for sighting in &played.history.seen {
        text.push('\n');
        text.push_str(&serde_json::to_string(sighting)?);
    }
    Ok(text)
}

/// What this process has taken of the processor so far; it has one thread.
fn cpu_us() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0) / 1_000
}

/// Plays one plan and prints all that was seen, and what is wrong with it.
///
/// # Errors
/// When something is wrong with it.
pub(crate) fn replay(arguments: &ReplayArguments) -> anyhow::Result<()> {
    let is_plan = arguments.file.extension().is_some_and(|kind| kind == "json");
    let (plan, invariants) = if is_plan {
        (read_plan(&arguments.file)?, Invariant::ALL.to_vec())
    } else {
        let experiment = read(Some(&arguments.file))?;
        (expand(&experiment, arguments.seed), experiment.invariants.iter().copied().collect())
    };
    let played = play(&plan, Made::default())?;
    for sighting in &played.history.seen {
        let seconds = std::time::Duration::from_micros(sighting.at_us).as_secs_f64();
        println!("{seconds:>10.3} s  {}", serde_json::to_string(&sighting.what)?);
    }
    let violations = check_all(&invariants, &played.history);
    if let Some(path) = &arguments.picture {
        let picture = svg(&played.history, &violations);
        std::fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for violation in &violations {
        println!("{}: {}", violation.invariant.name(), violation.message);
    }
    println!("trace {}", played.trace);
    anyhow::ensure!(violations.is_empty(), "{} violations", violations.len());
    Ok(())
}

/// Makes a failing plan small.
///
/// # Errors
/// When the plan does not fail.
pub(crate) async fn make_small(arguments: &ShrinkArguments) -> anyhow::Result<()> {
    let plan = read_plan(&arguments.plan)?;
    let campaign = campaign(1)?;
    let failing = |told: &Told| told.verdict.counts.keys().copied().collect::<BTreeSet<Invariant>>();
    let wanted = failing(&campaign.once(&Ask::Plan(arguments.plan.clone()), None).await?);
    anyhow::ensure!(!wanted.is_empty(), "{} does not fail", arguments.plan.display());
    let draft = std::env::temp_dir().join(format!("callboard-shrink-{}.json", std::process::id()));
    let handle = tokio::runtime::Handle::current();
    let shrunk = tokio::task::block_in_place(|| {
        shrink(&plan, RUNS_MAX, |candidate| {
            let text = serde_json::to_string(candidate).unwrap_or_default();
            if std::fs::write(&draft, text).is_err() {
                return false;
            }
            let told = handle.block_on(campaign.once(&Ask::Plan(draft.clone()), None));
            told.is_ok_and(|told| failing(&told).intersection(&wanted).next().is_some())
        })
    });
    // What is left behind is in the system's own folder for such things.
    let _ = std::fs::remove_file(&draft);
    anyhow::ensure!(shrunk.reproduced, "the plan did not fail when it was played again");
    let out = arguments.out.clone().unwrap_or_else(|| {
        let experiment = &shrunk.plan.experiment;
        PathBuf::from(format!("chaos/regressions/{experiment}-{}.json", shrunk.plan.seed))
    });
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(&shrunk.plan)?;
    std::fs::write(&out, text + "\n").with_context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{} faults and {} runs are left of {} and {}, after {} plays{}: {}",
        shrunk.plan.faults.len(),
        shrunk.plan.workload.arrivals.len(),
        plan.faults.len(),
        plan.workload.arrivals.len(),
        shrunk.runs,
        if shrunk.minimal { "" } else { ", and it may get smaller yet" },
        out.display()
    );
    Ok(())
}

/// Plays what has failed before, twice each.
///
/// # Errors
/// When one fails again.
pub(crate) async fn regressions(arguments: &RegressionsArguments) -> anyhow::Result<()> {
    let asks: Vec<Ask> = files(&arguments.folder, "json")?.into_iter().map(Ask::Plan).collect();
    let count = asks.len();
    let mut failed = 0;
    campaign(arguments.processes)?
        .run(asks, |ask, told| {
            if told.verdict.is_failure() {
                failed += 1;
                println!("{ask:?}: {}", worst(&told.verdict));
            }
        })
        .await?;
    println!("{} of {count} plans that failed once do not fail any more", count - failed);
    anyhow::ensure!(failed == 0, "{failed} plans fail again");
    Ok(())
}
