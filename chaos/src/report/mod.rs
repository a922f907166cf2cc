//! What a campaign showed: one verdict for each seed, and what they add up to.
//!
//! Invariant: a report is a function of its verdicts, and a verdict one of its history. A campaign
//! that never saw what it was to see has not passed, however silent its checkers are.

mod junit;
mod markdown;
mod outage;
pub mod timeline;
mod verdict;
mod xml;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::aims::{Invariant, Sometimes};
use crate::experiment::Probe;

pub use junit::junit;
pub use markdown::markdown;
pub use outage::{Outages, outages_us};
pub use timeline::svg;
pub use verdict::{Struck, VIOLATIONS_MAX, Verdict, kind};

/// What a campaign was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heading {
    /// The experiment's name.
    pub experiment: String,
    /// How it was run: `sim`, `kill9`, or `live`, with what it was judged by.
    pub runner: String,
    /// What the data lay on, where it was a real one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// The commit that was tried.
    pub commit: String,
    /// The invariants that were checked.
    pub invariants: Vec<Invariant>,
    /// What had to happen at some time.
    pub sometimes: Vec<Sometimes>,
    /// Simulated events for each second of CPU, where somebody measured them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,
}

/// What a campaign showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was.
    pub heading: Heading,
    /// What it came to.
    pub outcome: Outcome,
    /// How many seeds were played.
    pub seeds: u64,
    /// Each invariant that was checked.
    pub checkers: Vec<CheckerLine>,
    /// Each thing that had to happen.
    pub sometimes: Vec<SometimesLine>,
    /// Each kind of fault that was planned.
    pub faults: Vec<FaultLine>,
    /// How long the process was away after its crashes, if it had any.
    pub outages: Option<Outages>,
    /// What the probes measured, where somebody did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steady: Vec<SteadyLine>,
    /// What the experiment names and this runner cannot judge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<String>,
    /// What was found with each seed.
    pub verdicts: Vec<Verdict>,
}

/// What a campaign came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was violated, and everything happened that had to.
    Passed,
    /// Something was violated, or a seed did not replay.
    Failed,
    /// Nothing was violated, but something never happened, so nothing was shown.
    Inconclusive,
}

impl Outcome {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What one checker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckerLine {
    /// Whose.
    pub invariant: Invariant,
    /// Violations in all.
    pub violations: u64,
    /// Seeds that had any.
    pub seeds: Vec<u64>,
}

/// Whether something happened that had to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SometimesLine {
    /// What.
    pub sometimes: Sometimes,
    /// In how many seeds.
    pub seeds: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seed: Option<u64>,
}

/// How often a kind of fault struck.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultLine {
    /// The kind, as in `provider.lost`.
    pub kind: String,
    /// Faults of that kind in all plans.
    pub planned: u64,
    /// Those of them that struck.
    pub struck: u64,
    /// How often they struck.
    pub times: u64,
}

/// What a probe measured of a running system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteadyLine {
    /// Which.
    pub probe: Probe,
    /// What is well, and when; nothing where the experiment does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Before the first fault; nothing where there was no data.
    pub before: Option<f64>,
    /// While there were faults.
    pub during: Option<f64>,
    /// After the last one.
    pub after: Option<f64>,
    /// Whether it held.
    pub holds: bool,
}

impl Report {
    /// Adds up the verdicts of a campaign, by seed.
    #[must_use]
    pub fn of(heading: Heading, mut verdicts: Vec<Verdict>) -> Self {
        verdicts.sort_by_key(|verdict| verdict.seed);
        let checkers: Vec<_> = heading.invariants.iter().map(|one| checker_line(*one, &verdicts)).collect();
        let sometimes: Vec<_> = heading.sometimes.iter().map(|one| sometimes_line(*one, &verdicts)).collect();
        let failed = verdicts.iter().any(Verdict::is_failure);
        let shown = !verdicts.is_empty() && sometimes.iter().all(|line| line.seeds > 0);
        let outcome = match (failed, shown) {
            (true, _) => Outcome::Failed,
            (false, false) => Outcome::Inconclusive,
            (false, true) => Outcome::Passed,
        };
        Self {
            outcome,
            seeds: verdicts.len() as u64,
            checkers,
            sometimes,
            faults: fault_lines(&verdicts),
            outages: Outages::of(verdicts.iter().flat_map(|verdict| verdict.outages_us.iter().copied()).collect()),
            steady: Vec::new(),
            unjudged: Vec::new(),
            heading,
            verdicts,
        }
    }

    /// The same, with what the probes measured; one that did not hold fails it.
    #[must_use]
    pub fn with_steady(self, steady: Vec<SteadyLine>) -> Self {
        let holds = steady.iter().all(|line| line.holds);
        Self { outcome: if holds { self.outcome } else { Outcome::Failed }, steady, ..self }
    }

    /// The same, with what could not be judged.
    #[must_use]
    pub fn with_unjudged(self, unjudged: Vec<String>) -> Self {
        Self { unjudged, ..self }
    }

    /// Whether everything was shown that was to be shown.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    /// As JSON, for programs.
    ///
    /// # Errors
    /// None: every key is text.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

/// The commit that is tried, where it can be told.
pub async fn commit() -> String {
    let output = tokio::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().await;
    let told = output.ok().filter(|output| output.status.success());
    told.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn checker_line(invariant: Invariant, verdicts: &[Verdict]) -> CheckerLine {
    let count = |verdict: &Verdict| verdict.counts.get(&invariant).copied().unwrap_or(0);
    CheckerLine {
        invariant,
        violations: verdicts.iter().map(count).sum(),
        seeds: verdicts.iter().filter(|verdict| count(verdict) > 0).map(|verdict| verdict.seed).collect(),
    }
}

fn sometimes_line(sometimes: Sometimes, verdicts: &[Verdict]) -> SometimesLine {
    let seeds: Vec<_> =
        verdicts.iter().filter(|verdict| verdict.reached.contains(&sometimes)).map(|verdict| verdict.seed).collect();
    SometimesLine { sometimes, seeds: seeds.len() as u64, first_seed: seeds.first().copied() }
}

fn fault_lines(verdicts: &[Verdict]) -> Vec<FaultLine> {
    let mut lines: BTreeMap<&str, FaultLine> = BTreeMap::new();
    for verdict in verdicts {
        for (kind, planned) in &verdict.planned {
            lines.entry(kind).or_default().planned += planned;
        }
        let mut numbers = BTreeSet::new();
        for struck in &verdict.struck {
            let line = lines.entry(&struck.kind).or_default();
            line.struck += u64::from(numbers.insert(struck.number));
            line.times += struck.times;
        }
    }
    let named = lines.into_iter().map(|(kind, line)| FaultLine { kind: kind.to_owned(), ..line });
    named.collect()
}
