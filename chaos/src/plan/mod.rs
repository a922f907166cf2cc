//! A plan: everything that will be done to the system, written down before the run. Invariant: a
//! plan alone, without the experiment that it came from, says how to play it again.

mod expand;
mod saved;

use policies::money::Money;
use serde::{Deserialize, Serialize};

pub use expand::expand;
pub use saved::{Saved, read};

use crate::fault::Fault;

/// One run of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiment's name.
    pub experiment: String,
    /// What chance follows from.
    pub seed: u64,
    /// What the system is made to do.
    pub workload: Workload,
    /// For how long faults and arrivals may come.
    pub duration_ms: u64,
    /// Afterwards all faults are off, and within this time everything must come to its end.
    pub quiet_ms: u64,
    /// Whether other tasks may go first at every turn.
    pub yields: bool,
    /// The faults, by time.
    pub faults: Vec<Planned>,
}

#[cfg(test)]
impl Plan {
    /// A minute in which these runs are asked for at once, and another without faults; for tests.
    pub(crate) fn plain(keys: &[&str], faults: Vec<Planned>) -> Self {
        let arrivals = keys.iter().map(|key| Arrival { at_ms: 0, key: (*key).to_owned() }).collect();
        let workload = Workload {
            arrivals,
            approval: Approval::Automatic,
            budget: None,
            cost_max: None,
            platform: Platform::Careful,
            stand_in: false,
        };
        let (duration_ms, quiet_ms) = (60_000, 60_000);
        Self { experiment: "test".to_owned(), seed: 1, workload, duration_ms, quiet_ms, yields: false, faults }
    }
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Its number in the plan as it was first written; shrinking keeps it, because chance is drawn by it.
    pub number: u32,
    /// When, from the run's beginning.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

/// What the system is made to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// The runs that are asked for.
    pub arrivals: Vec<Arrival>,
    /// Who approves.
    pub approval: Approval,
    /// What the workspace may spend; the built-in limit without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Money>,
    /// What each run may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<Money>,
    /// The platform that is posted to.
    pub platform: Platform,
    /// Whether agents have breakers of their own, and another model to stand in for theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stand_in: bool,
}

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// When.
    pub at_ms: u64,
    /// Its idempotency key.
    pub key: String,
}

/// Who approves posts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// The policy, at once.
    #[default]
    Automatic,
    /// The client, who says yes when it sees the question.
    Ask,
}

/// What the platform can do about doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// It takes a key's second post for the first, and tells what it has.
    #[default]
    Careful,
    /// It takes each request for a new post, and cannot be asked.
    Careless,
}
