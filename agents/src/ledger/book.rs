//! The ledger's book: the fold of intents and outcomes, and the holds beside it.
//! Invariant: what is reserved in the accounts is the sum of the open intents and
//! the holds, so that nothing leaks and nothing counts twice.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::budget::{Accounts, BudgetPolicy, Refusal, ScopeId};
use policies::money::Money;
use serde::{Deserialize, Serialize};
use storage::journal::{Event, Seq, StreamId, Version};

use super::{Grant, HoldId, Reserve, stream};

/// Raise it when the same events would make another book.
pub(super) const FOLD_VERSION: u32 = 1;
/// The newest schema of the runs' events that is understood.
const RUN_SCHEMA_MAX: u16 = 1;

pub(super) const OPENED: &str = "ledger.opened";
const INTENDED: &str = "run.intended";
const RESOLVED: &str = "run.resolved";

/// An event that the book cannot be kept with.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    /// It cannot be read, or is too new.
    #[error("event {seq} ({kind}, schema {schema}) cannot be read by the ledger: {reason}; run the version of callboard that wrote it, or a newer one")]
    Event { seq: Seq, kind: String, schema: u16, reason: String },
    /// Another ledger has opened since.
    #[error("another ledger of the workspace {0} has opened; this one ends")]
    Fenced(String),
}

/// An amount taken from several scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reservation {
    scopes: Vec<ScopeId>,
    amount: Money,
}

/// A reservation that no intent in the fold stands for yet.
#[derive(Clone, Debug)]
struct Hold {
    reservation: Reservation,
    generation: Version,
    since: Duration,
}

pub(super) struct Book {
    workspace: String,
    stream: StreamId,
    policy: BudgetPolicy,
    accounts: Accounts,
    intents: BTreeMap<HoldId, Reservation>,
    holds: BTreeMap<HoldId, Hold>,
    generation: Version,
    at: Seq,
}

/// What is kept of a book; holds die with their ledger.
#[derive(Serialize, Deserialize)]
struct Kept {
    accounts: Accounts,
    intents: Vec<(HoldId, Reservation)>,
}

#[derive(Deserialize)]
struct Intended {
    #[serde(flatten)]
    hold: HoldId,
    reserved: Money,
    scopes: Vec<ScopeId>,
}

#[derive(Deserialize)]
struct Resolved {
    #[serde(flatten)]
    hold: HoldId,
    cost: Money,
}

impl Book {
    pub(super) fn new(workspace: &str, policy: BudgetPolicy) -> Self {
        Self {
            workspace: workspace.to_owned(),
            stream: stream(workspace),
            policy,
            accounts: Accounts::default(),
            intents: BTreeMap::new(),
            holds: BTreeMap::new(),
            generation: Version::default(),
            at: Seq::default(),
        }
    }

    /// Takes up where a snapshot left off; `false` when it does not read.
    pub(super) fn restore(&mut self, at: Seq, bytes: &[u8]) -> bool {
        let Ok(kept) = serde_json::from_slice::<Kept>(bytes) else { return false };
        self.accounts = kept.accounts;
        self.intents = kept.intents.into_iter().collect();
        self.at = at;
        let scopes: Vec<_> = self.accounts.iter().map(|(scope, _)| scope.clone()).collect();
        self.limit(&scopes);
        true
    }

    /// What a snapshot keeps.
    pub(super) fn keep(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut accounts = self.accounts.clone();
        for hold in self.holds.values() {
            accounts.release(&hold.reservation.scopes, hold.reservation.amount);
        }
        let intents = self.intents.iter().map(|(id, reservation)| (id.clone(), reservation.clone())).collect();
        serde_json::to_vec(&Kept { accounts, intents })
    }

    /// The last event folded.
    pub(super) fn at(&self) -> Seq {
        self.at
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Grants are of this generation from now on. Holds of older ones go once the
    /// fold reaches its opening, behind which no intent of theirs can follow.
    pub(super) fn open(&mut self, generation: Version) {
        self.generation = generation;
    }

    /// Holds the amount in every scope or in none.
    pub(super) fn reserve(&mut self, reserve: Reserve, now: Duration) -> Result<Grant, Refusal> {
        let Reserve { hold, scopes, amount } = reserve;
        let repeated = self.holds.get(&hold).is_some_and(|held| {
            held.generation == self.generation && held.reservation.amount == amount && held.reservation.scopes == scopes
        });
        if !repeated {
            self.release(&hold);
            self.limit(&scopes);
            self.accounts.reserve(&scopes, amount)?;
            let reservation = Reservation { scopes: scopes.clone(), amount };
            self.holds.insert(hold.clone(), Hold { reservation, generation: self.generation, since: now });
        }
        Ok(Grant { hold, scopes, reserved: amount, stream: self.stream.clone(), generation: self.generation })
    }

    /// Forgets a hold; an intent in its place stays.
    pub(super) fn release(&mut self, id: &HoldId) {
        if let Some(hold) = self.holds.remove(id) {
            self.accounts.release(&hold.reservation.scopes, hold.reservation.amount);
        }
    }

    /// When the oldest hold was made.
    pub(super) fn oldest_hold(&self) -> Option<Duration> {
        self.holds.values().map(|hold| hold.since).min()
    }

    /// Folds one event in.
    pub(super) fn fold(&mut self, event: &Event) -> Result<(), BookError> {
        match event.kind.as_str() {
            INTENDED => self.intended(read(event)?),
            RESOLVED => self.resolved(&read(event)?),
            OPENED if event.stream == self.stream => self.opened(event.version)?,
            _ => {}
        }
        self.at = event.seq;
        Ok(())
    }

    fn opened(&mut self, version: Version) -> Result<(), BookError> {
        if version > self.generation && self.generation != Version::default() {
            return Err(BookError::Fenced(self.workspace.clone()));
        }
        let stale: Vec<_> = self.holds.iter().filter(|(_, hold)| hold.generation < version).map(|(id, _)| id.clone()).collect();
        for id in &stale {
            tracing::warn!(key = id.key, attempt = id.attempt, "a hold was granted and its intent never written; it is released");
            self.release(id);
        }
        Ok(())
    }

    fn intended(&mut self, intent: Intended) {
        if !intent.scopes.iter().any(|scope| matches!(scope, ScopeId::Workspace(name) if *name == self.workspace)) {
            return;
        }
        let reservation = Reservation { scopes: intent.scopes, amount: intent.reserved };
        match self.holds.remove(&intent.hold) {
            Some(hold) if hold.reservation == reservation => {}
            hold => {
                if let Some(Hold { reservation, .. }) = hold {
                    self.accounts.release(&reservation.scopes, reservation.amount);
                }
                self.commit(&reservation);
            }
        }
        self.intents.insert(intent.hold, reservation);
    }

    fn resolved(&mut self, outcome: &Resolved) {
        let Some(Reservation { scopes, amount }) = self.intents.remove(&outcome.hold) else { return };
        if let Some(overrun) = self.accounts.settle(&scopes, amount, outcome.cost) {
            tracing::warn!(key = outcome.hold.key, %overrun, "a call cost more than its worst case");
        }
    }

    /// Reserves what the journal says is reserved, whatever the limits are now.
    fn commit(&mut self, reservation: &Reservation) {
        for scope in &reservation.scopes {
            self.accounts.set_limit(scope.clone(), None);
        }
        if let Err(refusal) = self.accounts.reserve(&reservation.scopes, reservation.amount) {
            tracing::error!(%refusal, "the sums of a budget are beyond what can be counted");
        }
        self.limit(&reservation.scopes);
    }

    fn limit(&mut self, scopes: &[ScopeId]) {
        for scope in scopes {
            self.accounts.set_limit(scope.clone(), self.policy.limit(scope));
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(event: &Event) -> Result<T, BookError> {
    let unreadable = |reason: String| BookError::Event { seq: event.seq, kind: event.kind.clone(), schema: event.schema, reason };
    if event.schema > RUN_SCHEMA_MAX {
        return Err(unreadable(format!("schemas up to {RUN_SCHEMA_MAX} are known")));
    }
    serde_json::from_slice(&event.payload).map_err(|error| unreadable(error.to_string()))
}
