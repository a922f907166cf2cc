//! A million reservations and settlements by clients on two threads, while calls fail, are given up and
//! vanish, and the ledger starts anew: whether any scope is ever over its limit by a nano-dollar, whether
//! anything leaks, and how many there are a second. Beside that, what the ledger's actor takes.
//!
//! `cargo bench -p agents --bench reservations`, with `-- --quick` for a tenth of it. Ends with status 1
//! when a sum is wrong; no time is asserted.
#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock on real threads")]
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]

mod storm;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::latest::Latest;
use actors::world::{World, WorldOptions};
use agents::ledger::{self, HoldId, LedgerActor, LedgerArguments, LedgerHandle, Reserve};
use policies::budget::{BudgetPolicy, ScopeId};
use policies::instant::Timestamp;
use policies::money::Money;
use ractor::Actor;
use storage::disk::sim::SimDisk;
use storage::journal::{INDEX_VERSION, Journal, Options};
use storage::snapshots::Snapshots;
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;
use storm::{Outcome, Plan};

/// The program's own: much is allocated by one thread here and freed by the other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RESERVATIONS: u64 = 1_000_000;
const CLIENTS: u64 = 4_096;
const RESTARTS: u64 = 20;
const THREADS: usize = 2;
/// Tasks that ask the actor, each the next when it has its answer.
const ASKING: u64 = 512;

fn main() -> ExitCode {
    let tenth = if std::env::args().any(|argument| argument == "--quick") { 10 } else { 1 };
    let plan = Plan {
        reservations: RESERVATIONS / tenth,
        clients: CLIENTS,
        restarts: RESTARTS / tenth,
        audited: false,
        seed: 7,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    let calm = Plan { restarts: 0, ..plan };
    let mut is_right = true;
    let mut times = Vec::new();
    for (name, plan) in [
        ("without restarts", calm),
        ("with restarts", plan),
        ("with restarts, audited", Plan { audited: true, ..plan }),
    ] {
        let begun = Instant::now();
        let outcome = runtime.block_on(async move { tokio::spawn(storm::storm(plan)).await.unwrap() });
        let took = begun.elapsed();
        is_right &= show(name, plan, &outcome, took);
        times.push((took, outcome.restarts));
    }
    if let [(calm, _), (stormy, restarts), ..] = times[..] {
        let each = stormy.saturating_sub(calm) / u32::try_from(restarts.max(1)).unwrap_or(u32::MAX);
        println!("a restart takes {each:.0?}: the snapshot, and up to {} events after it", storm::SNAPSHOT_EVERY);
    }
    let (asked, took) = runtime.block_on(async move { tokio::spawn(actor(plan.reservations)).await.unwrap() });
    println!("the actor: {asked} reserved and given back in {took:.2?}, {:.0} a second", rate(asked, took));
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn show(name: &str, plan: Plan, outcome: &Outcome, took: Duration) -> bool {
    let Outcome { granted, refused, settled, failed, given_up, vanished, void, restarts, open_max, .. } = outcome;
    let all = plan.reservations + settled + given_up;
    println!(
        "{name}: {} in {took:.2?}, {:.0} a second; with what was settled and given back {:.0} a second",
        plan.reservations,
        rate(plan.reservations, took),
        rate(all, took)
    );
    println!("  {granted} granted, {refused} refused, {settled} settled, of those {failed} failed");
    println!("  {given_up} given up, {vanished} vanished, {void} void by {restarts} restarts; {open_max} open at most");
    for fault in outcome.faults.iter().take(10) {
        println!("  WRONG: {fault}");
    }
    outcome.faults.is_empty()
}

/// What the actor takes: each asks, and gives back.
async fn actor(reservations: u64) -> (u64, Duration) {
    let world = World::real(WorldOptions::default()).unwrap();
    let disk = SimDisk::new();
    let index = MemoryShelves::new().open("journal", INDEX_VERSION).unwrap();
    let (journal, committer, _) =
        Journal::open(Arc::new(disk.clone()), index, Options::default(), world.now()).unwrap();
    world.spawn("committer", committer.run());
    let handle = LedgerHandle::new();
    let arguments = LedgerArguments {
        workspace: "main".to_owned(),
        policy: Latest::new(BudgetPolicy::builtin().unwrap()).watch(),
        journal,
        recent: Default::default(),
        snapshots: Arc::new(Snapshots::open(Arc::new(disk)).unwrap()),
        factors: handle.factors().clone(),
        hook: None,
    };
    let (actor, _) = Actor::spawn(None, LedgerActor::new(world.clone()), arguments).await.unwrap();
    handle.front().slot().publish(actor);
    let begun = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..ASKING {
        let (handle, now) = (handle.clone(), world.now());
        asking.spawn(async move {
            let mut asked = 0;
            for nth in 0..reservations / ASKING {
                asked += u64::from(ask(&handle, number, nth, now).await);
            }
            asked
        });
    }
    let asked = asking.join_all().await.into_iter().sum();
    (asked, begun.elapsed())
}

async fn ask(handle: &LedgerHandle, number: u64, nth: u64, now: Timestamp) -> bool {
    let run = format!("run-{:08}", (number * 31 + nth) % 2_000);
    let hold = HoldId { key: format!("{run}/s/{number:04}:{nth:032x}").into(), attempt: 1 };
    let scopes = vec![ScopeId::Run(run), ScopeId::Agent("writer".to_owned()), ScopeId::Workspace("main".to_owned())];
    let reserve = Reserve { hold, scopes, amount: Money::from_nanos(10), now, cost_max: None, stood: None };
    let Ok(grant) = handle.reserve(reserve).await else { return false };
    handle.release(grant.granted());
    true
}
