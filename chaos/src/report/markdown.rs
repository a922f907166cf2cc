//! A report as Markdown, for people. Invariant: what did not go well comes before the figures.

use std::fmt::Write;

use super::{Outages, Outcome, Report, SteadyLine, Verdict};

/// Failing seeds that are told with their violations.
const SEEDS_TOLD_MAX: usize = 20;
/// Violations told of one seed.
const TOLD_MAX: usize = 5;
/// Failing seeds that are named behind a checker.
const SEEDS_NAMED_MAX: usize = 8;

/// The report, in the order in which it is of interest.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# {}: {}\n", cell(&report.heading.experiment), report.outcome.name());
    let _ = writeln!(text, "{}\n", verdict(report));
    figures(&mut text, report);
    steady(&mut text, report);
    failures(&mut text, report);
    checkers(&mut text, report);
    sometimes(&mut text, report);
    faults(&mut text, report);
    text
}

fn verdict(report: &Report) -> String {
    match report.outcome {
        Outcome::Passed => "Nothing was violated, and everything happened that had to.".to_owned(),
        Outcome::Failed => {
            let failing = report.verdicts.iter().filter(|verdict| verdict.is_failure()).count();
            let unsteady = report.steady.iter().filter(|line| !line.holds).count();
            let seeds = format!("{failing} of {} seeds show that something is wrong.", report.seeds);
            if unsteady > 0 { format!("{seeds} {unsteady} probes did not hold.") } else { seeds }
        }
        Outcome::Inconclusive if report.seeds == 0 => "No seed was played, so nothing was shown.".to_owned(),
        Outcome::Inconclusive => {
            let missed: Vec<_> = report.sometimes.iter().filter(|line| line.seeds == 0).collect();
            let names: Vec<_> = missed.iter().map(|line| format!("`{}`", line.sometimes.name())).collect();
            format!("Nothing was violated, but nothing was shown either: {} never happened.", names.join(", "))
        }
    }
}

fn figures(text: &mut String, report: &Report) {
    let _ = writeln!(text, "| | |\n|---|---|");
    let _ = writeln!(text, "| runner | {} |", cell(&report.heading.runner));
    if let Some(file_system) = &report.heading.file_system {
        let _ = writeln!(text, "| file system | {} |", cell(file_system));
    }
    let _ = writeln!(text, "| commit | {} |", cell(&report.heading.commit));
    if !report.unjudged.is_empty() {
        let _ = writeln!(text, "| not judged | {} |", cell(&report.unjudged.join(", ")));
    }
    let first = report.verdicts.first().map_or(0, |verdict| verdict.seed);
    let last = report.verdicts.last().map_or(0, |verdict| verdict.seed);
    let _ = writeln!(text, "| seeds | {}, from {first} to {last} |", report.seeds);
    if let Some(pace) = report.heading.events_per_second {
        let _ = writeln!(text, "| events per CPU-second | {pace:.0} |");
    }
    if let Some(Outages { count, median_us, p99_us, max_us }) = report.outages {
        let (median, p99, max) = (millis(median_us), millis(p99_us), millis(max_us));
        let _ = writeln!(text, "| recoveries | {count}: median {median}, p99 {p99}, longest {max} |");
    }
    text.push('\n');
}

fn millis(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}

fn steady(text: &mut String, report: &Report) {
    if report.steady.is_empty() {
        return;
    }
    let figure = |value: Option<f64>| value.map_or_else(|| "no data".to_owned(), |value| format!("{value:.2}"));
    let _ =
        writeln!(text, "## Steady state\n\n| probe | must be | before | during | after | |\n|---|---|--:|--:|--:|---|");
    for line in &report.steady {
        let SteadyLine { probe, wanted, before, during, after, holds } = line;
        let wanted = cell(wanted.as_deref().unwrap_or_default());
        let (before, during, after) = (figure(*before), figure(*during), figure(*after));
        let word = if *holds { "" } else { "**does not hold**" };
        let _ = writeln!(text, "| `{}` | {wanted} | {before} | {during} | {after} | {word} |", probe.name());
    }
    text.push('\n');
}

fn failures(text: &mut String, report: &Report) {
    let failing: Vec<_> = report.verdicts.iter().filter(|verdict| verdict.is_failure()).collect();
    if failing.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Failing seeds\n");
    for verdict in failing.iter().take(SEEDS_TOLD_MAX) {
        failure(text, verdict);
    }
    if let Some(left) = failing.len().checked_sub(SEEDS_TOLD_MAX).filter(|left| *left > 0) {
        let _ = writeln!(text, "- and {left} more seeds");
    }
    text.push('\n');
}

fn failure(text: &mut String, verdict: &Verdict) {
    let _ = writeln!(text, "- seed {}", verdict.seed);
    if let Some(why) = &verdict.unplayed {
        let _ = writeln!(text, "  - it could not be played: {}", cell(why));
    }
    if let Some(first) = &verdict.diverged {
        let _ = writeln!(text, "  - it did not replay: {}", cell(first));
    }
    for probe in &verdict.unsteady {
        let _ = writeln!(text, "  - unsteady: {}", cell(probe));
    }
    for violation in verdict.violations.iter().take(TOLD_MAX) {
        let _ = writeln!(text, "  - {}", cell(&violation.to_string()));
    }
    let all: u64 = verdict.counts.values().sum();
    let told = verdict.violations.len().min(TOLD_MAX) as u64;
    if all > told {
        let _ = writeln!(text, "  - and {} more violations", all - told);
    }
}

fn checkers(text: &mut String, report: &Report) {
    let _ = writeln!(text, "## Checkers\n\n| checker | violations | seeds |\n|---|--:|---|");
    for line in &report.checkers {
        let mut seeds: Vec<_> = line.seeds.iter().take(SEEDS_NAMED_MAX).map(u64::to_string).collect();
        if line.seeds.len() > SEEDS_NAMED_MAX {
            seeds.push(format!("and {} more", line.seeds.len() - SEEDS_NAMED_MAX));
        }
        let _ = writeln!(text, "| `{}` | {} | {} |", line.invariant.name(), line.violations, seeds.join(", "));
    }
    text.push('\n');
}

fn sometimes(text: &mut String, report: &Report) {
    if report.sometimes.is_empty() {
        return;
    }
    let _ = writeln!(text, "## What had to happen\n\n| | in seeds | first seed |\n|---|--:|--:|");
    for line in &report.sometimes {
        let first = line.first_seed.map_or_else(|| "**never**".to_owned(), |seed| seed.to_string());
        let _ = writeln!(text, "| `{}` | {} | {first} |", line.sometimes.name(), line.seeds);
    }
    text.push('\n');
}

fn faults(text: &mut String, report: &Report) {
    if report.faults.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Faults\n\n| kind | planned | struck | times |\n|---|--:|--:|--:|");
    for line in &report.faults {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", cell(&line.kind), line.planned, line.struck, line.times);
    }
}

/// Text that stays in its line and its cell.
fn cell(text: &str) -> String {
    let one_line = text.replace(['\n', '\r'], " ");
    one_line.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
