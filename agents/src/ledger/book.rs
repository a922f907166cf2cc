//! The ledger's book: the fold of intents and outcomes, and the holds beside it.
//! Invariant: what is reserved in the accounts is the sum of the open intents and
//! the holds, so that nothing leaks and nothing counts twice; and a hold belongs to
//! the windows of its grant's moment, which its intent says, so that a book that
//! folds the journal anew has the same sums in the same windows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use policies::budget::{AccountSet, Accounts, Alert, BudgetPolicy, Kept, Limits, Refusal, Reservation, ScopeId, Zone};
use policies::calibration::Calibration;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use storage::journal::{Seq, StreamId, Version};

use super::entry::{BookError, Entry, What};
use super::{Factors, Grant, Granted, HoldId, Reserve, Stood, stream};

/// Raise it when the same events would make another book.
pub(super) const FOLD_VERSION: u32 = 7;

/// What is reserved for one attempt. It is found once for each word about it: a reservation, its intent
/// and its settlement are what a ledger does most.
#[derive(Debug, Default)]
struct Call {
    hold: Option<Hold>,
    intent: Option<Intent>,
}

/// A reservation that no intent in the fold stands for yet.
#[derive(Debug)]
struct Hold {
    reservation: Reservation,
    generation: Version,
    /// Of the newest of its grants.
    number: u64,
    since: Duration,
}

/// A reservation that an intent stands for.
#[derive(Debug)]
struct Intent {
    reservation: Reservation,
    /// Which model is called, and what was counted for it.
    counted: Option<Counted>,
}

/// A model, and how long the input that it is sent was counted to be.
type Counted = (Arc<str>, Tokens);

/// The sums of a workspace, without the actor that owns them: for whoever brings a journal of its own.
pub struct Book {
    workspace: String,
    stream: StreamId,
    rules: Rules,
    accounts: Accounts,
    /// What is open. Looked up, and never walked through in an order that shows.
    calls: HashMap<HoldId, Call, RandomState>,
    /// How many of them are holds.
    holds: usize,
    /// The grants of this generation so far.
    grants: u64,
    /// Holds that go once the fold is there, unless it brings their intents.
    leaving: BTreeSet<(Seq, Granted)>,
    /// Runs that have ended with intents still open.
    ended: BTreeSet<ScopeId>,
    /// Alerts that are to be written; none while the book is behind the journal.
    due: Option<Vec<Alert>>,
    factors: Factors,
    generation: Version,
    at: Seq,
}

/// What every scope may spend.
struct Rules {
    policy: BudgetPolicy,
    /// Limits that going runs brought along.
    own: BTreeMap<ScopeId, Money>,
}

impl Rules {
    /// A run's own limit holds beside the policy's, never in its place.
    fn limits(&self, scope: &ScopeId) -> Limits {
        self.policy.limits(scope).within(self.own.get(scope).copied())
    }
}

/// An open intent as a snapshot names it: the effect's key, the attempt, what was counted for it. There may be
/// very many, so that no word is written that is the same for all.
type KeptIntent = (Arc<str>, u32, Option<Counted>);

/// What is kept of a book; holds die with their ledger.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    accounts: Kept<KeptIntent>,
    own: BTreeMap<ScopeId, Money>,
    ended: BTreeSet<ScopeId>,
    factors: BTreeMap<String, Calibration>,
}

impl Book {
    /// An empty book of that workspace.
    #[must_use]
    pub fn new(workspace: &str, policy: BudgetPolicy) -> Self {
        Self {
            workspace: workspace.to_owned(),
            stream: stream(workspace),
            accounts: Accounts::new(policy.zone.clone()),
            rules: Rules { policy, own: BTreeMap::new() },
            calls: HashMap::default(),
            holds: 0,
            grants: 0,
            factors: Factors::default(),
            leaving: BTreeSet::new(),
            ended: BTreeSet::new(),
            due: None,
            generation: Version::default(),
            at: Seq::default(),
        }
    }

    /// Takes up where a snapshot left off; `false` when it does not read, or was kept in another zone.
    pub fn restore(&mut self, at: Seq, bytes: &[u8]) -> bool {
        let Ok(kept) = serde_json::from_slice::<Snapshot>(bytes) else { return false };
        let Self { rules, .. } = self;
        let zone: Zone = rules.policy.zone.clone();
        rules.own = kept.own;
        let Some((accounts, intents)) = Accounts::restore(kept.accounts, &zone, |scope| rules.limits(scope)) else {
            rules.own = BTreeMap::new();
            return false;
        };
        self.accounts = accounts;
        let intents = intents.into_iter().map(|((key, attempt, counted), reservation)| {
            (HoldId { key, attempt }, Call { hold: None, intent: Some(Intent { reservation, counted }) })
        });
        self.calls = intents.collect();
        self.holds = 0;
        self.factors.set(kept.factors);
        self.at = at;
        // What was open in their accounts may have been holds, which are not kept.
        kept.ended.into_iter().for_each(|scope| self.ended(scope));
        true
    }

    /// What a snapshot keeps.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn keep(&self) -> Result<Vec<u8>, serde_json::Error> {
        let accounts = self.accounts.without(self.held().map(|(_, hold)| &hold.reservation));
        let intents = self.calls.iter().filter_map(|(id, call)| Some((id, call.intent.as_ref()?)));
        let mut intents: Vec<_> = intents.collect();
        intents.sort_unstable_by_key(|(id, _)| *id);
        let kept = |(id, intent): &(&HoldId, &Intent)| (Arc::clone(&id.key), id.attempt, intent.counted.clone());
        let accounts = accounts.keep(intents.iter().map(|entry| (kept(entry), &entry.1.reservation)));
        let (own, ended) = (self.rules.own.clone(), self.ended.clone());
        serde_json::to_vec(&Snapshot { accounts, own, ended, factors: self.factors.all() })
    }

    /// What is seen of models' bills goes there from now on.
    pub fn share(&mut self, factors: Factors) {
        factors.set(self.factors.all());
        self.factors = factors;
    }

    /// The last event folded.
    #[must_use]
    pub fn at(&self) -> Seq {
        self.at
    }

    /// The sums, with the windows of `now`.
    pub fn accounts(&mut self, now: Timestamp) -> &Accounts {
        self.accounts.advance(now);
        &self.accounts
    }

    /// Holds every scope to the limits of another policy from now on. What is spent and reserved stays,
    /// and so do the days and months that it was counted in.
    pub fn govern(&mut self, policy: BudgetPolicy) {
        self.rules.policy = policy;
        let Self { accounts, rules, .. } = self;
        accounts.govern(|scope| rules.limits(scope));
        self.look_everywhere();
    }

    /// Grants are of this generation from now on. Holds of older ones go once the
    /// fold reaches its opening, behind which no intent of theirs can follow.
    pub fn open(&mut self, generation: Version) {
        self.generation = generation;
    }

    /// The book is where the journal is: what it comes to from now on is told.
    pub fn go_live(&mut self) {
        self.due.get_or_insert_default();
        self.look_everywhere();
    }

    fn look_everywhere(&mut self) {
        if let Some(due) = &mut self.due {
            due.extend(self.accounts.reached_anywhere(&self.rules.policy.alerts));
        }
    }

    fn look(&mut self, accounts: &AccountSet) {
        if let Some(due) = &mut self.due {
            due.extend(self.accounts.reached(accounts, &self.rules.policy.alerts));
        }
    }

    /// The alerts that are to be written; whoever takes them writes them or gives them back.
    pub fn take_alerts(&mut self) -> Vec<Alert> {
        self.due.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether there are alerts that are to be written.
    #[must_use]
    pub fn has_alerts(&self) -> bool {
        self.due.as_ref().is_some_and(|due| !due.is_empty())
    }

    /// These could not be written now.
    pub fn give_back_alerts(&mut self, alerts: Vec<Alert>) {
        if let Some(due) = &mut self.due {
            due.splice(..0, alerts);
        }
    }

    /// The ledger's stream, and the version at which its word counts.
    #[must_use]
    pub fn condition(&self) -> (StreamId, Version) {
        (self.stream.clone(), self.generation)
    }

    /// Holds the amount in every scope or in none. `elapsed` is how old holds are told by, `now` decides
    /// the windows.
    ///
    /// # Errors
    /// [`Refusal`], and nothing is held.
    pub fn reserve(&mut self, reserve: Reserve, elapsed: Duration, now: Timestamp) -> Result<Grant, Refusal> {
        let run = reserve.run().cloned();
        let Reserve { hold, scopes, amount, now: asked, cost_max, .. } = reserve;
        self.grants += 1;
        if let Some(at) = self.repeated(&hold, &scopes, amount) {
            return Ok(self.grant(hold, scopes, amount, at));
        }
        self.free(&hold);
        // What is freed may have been all that there was in the run's account, which is gone then.
        if let Some(run) = run {
            self.hold_to(&run, cost_max);
        }
        let accounts = self.accounts_of(&scopes);
        match self.accounts.reserve(accounts, amount, now.max(asked)) {
            Ok(reservation) => {
                let at = reservation.at();
                let (generation, number) = (self.generation, self.grants);
                let kept = Hold { reservation, generation, number, since: elapsed };
                self.calls.entry(hold.clone()).or_default().hold = Some(kept);
                self.holds += 1;
                Ok(self.grant(hold, scopes, amount, at))
            }
            Err(refusal) => {
                let alert = self.accounts.refused(&refusal, &self.rules.policy.alerts);
                self.due.iter_mut().for_each(|due| due.extend(alert.clone()));
                Err(refusal)
            }
        }
    }

    fn grant(&self, hold: HoldId, scopes: Vec<ScopeId>, reserved: Money, at: Timestamp) -> Grant {
        let (stream, generation, number) = (self.stream.clone(), self.generation, self.grants);
        Grant { hold, scopes, reserved, at, stream, generation, number }
    }

    /// When the same was granted already by this generation; it belongs to the newest grant from now on, so
    /// that an older one that is given back late takes nothing from it.
    fn repeated(&mut self, hold: &HoldId, scopes: &[ScopeId], amount: Money) -> Option<Timestamp> {
        let held = self.calls.get_mut(hold)?.hold.as_mut().filter(|held| held.generation == self.generation)?;
        let is_same = held.reservation.amount() == amount && self.accounts.are(held.reservation.accounts(), scopes);
        is_same.then(|| {
            held.number = self.grants;
            held.reservation.at()
        })
    }

    fn accounts_of(&mut self, scopes: &[ScopeId]) -> AccountSet {
        let Self { accounts, rules, .. } = self;
        accounts.open(scopes, |scope| rules.limits(scope))
    }

    /// Gives a hold back, once the fold has reached `head`: should its intent be
    /// in the journal all the same, that takes its place first.
    pub fn release(&mut self, granted: Granted, head: Seq) {
        self.leaving.insert((head, granted));
        self.let_go();
    }

    fn let_go(&mut self) {
        while self.leaving.first().is_some_and(|(head, _)| *head <= self.at) {
            let Some((_, Granted { hold, generation, number })) = self.leaving.pop_first() else { return };
            let held = self.calls.get(&hold).and_then(|call| call.hold.as_ref());
            if held.is_some_and(|held| (held.generation, held.number) == (generation, number)) {
                self.free(&hold);
            }
        }
    }

    fn free(&mut self, id: &HoldId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some(hold) = call.hold.take() else { return };
        self.holds -= 1;
        if call.intent.is_none() {
            self.calls.remove(id);
        }
        let accounts = hold.reservation.accounts().clone();
        self.accounts.release(hold.reservation);
        self.close_ended(&accounts);
        self.close_unused(&accounts);
    }

    /// Runs that have nothing in their accounts may never come to be: what their orders were held for is not
    /// written. Their limits go too, since each question brings them along.
    fn close_unused(&mut self, accounts: &AccountSet) {
        let runs = self.accounts.scopes(accounts).into_iter().filter(|scope| matches!(scope, ScopeId::Run(_)));
        for run in runs {
            if self.accounts.close_unused(&run) {
                self.rules.own.remove(&run);
            }
        }
    }

    /// When the oldest hold was made.
    #[must_use]
    pub fn oldest_hold(&self) -> Option<Duration> {
        self.held().map(|(_, hold)| hold.since).min()
    }

    /// Whether there are holds.
    #[must_use]
    pub fn has_holds(&self) -> bool {
        self.holds > 0
    }

    fn held(&self) -> impl Iterator<Item = (&HoldId, &Hold)> {
        self.calls.iter().filter_map(|(id, call)| Some((id, call.hold.as_ref()?)))
    }

    /// Folds one event in.
    ///
    /// # Errors
    /// [`BookError::Fenced`] when another ledger has opened.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), BookError> {
        match &entry.what {
            What::Opened(version) => self.opened(*version)?,
            What::Alerted(alert) => self.accounts.told(alert),
            What::Limited { run, limit } => self.limit_own(run.clone(), *limit),
            What::Intended { hold, scopes, amount, at, call } => {
                self.intended(hold, scopes, (*amount, *at), call.as_ref());
            }
            What::Resolved { hold, cost, input } => self.resolved(hold, *cost, *input),
            What::Ended { run } => self.ended(run.clone()),
            What::Reopened { run, stood } => self.reopen(run.clone(), *stood),
            What::Else => {}
        }
        self.at = entry.seq;
        self.let_go();
        Ok(())
    }

    fn opened(&mut self, version: Version) -> Result<(), BookError> {
        if version > self.generation && self.generation != Version::default() {
            return Err(BookError::Fenced(self.workspace.clone()));
        }
        let stale = self.held().filter(|(_, hold)| hold.generation < version);
        let stale: BTreeSet<HoldId> = stale.map(|(id, _)| id.clone()).collect();
        for id in &stale {
            tracing::warn!(
                key = &*id.key,
                attempt = id.attempt,
                "a hold was granted and its intent never written; it is released"
            );
            self.free(id);
        }
        Ok(())
    }

    /// A run's account goes when the run has ended and owes nothing: what it
    /// spent stays in the agents' and the workspace's.
    fn ended(&mut self, scope: ScopeId) {
        if self.accounts.close(&scope) {
            self.rules.own.remove(&scope);
            self.ended.remove(&scope);
        } else {
            self.ended.insert(scope);
        }
    }

    /// A run that had ended goes on: its account stands at what it had spent. In the windows in which it
    /// ended all of that is counted, since nobody knows how much of it was spent in them.
    /// Said once more it changes nothing.
    pub fn reopen(&mut self, scope: ScopeId, stood: Stood) {
        self.ended.remove(&scope);
        let missing = stood.spent.saturating_sub(self.accounts.account(&scope).spent);
        if !missing.is_zero() {
            let accounts = self.accounts_of(std::slice::from_ref(&scope));
            let reservation = self.accounts.commit(accounts, missing, stood.ended.unwrap_or(Timestamp::EPOCH));
            // It is reserved in full, so there is no overrun; and it was told of when it was spent.
            let _ = self.accounts.settle(reservation, missing);
        }
        if let Some(limit) = stood.limit {
            self.limit_own(scope, limit);
        }
    }

    fn intended(
        &mut self,
        id: &HoldId,
        scopes: &[ScopeId],
        (amount, at): (Money, Timestamp),
        counted: Option<&Counted>,
    ) {
        if !scopes.iter().any(|scope| matches!(scope, ScopeId::Workspace(name) if *name == self.workspace)) {
            return;
        }
        let Self { accounts, rules, calls, .. } = self;
        let call = calls.entry(id.clone()).or_default();
        let held = call.hold.take().map(|hold| hold.reservation);
        self.holds -= usize::from(held.is_some());
        let is_held =
            |held: &Reservation| held.amount() == amount && held.at() == at && accounts.are(held.accounts(), scopes);
        let reservation = match held {
            Some(held) if is_held(&held) => held,
            other => {
                if let Some(held) = other {
                    accounts.release(held);
                }
                let set = accounts.open(scopes, |scope| rules.limits(scope));
                accounts.commit(set, amount, at)
            }
        };
        // A second intent of one attempt would be a fault of the run's; nothing leaks for it here.
        if let Some(before) = call.intent.replace(Intent { reservation, counted: counted.cloned() }) {
            accounts.release(before.reservation);
        }
    }

    fn resolved(&mut self, id: &HoldId, cost: Money, input: Tokens) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some(intent) = call.intent.take() else { return };
        if call.hold.is_none() {
            self.calls.remove(id);
        }
        if let Some((model, counted)) = &intent.counted {
            self.factors.observe(model, *counted, input);
        }
        let settled = self.accounts.settle(intent.reservation, cost);
        if let Some(overrun) = settled.overrun {
            tracing::warn!(key = &*id.key, %overrun, "a call cost more than its worst case");
        }
        self.look(&settled.accounts);
        self.close_ended(&settled.accounts);
    }

    /// Runs that had ended with something open in their accounts may owe nothing now.
    fn close_ended(&mut self, accounts: &AccountSet) {
        if self.ended.is_empty() {
            return;
        }
        for scope in self.accounts.scopes(accounts) {
            if self.ended.contains(&scope) {
                self.ended(scope);
            }
        }
    }

    /// Holds a run to the limit that it says is its own, and to none where it says so: another order may have had
    /// its name that was never taken.
    fn hold_to(&mut self, run: &ScopeId, limit: Option<Money>) {
        match limit {
            known if known == self.rules.own.get(run).copied() => {}
            Some(limit) => self.limit_own(run.clone(), limit),
            None => {
                self.rules.own.remove(run);
                self.accounts.set_limits(run, self.rules.limits(run));
            }
        }
    }

    /// Holds a scope to a limit that it brought along.
    pub fn limit_own(&mut self, scope: ScopeId, limit: Money) {
        self.rules.own.insert(scope.clone(), limit);
        self.accounts.set_limits(&scope, self.rules.limits(&scope));
    }
}
