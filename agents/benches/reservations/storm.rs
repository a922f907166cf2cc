//! Very many clients that reserve and settle at once, while calls fail, are given up, vanish and the
//! ledger starts anew; used by the bench and by a test. Invariant: the audit keeps sums of its own, from
//! what was granted and what came of it, and takes nothing from the book.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use policies::budget::{BudgetPolicy, Limits, ScopeId, Window};
use policies::instant::Timestamp;
use policies::money::Money;
use policies::tokens::Tokens;
use storage::journal::{Seq, Version};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::ledger::{Book, Entry, Grant, Granted, HoldId, Reserve, What};

const WORKSPACE: &str = "main";
const AGENTS: u64 = 8;
const RUNS: u64 = 2_000;
/// The most that one call may cost, in nano-dollars.
const AMOUNT_MAX: u64 = 1_000;
/// The most calls that one client has open.
const HAND_MAX: usize = 64;
/// Asks that wait for the owner of the book, and that it takes at once.
const QUEUE: usize = 8_192;
/// What the clock goes on by with each reservation, so that hours and days pass.
const TICK: Duration = Duration::from_millis(10);
/// Events between snapshots.
pub(crate) const SNAPSHOT_EVERY: u64 = 200_000;
/// The audit compares every sum with the book's each so many reservations.
const COMPARE_EVERY: u64 = 5_000;

/// What is to happen.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// How often money is asked for.
    pub(crate) reservations: u64,
    /// By how many clients at once.
    pub(crate) clients: u64,
    /// How often the ledger starts anew.
    pub(crate) restarts: u64,
    /// Whether all sums are audited at every step.
    pub(crate) audited: bool,
    /// What chance follows from.
    pub(crate) seed: u64,
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) settled: u64,
    pub(crate) failed: u64,
    pub(crate) given_up: u64,
    pub(crate) vanished: u64,
    /// Grants of a ledger that was dead before their intent came.
    pub(crate) void: u64,
    pub(crate) restarts: u64,
    /// The most calls that were open at once.
    pub(crate) open_max: usize,
    /// What was found wrong.
    pub(crate) faults: Vec<String>,
}

enum Ask {
    Reserve { reserve: Reserve, reply: oneshot::Sender<Option<Grant>> },
    Release(Granted),
    Intend { grant: Grant, reply: oneshot::Sender<bool> },
    Resolve { hold: HoldId, cost: Money },
}

/// SplitMix64: one seed, one storm for each client.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Limits that refuse a good part of what is asked, in every scope and in windows.
fn policy(plan: &Plan) -> BudgetPolicy {
    let nanos = Money::from_nanos;
    // About half of what is reserved is spent.
    let likely = plan.reservations * AMOUNT_MAX / 4;
    let workspace = Limits { hour: Some(nanos(90_000_000)), ..Limits::total(nanos(likely)) };
    let agent = Limits { day: Some(nanos(likely / AGENTS)), ..Limits::total(nanos(likely)) };
    BudgetPolicy { workspace, agent, run: Limits::total(nanos(likely / RUNS)), ..BudgetPolicy::default() }
}

/// Carries the plan out, on the runtime that it is called on.
pub(crate) async fn storm(plan: Plan) -> Outcome {
    let (asks, queue) = mpsc::channel(QUEUE);
    let mut clients = JoinSet::new();
    for client in 0..plan.clients {
        let share = plan.reservations / plan.clients + u64::from(client < plan.reservations % plan.clients);
        clients.spawn(self::client(client, share, Chance(plan.seed ^ client.wrapping_mul(AMOUNT_MAX)), asks.clone()));
    }
    drop(asks);
    let mut owner = JoinSet::new();
    owner.spawn(Owner::new(plan).serve(queue));
    let mut outcome = Outcome::default();
    while let Some(ended) = clients.join_next().await {
        match ended {
            Ok((failed, given_up, vanished)) => {
                outcome.failed += failed;
                outcome.given_up += given_up;
                outcome.vanished += vanished;
            }
            Err(error) => outcome.faults.push(error.to_string()),
        }
    }
    match owner.join_next().await {
        Some(Ok(counted)) => Outcome {
            failed: outcome.failed,
            given_up: outcome.given_up,
            vanished: outcome.vanished,
            faults: [outcome.faults, counted.faults].concat(),
            ..counted
        },
        _ => Outcome { faults: vec!["the owner of the book ended".to_owned()], ..outcome },
    }
}

/// One who makes calls; how many of them failed, were given up, and vanished.
async fn client(number: u64, share: u64, mut chance: Chance, asks: mpsc::Sender<Ask>) -> (u64, u64, u64) {
    let mut hand: Vec<Grant> = Vec::new();
    let (mut failed, mut given_up, mut vanished) = (0, 0, 0);
    let agents: Vec<ScopeId> = (0..AGENTS).map(|agent| ScopeId::Agent(format!("agent-{agent}"))).collect();
    for nth in 0..share {
        let run = chance.below(RUNS);
        let hold = HoldId { key: format!("run-{run:08}/s/{number:04}:{nth:032x}").into(), attempt: 1 };
        let agent = agents[usize::try_from(chance.below(AGENTS)).unwrap_or(0)].clone();
        let scopes = vec![ScopeId::Run(format!("run-{run:08}")), agent, ScopeId::Workspace(WORKSPACE.to_owned())];
        let amount = Money::from_nanos(chance.below(AMOUNT_MAX + 1));
        let (reply, answer) = oneshot::channel();
        let reserve = Reserve { hold, scopes, amount, now: Timestamp::EPOCH, cost_max: None, stood: None };
        if asks.send(Ask::Reserve { reserve, reply }).await.is_err() {
            break;
        }
        let Ok(Some(grant)) = answer.await else { continue };
        match chance.below(100) {
            // The caller goes away without a word.
            0..=1 => vanished += 1,
            2..=9 => {
                given_up += 1;
                let _ = asks.send(Ask::Release(grant.granted())).await;
            }
            _ => {
                let (reply, answer) = oneshot::channel();
                let _ = asks.send(Ask::Intend { grant: grant.clone(), reply }).await;
                if answer.await == Ok(true) {
                    hand.push(grant);
                }
            }
        }
        while hand.len() >= HAND_MAX || (!hand.is_empty() && chance.below(8) == 0) {
            let at = usize::try_from(chance.below(hand.len() as u64)).unwrap_or(0);
            failed += resolve(&asks, &mut chance, hand.swap_remove(at)).await;
        }
    }
    for grant in hand {
        failed += resolve(&asks, &mut chance, grant).await;
    }
    (failed, given_up, vanished)
}

/// Ends a call: it may have cost less, nothing, or all that was reserved; whether it failed.
async fn resolve(asks: &mpsc::Sender<Ask>, chance: &mut Chance, grant: Grant) -> u64 {
    let reserved = grant.reserved.nanos();
    let (cost, failed) = match chance.below(10) {
        0 => (0, 1),
        // Nobody knows what came of it.
        1 => (reserved, 1),
        _ => (chance.below(reserved + 1), 0),
    };
    let _ = asks.send(Ask::Resolve { hold: grant.hold, cost: Money::from_nanos(cost) }).await;
    failed
}

/// Who has the book and the journal that it is a fold of.
struct Owner {
    plan: Plan,
    policy: BudgetPolicy,
    book: Book,
    now: Timestamp,
    asked: u64,
    events: u64,
    generation: Version,
    snapshot: Option<(Seq, Vec<u8>)>,
    /// Since the snapshot.
    journal: Vec<Entry>,
    audit: Option<Audit>,
    model: Arc<str>,
    open: usize,
    outcome: Outcome,
}

impl Owner {
    fn new(plan: Plan) -> Self {
        let policy = policy(&plan);
        let mut owner = Self {
            plan,
            book: Book::new(WORKSPACE, policy.clone()),
            now: Timestamp::from_micros(1_790_000_000_000_000),
            asked: 0,
            events: 0,
            generation: Version::default(),
            snapshot: None,
            journal: Vec::new(),
            audit: plan.audited.then(|| Audit { policy: policy.clone(), ..Audit::default() }),
            policy,
            model: "model".into(),
            open: 0,
            outcome: Outcome::default(),
        };
        owner.open_anew();
        owner
    }

    async fn serve(mut self, mut queue: mpsc::Receiver<Ask>) -> Outcome {
        let mut asks = Vec::with_capacity(QUEUE);
        while queue.recv_many(&mut asks, QUEUE).await > 0 {
            for ask in asks.drain(..) {
                self.answer(ask);
            }
        }
        // What vanished is freed by a new generation, as in the ledger after a minute.
        self.start_anew();
        self.close()
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Reserve { reserve, reply } => {
                self.asked += 1;
                self.now = self.now.plus(TICK);
                let Plan { reservations, restarts, .. } = self.plan;
                if self.asked < reservations && self.asked.is_multiple_of((reservations / (restarts + 1)).max(1)) {
                    self.start_anew();
                }
                let granted = self.book.reserve(reserve, Duration::ZERO, self.now).ok();
                match &granted {
                    Some(grant) => {
                        self.outcome.granted += 1;
                        self.audit.iter_mut().for_each(|audit| audit.grant(grant));
                    }
                    None => self.outcome.refused += 1,
                }
                if self.asked.is_multiple_of(COMPARE_EVERY) {
                    self.compare();
                }
                // A client that is gone is one that vanished.
                let _ = reply.send(granted);
            }
            Ask::Release(granted) => {
                self.audit.iter_mut().for_each(|audit| audit.release(&granted.hold));
                self.book.release(granted, Seq(self.events));
            }
            Ask::Intend { grant, reply } => {
                // As the journal refuses what a dead ledger granted.
                let is_taken = grant.generation == self.generation;
                if is_taken {
                    self.open += 1;
                    self.outcome.open_max = self.outcome.open_max.max(self.open);
                    self.audit.iter_mut().for_each(|audit| audit.intend(&grant.hold));
                    let Grant { hold, scopes, reserved: amount, at, .. } = grant;
                    let call = Some((Arc::clone(&self.model), Tokens(100)));
                    self.append(What::Intended { hold, scopes, amount, at, call });
                } else {
                    self.outcome.void += 1;
                }
                let _ = reply.send(is_taken);
            }
            Ask::Resolve { hold, cost } => {
                self.open -= 1;
                self.outcome.settled += 1;
                self.audit.iter_mut().for_each(|audit| audit.settle(&hold, cost));
                self.append(What::Resolved { hold, cost, input: Tokens(90) });
            }
        }
    }

    fn append(&mut self, what: What) {
        self.events += 1;
        let entry = Entry { seq: Seq(self.events), what };
        if let Err(error) = self.book.fold(&entry) {
            self.outcome.faults.push(error.to_string());
        }
        self.journal.push(entry);
        if self.events.is_multiple_of(SNAPSHOT_EVERY) {
            match self.book.keep() {
                Ok(bytes) => self.snapshot = Some((Seq(self.events), bytes)),
                Err(error) => self.outcome.faults.push(error.to_string()),
            }
            self.journal.clear();
        }
    }

    /// The ledger dies, with all its holds, and another folds what the journal has.
    fn start_anew(&mut self) {
        self.outcome.restarts += 1;
        self.book = Book::new(WORKSPACE, self.policy.clone());
        if let Some((at, bytes)) = &self.snapshot
            && !self.book.restore(*at, bytes)
        {
            self.outcome.faults.push("the snapshot was not taken up".to_owned());
        }
        for entry in &self.journal {
            if let Err(error) = self.book.fold(entry) {
                self.outcome.faults.push(error.to_string());
            }
        }
        self.audit.iter_mut().for_each(Audit::forget_holds);
        self.open_anew();
        self.compare();
    }

    fn open_anew(&mut self) {
        self.generation = Version(self.generation.0 + 1);
        self.book.open(self.generation);
        self.append(What::Opened(self.generation));
        self.book.go_live();
    }

    fn compare(&mut self) {
        let Some(audit) = &mut self.audit else { return };
        let accounts = self.book.accounts(self.now);
        for (scope, sums) in &audit.totals {
            let account = accounts.account(scope);
            if (account.spent.nanos(), account.reserved.nanos()) != *sums {
                audit.faults.push(format!("{scope}: {account:?} in the book, {sums:?} in the audit"));
            }
        }
    }

    fn close(mut self) -> Outcome {
        let accounts = self.book.accounts(self.now);
        for (scope, account) in accounts.iter() {
            if !account.reserved.is_zero() {
                self.outcome.faults.push(format!("{scope} leaks {}", account.reserved));
            }
        }
        self.outcome.faults.extend(self.audit.into_iter().flat_map(|audit| audit.faults));
        self.outcome
    }
}

/// The sums of a second book-keeper: spent and reserved.
#[derive(Default)]
struct Audit {
    policy: BudgetPolicy,
    totals: BTreeMap<ScopeId, (u64, u64)>,
    windows: BTreeMap<(ScopeId, Window, Timestamp), (u64, u64)>,
    held: HashMap<HoldId, Known>,
    intended: HashMap<HoldId, Known>,
    faults: Vec<String>,
}

struct Known {
    scopes: Arc<[ScopeId]>,
    amount: u64,
    at: Timestamp,
}

impl Audit {
    fn grant(&mut self, grant: &Grant) {
        let known = Known { scopes: grant.scopes.clone().into(), amount: grant.reserved.nanos(), at: grant.at };
        self.change(&known, |sums| sums.1 += known.amount);
        self.held.insert(grant.hold.clone(), known);
    }

    fn release(&mut self, hold: &HoldId) {
        if let Some(known) = self.held.remove(hold) {
            self.change(&known, |sums| sums.1 -= known.amount);
        }
    }

    fn intend(&mut self, hold: &HoldId) {
        match self.held.remove(hold) {
            Some(known) => drop(self.intended.insert(hold.clone(), known)),
            None => self.faults.push(format!("{} was intended and never granted", hold.key)),
        }
    }

    fn settle(&mut self, hold: &HoldId, cost: Money) {
        match self.intended.remove(hold) {
            Some(known) => self.change(&known, |sums| {
                sums.1 -= known.amount;
                sums.0 += cost.nanos();
            }),
            None => self.faults.push(format!("{} was settled and never intended", hold.key)),
        }
    }

    fn forget_holds(&mut self) {
        for known in std::mem::take(&mut self.held).into_values() {
            self.change(&known, |sums| sums.1 -= known.amount);
        }
    }

    /// Changes the sums, and looks whether any is over its limit now.
    fn change(&mut self, known: &Known, change: impl Fn(&mut (u64, u64))) {
        for scope in &*known.scopes {
            let limits = self.policy.limits(scope);
            let total = self.totals.entry(scope.clone()).or_default();
            change(total);
            let mut found = vec![(limits.total, *total)];
            for window in [Window::Hour, Window::Day] {
                if let Some(limit) = limits.of(Some(window)) {
                    let start = window.around(known.at, &self.policy.zone).start;
                    let sums = self.windows.entry((scope.clone(), window, start)).or_default();
                    change(sums);
                    found.push((Some(limit), *sums));
                }
            }
            for (limit, (spent, reserved)) in found {
                if limit.is_some_and(|limit| spent + reserved > limit.nanos()) {
                    self.faults.push(format!("{scope} has {spent} spent and {reserved} reserved, over {limit:?}"));
                }
            }
        }
    }
}
