//! Budget bugs that others shipped. Each is a scene that a till goes through: a naive one, as those had
//! it, ends with the damage, and the ledger does not.

use async_trait::async_trait;
use futures::future::join_all;
use policies::price::{Bounds, PriceTable};
use policies::tokens::{Tokens, Usage};
use tokio::sync::Mutex;

use super::*;

/// What a budget does around a call.
#[async_trait]
trait Till: Send + Sync {
    /// Whether the call may be made, at so much at most.
    async fn may(&self, key: &str, worst: u64) -> bool;
    /// The call was made.
    async fn ended(&self, key: &str, cost: u64);
    /// The call was not made after all.
    async fn given_up(&self, key: &str);
    /// What it believes to be spent.
    async fn spent(&self) -> u64;
}

/// A till as it is written first: a sum, and what was reserved beside it.
#[derive(Default)]
struct Naive {
    limit: u64,
    /// Whether it reserves before a call, or only looks at what is spent.
    reserves: bool,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    spent: u64,
    reserved: BTreeMap<String, u64>,
    /// What the sums are kept in does not answer.
    is_out: bool,
}

impl Naive {
    fn new(limit: u64, reserves: bool) -> Self {
        Self { limit, reserves, sums: Mutex::default() }
    }
}

#[async_trait]
impl Till for Naive {
    async fn may(&self, key: &str, worst: u64) -> bool {
        let mut sums = self.sums.lock().await;
        if sums.is_out {
            // "A budget must not stop the business."
            return true;
        }
        if !self.reserves {
            return sums.spent < self.limit;
        }
        let fits = sums.spent + sums.reserved.values().sum::<u64>() + worst <= self.limit;
        if fits {
            sums.reserved.insert(key.to_owned(), worst);
        }
        fits
    }

    async fn ended(&self, key: &str, cost: u64) {
        let mut sums = self.sums.lock().await;
        sums.reserved.remove(key);
        sums.spent += cost;
    }

    /// The way out that nobody thought of.
    async fn given_up(&self, _: &str) {}

    async fn spent(&self) -> u64 {
        self.sums.lock().await.spent
    }
}

/// The ledger, with the journal that it is a fold of.
struct Ours {
    ledger: LedgerHandle,
    ground: Mutex<Ground>,
}

impl Ours {
    async fn new(limit: u64) -> (Self, ActorRef<LedgerMsg>) {
        let ground = Ground::new(1);
        let (ledger, actor) = start(&ground, &policy(limit, limit)).await;
        (Self { ledger, ground: Mutex::new(ground) }, actor)
    }
}

#[async_trait]
impl Till for Ours {
    async fn may(&self, key: &str, worst: u64) -> bool {
        let Ok(grant) = self.ledger.reserve(ask(key, "x", worst)).await else { return false };
        let is_intended = intend(&mut *self.ground.lock().await, &grant).await.is_ok();
        settle().await;
        is_intended
    }

    async fn ended(&self, key: &str, cost: u64) {
        resolve(&mut *self.ground.lock().await, key, cost).await;
        settle().await;
    }

    async fn given_up(&self, key: &str) {
        // Once its intent is written, an end of the call is written too, at no cost.
        self.ended(key, 0).await;
    }

    async fn spent(&self) -> u64 {
        workspace(&self.ledger).await.0
    }
}

/// Calls fail and cost nothing; then one asks for all of the budget.
async fn refuses_a_phantom(till: &impl Till) -> bool {
    for call in 0..10 {
        assert!(till.may(&format!("k{call}"), 10).await, "nothing is spent yet");
        till.given_up(&format!("k{call}")).await;
    }
    !till.may("all", 100).await
}

#[tokio::test(start_paused = true)]
async fn reservations_do_not_leak_after_an_error() {
    assert!(refuses_a_phantom(&Naive::new(100, true)).await);
    assert!(!refuses_a_phantom(&Ours::new(100).await.0).await);
}

/// One outcome is told again and again, as whoever tries again under load does.
async fn inflates(till: &impl Till) -> bool {
    assert!(till.may("k", 40).await);
    for _ in 0..3 {
        till.ended("k", 15).await;
    }
    till.spent().await > 15
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_told_often_counts_once() {
    assert!(inflates(&Naive::new(100, true)).await);
    assert!(!inflates(&Ours::new(100).await.0).await);
}

/// Ten ask at once, and each costs all that it may.
async fn overspends_at_once(till: &impl Till, limit: u64) -> bool {
    join_all((0..10).map(|call| async move {
        let key = format!("k{call}");
        if till.may(&key, 40).await {
            tokio::time::sleep(Duration::from_secs(1)).await;
            till.ended(&key, 40).await;
        }
    }))
    .await;
    till.spent().await > limit
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_no_way_around_a_budget() {
    assert!(overspends_at_once(&Naive::new(100, false), 100).await);
    let (ours, _actor) = Ours::new(100).await;
    assert!(!overspends_at_once(&ours, 100).await);
    assert_eq!(ours.spent().await, 80, "two of ten fit");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_allows_nothing() {
    let naive = Naive::new(100, true);
    naive.sums.lock().await.is_out = true;
    assert!(naive.may("k", 1_000).await);
    let (ours, actor) = Ours::new(100).await;
    let grant = ours.ledger.reserve(ask("before", "x", 10)).await.unwrap();
    actor.kill();
    settle().await;
    assert!(!ours.may("k", 10).await);
    // What was granted before goes with whoever granted it, once another one is up.
    let mut ground = ours.ground.lock().await;
    let (_again, _actor) = start(&ground, &policy(100, 100)).await;
    assert!(intend(&mut ground, &grant).await.is_err());
}

/// Whether a long call is made on a cap of $0.45, and what that costs then.
async fn long_call(till: &impl Till, worst: Money) -> u64 {
    let prices = PriceTable::builtin().unwrap();
    let usage = Usage { input: Tokens(1_200_000), ..Usage::default() };
    if till.may("k", worst.nanos()).await {
        till.ended("k", prices.actual("claude-haiku-5-5", &usage).unwrap().nanos()).await;
    }
    till.spent().await
}

#[tokio::test(start_paused = true)]
async fn a_long_context_is_reserved_at_its_own_price() {
    const CAP: u64 = 450_000_000;
    let prices = PriceTable::builtin().unwrap();
    let price = prices.price("claude-haiku-5-5").unwrap();
    let bounds = Bounds { input: Tokens(1_200_000), ..Bounds::default() };
    let naive = long_call(&Naive::new(CAP, true), price.input.cost(bounds.input)).await;
    assert_eq!(Money::from_nanos(naive).to_string(), "$0.60", "on a cap of $0.45");
    let ours = long_call(&Ours::new(CAP).await.0, price.worst_case(&bounds)).await;
    assert_eq!(ours, 0, "it is refused before it is made");
}

/// A client leaves a stream in the middle: the gateway sees no usage, and the provider bills it all.
async fn is_billed_more(till: &impl Till, charged: impl Fn(u64) -> u64) -> bool {
    const BILLED: u64 = 35;
    const RESERVED: u64 = 40;
    assert!(till.may("k", RESERVED).await);
    till.ended("k", charged(RESERVED)).await;
    till.spent().await < BILLED
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_left_is_charged() {
    let by_usage_that_never_came = |_| Usage::default().output.0;
    assert!(is_billed_more(&Naive::new(100, true), by_usage_that_never_came).await);
    // That this is what the conductor tells the ledger of such a call, its own tests show.
    let at_what_was_reserved = |reserved| reserved;
    assert!(!is_billed_more(&Ours::new(100).await.0, at_what_was_reserved).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_snapshot_takes_for_said_is_in_the_journal() {
    /// More than it takes to write an event and a snapshot.
    const LOOKS_MAX: usize = 100_000;
    let mut ground = Ground::new(1);
    let alerts = policies::share::Share::percent(100).into_iter().collect();
    let policy = BudgetPolicy { alerts, ..policy(40, 90) };
    let (ledger, _) = start(&ground, &policy).await;
    let grant = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    // The outcome is the event at which a snapshot is due.
    ground.fill(usize::try_from(9_999 - ground.journal.head().0).unwrap()).await;
    settle().await;
    assert!(ground.snapshots.get("ledger/main", book::FOLD_VERSION).unwrap().is_none());
    resolve(&mut ground, "k", 40).await;
    for _ in 0..LOOKS_MAX {
        tokio::task::yield_now().await;
        if ground.snapshots.get("ledger/main", book::FOLD_VERSION).unwrap().is_some() {
            break;
        }
    }
    assert!(ground.snapshots.get("ledger/main", book::FOLD_VERSION).unwrap().is_some());
    assert_eq!(ground.events().iter().filter(|event| event.kind == ALERTED).count(), 1);
}
