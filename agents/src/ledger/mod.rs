//! The ledger: who may spend, and what was spent. One actor for each workspace.
//!
//! Law: for every limited scope, spent + reserved + held ≤ limit, at every
//! instant and over every crash. What was reserved and spent is a fold of the
//! runs' intents and outcomes, so it cannot part from the journal; what is held
//! lives in memory, between a grant and the intent that it pays for. Each ledger
//! that opens raises the version of its stream, and an intent must name the
//! version of its grant: the journal refuses what a dead ledger granted.

mod actor;
mod book;
mod entry;
mod factors;
mod webhook;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use policies::budget::{Accounts, Refusal, ScopeId};
use policies::instant::Timestamp;
use policies::money::Money;
use serde::{Deserialize, Serialize};
use storage::journal::{StreamId, Version};

pub use actor::{LedgerActor, LedgerArguments, LedgerMsg};
pub use book::Book;
pub use entry::{ALERTED, Alerted, BookError, Entry, What};
pub use factors::Factors;
pub use webhook::{AlertHook, AlertHookError};

use crate::front::{Front, FrontError, Reply};

/// The stream of what the ledger has to say: its own one's version counts generations alone.
#[must_use]
pub fn alerts_stream(workspace: &str) -> StreamId {
    StreamId::new(format!("ledger-alerts/{workspace}"))
}

/// The stream whose version is the ledger's generation.
#[must_use]
pub fn stream(workspace: &str) -> StreamId {
    StreamId::new(format!("ledger/{workspace}"))
}

/// Names one attempt of one effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HoldId {
    /// The effect's key.
    pub key: Arc<str>,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// What is asked of the ledger before an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// For which attempt.
    pub hold: HoldId,
    /// Who pays: all of these, each the whole amount.
    pub scopes: Vec<ScopeId>,
    /// The worst case.
    pub amount: Money,
    /// The time of whoever asks. It may be ahead of the ledger's: who has waited for a window to end has
    /// waited it out, though the wall clock was set back meanwhile.
    pub now: Timestamp,
    /// The limit of its own that the run among the scopes has, beside the policy's. It comes along each time: the
    /// run's first intents are in the batch that accepts it, and a ledger that has just opened knows no word of it.
    pub cost_max: Option<Money>,
    /// Where that run stood, if it had failed and is about to go on: a ledger that has opened since it was told of
    /// [that](LedgerHandle::reopen_run) does not know it.
    pub stood: Option<Stood>,
}

impl Reserve {
    /// The run among those who pay.
    pub(super) fn run(&self) -> Option<&ScopeId> {
        self.scopes.iter().find(|scope| matches!(scope, ScopeId::Run(_)))
    }
}

/// One grant among all: the same attempt may be granted again, and each grant is given back for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Granted {
    /// For which attempt.
    pub hold: HoldId,
    pub(super) generation: Version,
    /// Which of its generation's.
    pub(super) number: u64,
}

/// Leave to spend, if the intent that says so is written at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// For which attempt.
    pub hold: HoldId,
    /// Who pays.
    pub scopes: Vec<ScopeId>,
    /// How much at most.
    pub reserved: Money,
    /// When, by the ledger's clock, which never goes back: it decides the windows that the money is of,
    /// and the intent says it.
    pub at: Timestamp,
    /// The intent's batch must find this stream …
    pub stream: StreamId,
    /// … at this version.
    pub generation: Version,
    /// Which of that generation's grants it is.
    pub number: u64,
}

impl Grant {
    /// What it is given back by.
    #[must_use]
    pub fn granted(&self) -> Granted {
        Granted { hold: self.hold.clone(), generation: self.generation, number: self.number }
    }
}

/// Where a failed run stood when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stood {
    /// The most that it may spend, if it has a limit of its own.
    pub limit: Option<Money>,
    /// What it had spent.
    pub spent: Money,
    /// When it had ended, as far as that is known: all was spent by then.
    pub ended: Option<Timestamp>,
}

/// Why nothing was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A budget does not cover it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The ledger could not be asked; nothing is held.
    #[error("the ledger gave no answer: {0}")]
    Unanswered(#[from] FrontError),
}

/// The ledger, whichever of its generations is up.
#[derive(Clone)]
pub struct LedgerHandle {
    front: Front<LedgerMsg>,
    factors: Factors,
}

impl Default for LedgerHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl LedgerHandle {
    /// The handle of a ledger that is yet to be started.
    #[must_use]
    pub fn new() -> Self {
        Self { front: Front::new(), factors: Factors::default() }
    }

    /// What the ledger has seen of how models count.
    #[must_use]
    pub fn factors(&self) -> &Factors {
        &self.factors
    }

    /// Where its factory publishes each generation.
    #[must_use]
    pub fn front(&self) -> &Front<LedgerMsg> {
        &self.front
    }

    /// Holds the amount in every scope, or in none. Asking again for the same
    /// hold holds nothing more, and the newest of its grants is the one that counts.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing is held then.
    pub async fn reserve(&self, reserve: Reserve) -> Result<Grant, ReserveError> {
        let granted = self.front.ask(|reply| LedgerMsg::Reserve { reserve, reply }).await?;
        Ok(granted?)
    }

    /// Takes up the account of a failed run where it stood, before the run's next
    /// intents: an account goes when its run ends. What is reserved with it says so once more, since another
    /// ledger may be up by then.
    ///
    /// # Errors
    /// [`FrontError`] when the ledger is not up; it then learns it from the journal.
    pub async fn reopen_run(&self, run: &str, stood: Stood) -> Result<(), FrontError> {
        let scope = ScopeId::Run(run.to_owned());
        self.front.ask(|reply| LedgerMsg::Reopen { scope, stood, reply }).await
    }

    /// Gives a grant back whose intent was certainly not written. Where the same attempt was granted once
    /// more since, that grant stands.
    pub fn release(&self, granted: Granted) {
        // A ledger that is down holds nothing.
        if let Some(ledger) = self.front.slot().current() {
            let _ = ledger.cast(LedgerMsg::Release(granted));
        }
    }

    /// The sums of every scope that was named, holds among what is reserved.
    ///
    /// # Errors
    /// [`FrontError`] when the ledger is not up.
    pub async fn accounts(&self) -> Result<Accounts, FrontError> {
        self.front.ask(|reply: Reply<Accounts>| LedgerMsg::Accounts(reply)).await
    }
}
