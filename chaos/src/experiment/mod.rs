//! An experiment: what is done to the system, how it is hurt meanwhile, and what must hold. Invariant:
//! an experiment that was read can be run in each of its modes; a text with mistakes gives all of them.

mod kind;
mod measure;
mod read;
mod schedule;
mod spec;
mod steady;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use policies::document::{self, Error};
use policies::money::Money;
use policies::span::Rate;
use serde::{Deserialize, Serialize};

pub use kind::{Kind, Mode};
pub use read::read;
pub use schedule::{NotWindow, Window};
pub use spec::{FaultSpec, Form};
pub use steady::{Abort, Moment, NoData, NotAbort, Probe, Side, Steady};

use crate::aims::{Invariant, Sometimes};
use crate::plan::{Approval, Platform};

/// An experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its name: small letters, digits and `-`.
    pub name: String,
    /// The ways to run it.
    pub modes: BTreeSet<Mode>,
    /// The first seed.
    pub seed: u64,
    /// How many seeds a campaign takes, from the first on.
    pub seeds: u64,
    /// For how long faults and arrivals come.
    pub duration_ms: u64,
    /// The time afterwards, without faults, in which everything must come to its end.
    pub quiet_ms: u64,
    /// What the system is made to do.
    pub workload: WorkloadSpec,
    /// What must hold while nothing is wrong.
    pub steady: Vec<Steady>,
    /// The faults, in the order of the file.
    pub faults: Vec<FaultSpec>,
    /// The share of seeds in which a fault is left out, each fault for itself.
    pub each_fault_off: f64,
    /// What must hold always.
    pub invariants: BTreeSet<Invariant>,
    /// What must happen in one seed at least.
    pub sometimes: BTreeSet<Sometimes>,
    /// What ends it at once.
    pub abort: Option<Abort>,
    /// What is written about it.
    pub report: Report,
}

/// What the system is made to do, before chance has drawn the times.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSpec {
    /// How many runs are asked for.
    pub runs: u32,
    /// How often one is.
    pub arrival: Rate,
    /// Who approves.
    pub approval: Approval,
    /// What the workspace may spend; the built-in limit without it.
    pub budget: Option<Money>,
    /// What each run may spend.
    pub cost_max: Option<Money>,
    /// The platform that is posted to.
    pub platform: Platform,
    /// Whether agents have breakers of their own, and another model to stand in for theirs.
    pub stand_in: bool,
}

impl WorkloadSpec {
    /// When the turn of a run begins, counted from 0; it ends when the next one's begins.
    #[must_use]
    pub fn turn(&self, number: u32) -> Duration {
        self.arrival.per.saturating_mul(number) / self.arrival.count.max(1)
    }
}

/// What is written about a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The folder.
    pub out: PathBuf,
    /// In which forms.
    pub formats: BTreeSet<Format>,
}

impl Default for Report {
    fn default() -> Self {
        Self { out: PathBuf::from("reports/"), formats: Format::ALL.into() }
    }
}

/// A form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For programs.
    Json,
    /// For people: Markdown.
    Md,
    /// For CI.
    Junit,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Json, Self::Md, Self::Junit];
}

/// Why there is no experiment.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the experiment `{}` cannot be read", .path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its text has mistakes.
    #[error("{}", document::lines(.0))]
    Mistakes(Vec<Error>),
}

/// Reads an experiment's file.
///
/// # Errors
/// [`LoadError`]: no such file, or everything that is wrong in it.
pub fn load(path: &Path) -> Result<Experiment, LoadError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
    read(&path.display().to_string(), &text).map_err(LoadError::Mistakes)
}
