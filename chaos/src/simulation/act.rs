//! Plays in this process: for a campaign, which reads what they tell, and for a person, who reads what was
//! seen. Invariant: what a play tells is one line, and nothing else is printed there.

use std::path::{Path, PathBuf};

use actors::world::{ON_PURPOSE, message_of};
use anyhow::Context;
use clap::Args;

use super::campaign::Told;
use super::command::{put, read};
use super::sabotage::Sabotage;
use super::{Made, Played, play};
use crate::aims::{Invariant, Sometimes};
use crate::checkers::{check_all, memory, unsteady};
use crate::experiment::Steady;
use crate::plan::{self, Plan, Saved, expand};
use crate::report::{Verdict, svg};

/// `act`
#[derive(Args)]
pub(crate) struct ActArguments {
    /// The experiment's file; without one, the calm one
    experiment: Option<PathBuf>,
    /// The seed; several are played one after the other
    #[arg(long, default_value = "1")]
    seed: Vec<u64>,
    /// Play this plan instead, or these
    #[arg(long, value_name = "FILE")]
    plan: Vec<PathBuf>,
    /// Write the trace to this file, line by line
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
    /// Write all that was seen to this file, as JSON
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Draw the time line into this file, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
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

fn sabotage(name: &str) -> Result<Sabotage, String> {
    named(Sabotage::ALL, Sabotage::name, name)
}

/// The one of this name, or which there are.
pub(super) fn named<T: Copy, const N: usize>(
    all: [T; N],
    name_of: impl Fn(T) -> &'static str,
    name: &str,
) -> Result<T, String> {
    let found = all.into_iter().find(|one| name_of(*one) == name);
    found.ok_or_else(|| format!("known are {}", all.map(name_of).join(", ")))
}

/// The plan in a file, as a campaign leaves it or alone.
pub(super) fn read_plan(file: &Path) -> anyhow::Result<Saved> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    plan::read(&text).with_context(|| format!("{} is not a plan", file.display()))
}

/// Makes plays in this process, and prints what each told, in a line.
///
/// # Errors
/// When the experiment or a plan cannot be read, or a play cannot be made.
pub(crate) fn act(arguments: &ActArguments) -> anyhow::Result<()> {
    let mut taken_us = 0;
    let mut tell = |plan: &Plan, invariants: &[Invariant], sometimes: &[Sometimes], steady: &[Steady]| {
        let played = play(plan, Made { lines: arguments.lines.is_some(), sabotage: arguments.sabotage })?;
        let mut verdict = Verdict::of(&played.history, invariants, sometimes).with_steady(steady, &played.history);
        if invariants.contains(&Invariant::Bounded) {
            memory(played.elapsed_ms * 1_000, peak_kib()).into_iter().for_each(|violation| verdict.add(violation));
        }
        keep(arguments, &played, &verdict)?;
        let Played { events, elapsed_ms, lives, trace, .. } = played;
        let verdict = Verdict { trace: Some(trace), ..verdict };
        let before_us = std::mem::replace(&mut taken_us, cpu_us());
        let cpu_us = taken_us - before_us;
        println!("{}", serde_json::to_string(&Told { verdict, events, cpu_us, elapsed_ms, lives })?);
        anyhow::Ok(())
    };
    for plan in &arguments.plan {
        tell(&read_plan(plan)?.plan, &Invariant::ALL, &Sometimes::ALL, &[])?;
    }
    if arguments.plan.is_empty() {
        let experiment = read(arguments.experiment.as_deref())?;
        let invariants: Vec<_> = experiment.invariants.iter().copied().collect();
        let sometimes: Vec<_> = experiment.sometimes.iter().copied().collect();
        for seed in &arguments.seed {
            tell(&expand(&experiment, *seed), &invariants, &sometimes, &experiment.steady)?;
        }
    }
    Ok(())
}

/// Writes down what was asked for of a play; of several plays, that of the last is left.
fn keep(arguments: &ActArguments, played: &Played, verdict: &Verdict) -> anyhow::Result<()> {
    if let Some(path) = &arguments.history {
        put(path, &serde_json::to_string(&played.history)?)?;
    }
    if let Some(path) = &arguments.lines {
        put(path, &lines(played)?)?;
    }
    if let Some(path) = &arguments.picture {
        put(path, &svg(&played.history, &verdict.violations))?;
    }
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

/// The most memory that this process has had resident so far, in KiB; 0 where the system does not tell.
fn peak_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Plays one plan and prints all that was seen, and what is wrong with it.
///
/// # Errors
/// When something is wrong with it.
pub(crate) fn replay(arguments: &ReplayArguments) -> anyhow::Result<()> {
    let is_plan = arguments.file.extension().is_some_and(|kind| kind == "json");
    let (plan, invariants, steady) = if is_plan {
        (read_plan(&arguments.file)?.plan, Invariant::ALL.to_vec(), Vec::new())
    } else {
        let experiment = read(Some(&arguments.file))?;
        let invariants = experiment.invariants.iter().copied().collect();
        (expand(&experiment, arguments.seed), invariants, experiment.steady)
    };
    say_nothing_of_planned_panics();
    let played = play(&plan, Made::default())?;
    for sighting in &played.history.seen {
        let seconds = std::time::Duration::from_micros(sighting.at_us).as_secs_f64();
        println!("{seconds:>10.3} s  {}", serde_json::to_string(&sighting.what)?);
    }
    let violations = check_all(&invariants, &played.history);
    if let Some(path) = &arguments.picture {
        put(path, &svg(&played.history, &violations))?;
    }
    for violation in &violations {
        println!("{}: {}", violation.invariant.name(), violation.message);
    }
    let unsteady = unsteady(&steady, &played.history);
    for probe in &unsteady {
        println!("unsteady: {probe}");
    }
    println!("trace {}", played.trace);
    anyhow::ensure!(violations.is_empty(), "{} violations", violations.len());
    anyhow::ensure!(unsteady.is_empty(), "{} probes did not hold", unsteady.len());
    Ok(())
}

/// A panic that the plan has asked for is among what was seen, and need not be told as the program's.
fn say_nothing_of_planned_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !message_of(panic.payload()).ends_with(ON_PURPOSE) {
            tell(panic);
        }
    }));
}
