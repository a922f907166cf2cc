//! The kill -9 runner: the program itself, on a real disk, killed at random times and at crash points.
//!
//! Provider and platform are processes of their own with ledgers of their own, and a client keeps on
//! asking over HTTP. Invariant: what is told in the end was seen by the client, the provider and the
//! platform, never read from the program's own store. The choices follow from the seed; what a kill
//! hits does not, so the point that a life ended at is told.

pub(crate) mod api;
pub(crate) mod client;
pub mod command;
mod course;
pub(crate) mod ground;
mod medium;
mod play;
mod process;
mod replay;
mod terms;
pub(crate) mod witness;

use std::path::PathBuf;
use std::time::Duration;

use policies::money::Money;

use crate::aims::{Invariant, Sometimes};
use crate::disk::command::Deaf;
use crate::fault::{Loss, Point};
use crate::ledger::LedgerError;
use crate::plan::{Approval, Planned, Platform};

pub use course::plan;
pub use medium::Medium;
pub use play::{Played, play};

/// What can be judged by what the client, the provider and the platform saw. Restarts, breakers, mailboxes
/// and tasks are the program's own, and nobody here counts them.
pub const INVARIANTS: [Invariant; 7] = [
    Invariant::NoLostRun,
    Invariant::NoDoublePost,
    Invariant::NoBudgetOverrun,
    Invariant::AcknowledgedSurvives,
    Invariant::ResultsStable,
    Invariant::RecoveryIdempotent,
    Invariant::ApprovalFirst,
];
/// What shows to the three of them when it happens.
pub const SOMETIMES: [Sometimes; 13] = [
    Sometimes::RecoveredWithOpenIntent,
    Sometimes::PostDeduplicated,
    Sometimes::PostHeld,
    Sometimes::Retried,
    Sometimes::Crashed,
    Sometimes::CrashedInRecovery,
    Sometimes::RunRefused,
    Sometimes::BudgetSpent,
    Sometimes::ApprovalWaitedOverCrash,
    Sometimes::ProviderFailed,
    Sometimes::CallLost,
    Sometimes::DeadLettered,
    Sometimes::Replayed,
];

/// A point that kills aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The point.
    pub point: Point,
    /// The first and the last of its passings, counted from the program's start, that it may be.
    pub nth: (u32, u32),
}

impl From<Point> for Aim {
    /// Small passings come while the program recovers, large ones in the middle of its work.
    fn from(point: Point) -> Self {
        let last = match point {
            Point::AppendBefore | Point::AppendAfter | Point::SyncBefore | Point::SyncAfter => 30,
            Point::CallBeforeSend | Point::CallAfterSend => 8,
            Point::PostBeforeSend | Point::PostAfterSend => 2,
            Point::AckBefore | Point::AckAfter => 3,
        };
        Self { point, nth: (1, last) }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Kill9Options {
    /// The experiment's name.
    pub experiment: String,
    /// What the choices follow from.
    pub seed: u64,
    /// How often the program is killed.
    pub cycles: u32,
    /// How many runs are asked for.
    pub runs: u32,
    /// What half of the kills aim at; all points there are, without any.
    pub aims: Vec<Aim>,
    /// What provider and platform do meanwhile, each at its time within `duration`; other faults are passed over.
    pub faults: Vec<Planned>,
    /// How long the experiment is that the faults come from: in the play it lasts until the last kill.
    pub duration: Duration,
    /// What becomes of that which was not synced, by chance at each kill; all is kept, without any.
    pub losses: Vec<Loss>,
    /// Who approves.
    pub approval: Approval,
    /// What the platform can do about doubt.
    pub platform: Platform,
    /// What the workspace may spend; the built-in limit without it.
    pub budget: Option<Money>,
    /// What each run may spend.
    pub cost_max: Option<Money>,
    /// How long the program has after the last kill to bring every run to its end.
    pub quiet: Duration,
}

impl Default for Kill9Options {
    fn default() -> Self {
        Self {
            experiment: "kill9".to_owned(),
            seed: 1,
            cycles: 50,
            runs: 50,
            aims: Vec::new(),
            faults: Vec::new(),
            duration: Duration::from_secs(120),
            losses: Vec::new(),
            approval: Approval::Automatic,
            platform: Platform::Careful,
            budget: None,
            cost_max: None,
            quiet: Duration::from_secs(120),
        }
    }
}

/// Where and with what it is done.
#[derive(Clone, Debug)]
pub struct Yard {
    /// A folder for the data, the ledgers and the configuration; empty, or not there yet.
    pub folder: PathBuf,
    /// The program that is killed: `PROGRAM serve …`.
    pub callboard: PathBuf,
    /// The program of the provider, the platform and the disk: `PROGRAM provider …` and so on.
    pub servers: PathBuf,
    /// Syncs that the disk does not do, where it is one that loses: a mutant, to try the checkers on.
    pub deaf_to: Option<Deaf>,
    /// Where the program finds its models; as the environment says, without it.
    pub models: Option<PathBuf>,
    /// How long the provider thinks.
    pub provider_think: Duration,
    /// How long the platform takes over a post.
    pub platform_think: Duration,
}

impl Yard {
    /// A yard in `folder`, with a provider and a platform that take their time.
    #[must_use]
    pub fn new(folder: PathBuf, callboard: PathBuf, servers: PathBuf) -> Self {
        Self {
            folder,
            callboard,
            servers,
            deaf_to: None,
            models: None,
            provider_think: Duration::from_millis(60),
            platform_think: Duration::from_millis(40),
        }
    }
}

/// The play could not be made. What the program itself does wrong is no error here; it is told in the
/// history.
#[derive(Debug, thiserror::Error)]
pub enum Kill9Error {
    /// A file of the yard cannot be written or read.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program cannot be run.
    #[error("{program} cannot be run")]
    Program {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server did not say where it listens.
    #[error("`{0}` did not say where it listens")]
    Silent(String),
    /// The disk that loses what was not synced has not done what it was told.
    #[error("the disk did not do `{order}`: {why}")]
    Disk {
        /// What it was told.
        order: String,
        /// What it said.
        why: String,
    },
    /// A ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A built-in policy is not what is expected here.
    #[error("the built-in policies do not fit: {0}")]
    Policy(String),
    /// No client can be made.
    #[error("the client cannot be set up")]
    World(#[from] actors::world::WorldError),
}
