//! The ledger's book: the fold of intents and outcomes, and the holds beside it.
//! Invariant: what is reserved in the accounts is the sum of the open intents and
//! the holds, so that nothing leaks and nothing counts twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policies::budget::{Accounts, BudgetPolicy, Refusal, ScopeId};
use policies::money::Money;
use serde::{Deserialize, Serialize};
use storage::journal::{Event, Seq, StreamId, Version};

use super::{Grant, HoldId, Reserve, stream};
use crate::run::gist::{Gist, Intended, Resolved};

/// Raise it when the same events would make another book.
pub(super) const FOLD_VERSION: u32 = 1;

pub(super) const OPENED: &str = "ledger.opened";
/// What the kinds of all events of runs begin with.
const RUN: &str = "run.";

/// An event that the book cannot be kept with.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    /// It cannot be read, or is too new.
    #[error("the ledger stops at event {seq}: {reason}")]
    Event { seq: Seq, reason: String },
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
    /// Holds that go once the fold is there, unless it brings their intents.
    leaving: BTreeSet<(Seq, HoldId)>,
    /// Limits that going runs brought along.
    own: BTreeMap<ScopeId, Money>,
    /// Runs that have ended with intents still open.
    ended: BTreeSet<ScopeId>,
    generation: Version,
    at: Seq,
}

/// What is kept of a book; holds die with their ledger.
#[derive(Serialize, Deserialize)]
struct Kept {
    accounts: Accounts,
    intents: Vec<(HoldId, Reservation)>,
    own: BTreeMap<ScopeId, Money>,
    ended: BTreeSet<ScopeId>,
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
            leaving: BTreeSet::new(),
            own: BTreeMap::new(),
            ended: BTreeSet::new(),
            generation: Version::default(),
            at: Seq::default(),
        }
    }

    /// Takes up where a snapshot left off; `false` when it does not read.
    pub(super) fn restore(&mut self, at: Seq, bytes: &[u8]) -> bool {
        let Ok(kept) = serde_json::from_slice::<Kept>(bytes) else { return false };
        self.accounts = kept.accounts;
        self.intents = kept.intents.into_iter().collect();
        self.own = kept.own;
        self.ended = kept.ended;
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
        serde_json::to_vec(&Kept { accounts, intents, own: self.own.clone(), ended: self.ended.clone() })
    }

    /// The last event folded.
    pub(super) fn at(&self) -> Seq {
        self.at
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Holds every scope to the limits of another policy from now on. What is spent and reserved stays.
    pub(super) fn govern(&mut self, policy: BudgetPolicy) {
        self.policy = policy;
        let scopes: Vec<_> = self.accounts.iter().map(|(scope, _)| scope.clone()).collect();
        self.limit(&scopes);
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
            self.free(&hold);
            self.limit(&scopes);
            self.accounts.reserve(&scopes, amount)?;
            let reservation = Reservation { scopes: scopes.clone(), amount };
            self.holds.insert(hold.clone(), Hold { reservation, generation: self.generation, since: now });
        }
        Ok(Grant { hold, scopes, reserved: amount, stream: self.stream.clone(), generation: self.generation })
    }

    /// Gives a hold back, once the fold has reached `head`: should its intent be
    /// in the journal all the same, that takes its place first.
    pub(super) fn release(&mut self, id: HoldId, head: Seq) {
        self.leaving.insert((head, id));
        self.let_go();
    }

    fn let_go(&mut self) {
        while let Some((_, id)) = self.leaving.first().filter(|(head, _)| *head <= self.at).cloned() {
            self.free(&id);
            self.leaving.pop_first();
        }
    }

    fn free(&mut self, id: &HoldId) {
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
        if event.kind.starts_with(RUN) {
            let unreadable = |reason| BookError::Event { seq: event.seq, reason };
            self.run(Gist::read(&event.kind, event.schema, &event.payload).map_err(unreadable)?, &event.stream);
        } else if event.kind == OPENED && event.stream == self.stream {
            self.opened(event.version)?;
        }
        self.at = event.seq;
        self.let_go();
        Ok(())
    }

    fn opened(&mut self, version: Version) -> Result<(), BookError> {
        if version > self.generation && self.generation != Version::default() {
            return Err(BookError::Fenced(self.workspace.clone()));
        }
        let stale: Vec<_> =
            self.holds.iter().filter(|(_, hold)| hold.generation < version).map(|(id, _)| id.clone()).collect();
        for id in &stale {
            tracing::warn!(
                key = id.key,
                attempt = id.attempt,
                "a hold was granted and its intent never written; it is released"
            );
            self.free(id);
        }
        Ok(())
    }

    fn run(&mut self, event: Gist, stream: &StreamId) {
        let scope = || ScopeId::Run(stream.as_str().trim_start_matches("run/").to_owned());
        match event {
            Gist::Accepted(run) => {
                if let Some(limit) = run.terms.cost_max {
                    self.limit_own(scope(), limit);
                }
            }
            Gist::Intended(intent) => self.intended(intent),
            Gist::Resolved(outcome) => self.resolved(&outcome),
            Gist::Finished(_) | Gist::Failed(_) | Gist::Cancelled(_) => self.ended(scope()),
            Gist::Rejected(rejected) if rejected.ends => self.ended(scope()),
            Gist::Reopened(reopened) => self.reopen(scope(), reopened.cost_max, reopened.spent),
            _ => {}
        }
    }

    /// A run's account goes when the run has ended and owes nothing: what it
    /// spent stays in the agents' and the workspace's.
    fn ended(&mut self, scope: ScopeId) {
        if self.accounts.account(&scope).reserved.is_zero() {
            self.accounts.remove(&scope);
            self.own.remove(&scope);
            self.ended.remove(&scope);
        } else {
            self.ended.insert(scope);
        }
    }

    /// A run that had ended goes on: its account stands at what it had spent.
    /// Said once more it changes nothing.
    pub(super) fn reopen(&mut self, scope: ScopeId, limit: Option<Money>, spent: Money) {
        self.ended.remove(&scope);
        let missing = spent.saturating_sub(self.accounts.account(&scope).spent);
        if !missing.is_zero() {
            let reservation = Reservation { scopes: vec![scope.clone()], amount: missing };
            self.commit(&reservation);
            // What was reserved a moment ago covers it.
            let _ = self.accounts.settle(&reservation.scopes, missing, missing);
        }
        match limit {
            Some(limit) => self.limit_own(scope, limit),
            None => self.limit(&[scope]),
        }
    }

    fn intended(&mut self, intent: Intended) {
        if !intent.scopes.iter().any(|scope| matches!(scope, ScopeId::Workspace(name) if *name == self.workspace)) {
            return;
        }
        let id = HoldId { key: intent.key.to_string(), attempt: intent.attempt };
        let reservation = Reservation { scopes: intent.scopes, amount: intent.reserved };
        match self.holds.remove(&id) {
            Some(hold) if hold.reservation == reservation => {}
            hold => {
                if let Some(Hold { reservation, .. }) = hold {
                    self.accounts.release(&reservation.scopes, reservation.amount);
                }
                self.commit(&reservation);
            }
        }
        self.intents.insert(id, reservation);
    }

    fn resolved(&mut self, outcome: &Resolved) {
        let id = HoldId { key: outcome.key.to_string(), attempt: outcome.attempt };
        let Some(Reservation { scopes, amount }) = self.intents.remove(&id) else { return };
        if let Some(overrun) = self.accounts.settle(&scopes, amount, outcome.cost) {
            tracing::warn!(key = id.key, %overrun, "a call cost more than its worst case");
        }
        for scope in scopes {
            if self.ended.contains(&scope) {
                self.ended(scope);
            }
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

    /// Holds a scope to a limit that it brought along.
    pub(super) fn limit_own(&mut self, scope: ScopeId, limit: Money) {
        self.own.insert(scope.clone(), limit);
        self.limit(&[scope]);
    }

    /// A run's own limit holds beside the policy's, never in its place.
    fn limit(&mut self, scopes: &[ScopeId]) {
        for scope in scopes {
            let limits = [self.policy.limit(scope), self.own.get(scope).copied()];
            self.accounts.set_limit(scope.clone(), limits.into_iter().flatten().min());
        }
    }
}
