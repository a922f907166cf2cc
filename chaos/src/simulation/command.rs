//! The campaigns of the simulator. Invariant: each ends with an error when something was wrong, or was not
//! shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use policies::document;

use super::campaign::{Ask, Campaign};
use crate::aims::Invariant;
use crate::experiment::{self, Experiment, Format, Mode};
use crate::plan::{Saved, expand};
use crate::report::{Heading, Outcome, Report, Verdict, junit, markdown};

/// The experiment without faults, which is played when none is named.
const CALM: &str = include_str!("calm.toml");
/// Failing seeds whose time lines are drawn.
const PICTURES_MAX: usize = 20;

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
    /// Processes at once (default: one for each processor)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    processes: Option<u16>,
    /// The folder of the reports (default: as the experiment says); of a folder's, each has one in it
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only a share of the campaign: what must happen at some time need not have happened in it
    #[arg(long)]
    share: bool,
}

/// `regressions`
#[derive(Args)]
pub(crate) struct RegressionsArguments {
    /// The folder of the plans
    #[arg(default_value = "chaos/regressions")]
    folder: PathBuf,
    /// Processes at once (default: one for each processor)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    processes: Option<u16>,
}

/// The experiment in a file, or the calm one.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Experiment> {
    match file {
        Some(file) => Ok(experiment::load(file)?),
        None => experiment::read("calm.toml", CALM).map_err(|mistakes| anyhow::anyhow!(document::lines(&mistakes))),
    }
}

/// The files of one kind in a folder, in the order of their names.
pub(super) fn files(folder: &Path, kind: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == kind));
    files.sort();
    Ok(files)
}

/// So many processes at once, or one for each processor.
pub(super) fn campaign(processes: Option<u16>) -> anyhow::Result<Campaign> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Campaign { program, processes: processes.map_or_else(all, usize::from) })
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
    let campaign = campaign(arguments.processes)?;
    let told = campaign
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
    let diverged = told.iter().filter(|told| told.verdict.apart().is_some()).count() as u64;
    let report = Report::of(heading, told.into_iter().map(|told| told.verdict).collect());
    write(&experiment, &report, &out)?;
    draw(&campaign, file, &report, &out).await;
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
    if let Some(unplayed) = &verdict.unplayed {
        return format!("it could not be played: {unplayed}");
    }
    if let Some(diverged) = &verdict.diverged {
        return format!("did not replay: {diverged}");
    }
    verdict.violations.first().map_or_else(
        || verdict.unsteady.first().cloned().unwrap_or_else(|| "failed".to_owned()),
        |violation| format!("{}: {}", violation.invariant.name(), violation.message),
    )
}

/// The report in its forms, each seed's plan with the hash of its trace, and those of seeds that failed in files
/// of their own, for `shrink` and `replay`.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(experiment: &Experiment, report: &Report, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("the folder {} cannot be made", out.display()))?;
    let name = &experiment.name;
    for format in &experiment.report.formats {
        match format {
            Format::Json => put(&out.join(format!("{name}.json")), &report.json()?)?,
            Format::Md => put(&out.join(format!("{name}.md")), &markdown(report))?,
            Format::Junit => put(&out.join(format!("{name}.xml")), &junit(report))?,
        }
    }
    let mut plans = String::new();
    for verdict in &report.verdicts {
        let mut failed: Vec<Invariant> = Vec::new();
        for violation in &verdict.violations {
            if !failed.contains(&violation.invariant) {
                failed.push(violation.invariant);
            }
        }
        let plan = expand(experiment, verdict.seed);
        let saved = Saved { commit: report.heading.commit.clone(), trace: verdict.trace.clone(), failed, plan };
        plans += &(serde_json::to_string(&saved)? + "\n");
        if verdict.is_failure() {
            put(&out.join(format!("{name}-{}.json", verdict.seed)), &serde_json::to_string_pretty(&saved)?)?;
        }
    }
    put(&out.join(format!("{name}-plans.jsonl")), &plans)
}

/// Writes a file.
pub(super) fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Draws the time lines of the first seeds that failed; no more is lost with one that cannot be drawn.
async fn draw(campaign: &Campaign, file: Option<&Path>, report: &Report, out: &Path) {
    let failed = report.verdicts.iter().filter(|verdict| verdict.is_failure());
    for verdict in failed.take(PICTURES_MAX) {
        let ask = Ask::Seed { experiment: file.map(Path::to_owned), seed: verdict.seed };
        let picture = out.join(format!("{}-{}.svg", report.heading.experiment, verdict.seed)).display().to_string();
        if let Err(error) = campaign.with(&ask, &["--picture", &picture]).await {
            println!("seed {} is not drawn: {error}", verdict.seed);
        }
    }
}

/// Plays what has failed before, twice each.
///
/// # Errors
/// When one fails again.
pub(crate) async fn regressions(arguments: &RegressionsArguments) -> anyhow::Result<()> {
    let asks: Vec<Ask> = files(&arguments.folder, "json")?.into_iter().map(Ask::Plan).collect();
    let count = asks.len();
    anyhow::ensure!(count > 0, "{} holds no plan (.json), so nothing was played", arguments.folder.display());
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
