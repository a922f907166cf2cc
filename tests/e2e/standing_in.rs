//! Stand-ins and own breakers in a whole system, simulated: parked workers, operators, restarts, reloads.

use std::sync::Arc;
use std::time::Duration;

use actors::entity::Entity;
use actors::guard::CallOutcome;
use actors::world::World;
use agents::agent::{AgentMsg, Fault};
use agents::run::{End, Event, Intended, Run, Terms};
use agents::workflow::{ANNOUNCE, Action};
use chaos::simulation::{brief, parts, provider};
use gateway::config::Config;
use gateway::policy::{Documents, Policies};
use gateway::system::{Governed, NewRun, ReloadError, Reloaded, System, Wanted, run_id};
use policies::failure::FailureClass;
use policies::fallback::Outage;
use policies::plan::Effect;
use storage::disk::sim::SimDisk;
use storage::journal::Version;
use supervisor::{BreakerWord, NodeState, TreeSnapshot, Word};

/// The built-in policies, with more said of the writer.
fn with(lines: &str) -> Documents {
    let mut documents = Documents::read(&Config::default()).unwrap();
    documents.tree.text = documents.tree.text.replace("[worker.writer]\n", &format!("[worker.writer]\n{lines}"));
    documents
}

async fn start(lines: &str) -> Arc<System> {
    let world = World::simulated(3, provider(3));
    let mut parts = parts(&world, &SimDisk::new()).unwrap();
    let (config, documents) = (Config::default(), with(lines));
    parts.policies = Policies::of(&config, &documents).unwrap();
    parts.governed = Some(Governed { config, documents });
    Arc::new(System::start(parts).await.unwrap())
}

async fn reload(system: &System, lines: &str) -> Result<Reloaded, ReloadError> {
    system.reload(Wanted::Documents(Box::new(with(lines))), false, "test").await
}

async fn begin(system: &Arc<System>) -> String {
    let workflow = system.workflow("workflows/announce.toml", ANNOUNCE).unwrap();
    let id = run_id("test", "one");
    let (inputs, terms) = (brief(), Terms::default());
    system.accept(NewRun { id: id.clone(), workflow, inputs, principal: "test".to_owned(), terms }).await.unwrap();
    id
}

/// Follows a run to its good end.
async fn finish(system: &Arc<System>, id: &str) {
    let mut follower = system.follow(id, Version::NONE);
    while follower.next().await.is_some() {}
    let end = system.state(id).await.unwrap().end.clone();
    assert!(matches!(end, Some(End::Finished { .. })), "{end:?}");
}

/// The calls of the writer that were begun.
async fn writers(system: &System, id: &str) -> Vec<Arc<Intended>> {
    let events = system.run_events(id, Version::NONE, usize::MAX >> 1).await.unwrap();
    let events = events.iter().map(|event| Run::decode(&event.kind, event.schema, &event.payload).unwrap());
    let of_writer = |event| match event {
        Event::Intended(intent) if matches!(&intent.request, Action::Agent(call) if call.agent == "writer") => {
            Some(intent)
        }
        _ => None,
    };
    events.filter_map(of_writer).collect()
}

async fn until(system: &System, holds: impl Fn(&TreeSnapshot) -> bool) {
    /// Of paused time.
    const LOOKS_MAX: usize = 1_000;
    for _ in 0..LOOKS_MAX {
        if holds(&system.picture()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", system.picture());
}

fn state(tree: &TreeSnapshot, name: &str) -> NodeState {
    tree.find(name).unwrap().state
}

fn break_own(system: &System) {
    for _ in 0..2 {
        let permit = system.stage().guards.get("agent/writer").try_admit().unwrap();
        permit.finish(CallOutcome { class: Some(FailureClass::ProviderDown), took: Duration::ZERO });
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn for_a_worker_that_the_policy_parked_its_stand_in_works_until_it_is_resumed() {
    let system = start("fallback = [\"agent/reviewer\"]\non.bug.action = \"park\"\n").await;
    let writer = system.stage().agents["writer"].front().slot().current().unwrap();
    writer.cast(AgentMsg::Poke(Fault::Panic)).unwrap();
    until(&system, |tree| state(tree, "writer") == NodeState::Parked).await;
    let id = begin(&system).await;
    finish(&system, &id).await;
    let calls = writers(&system, &id).await;
    let down = Outage::Down { worker: "writer".to_owned() };
    assert!(!calls.is_empty());
    for call in calls {
        let stand_in = call.stand_in.clone().unwrap();
        assert_eq!((stand_in.name("writer").as_str(), &stand_in.because), ("agent/reviewer", &down));
    }
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn for_a_worker_that_an_operator_paused_nobody_stands_in() {
    let system = start("fallback = [\"agent/reviewer\"]\n").await;
    system.operate("test", "writer", Word::Pause).await.unwrap();
    let id = begin(&system).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(writers(&system, &id).await.is_empty());
    system.operate("test", "writer", Word::Resume).await.unwrap();
    finish(&system, &id).await;
    let calls = writers(&system, &id).await;
    assert!(!calls.is_empty() && calls.iter().all(|call| call.stand_in.is_none()));
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_own_breaker_stays_open_over_a_restart_and_a_reload_and_the_tree_shows_it() {
    let system = start("breaker = { failures = 2, open = \"5m\" }\n").await;
    break_own(&system);
    system.operate("test", "writer", Word::Restart).await.unwrap();
    until(&system, |tree| tree.find("writer").is_some_and(|node| node.generation == 2 && node.state == NodeState::Up))
        .await;
    let shown = || system.picture().find("writer").unwrap().standing.breaker.clone().unwrap();
    assert_eq!((shown().guard.as_str(), shown().state), ("agent/writer", BreakerWord::Open));
    let reloaded = reload(&system, "breaker = { failures = 3, open = \"5m\" }\nrate = \"60/min\"\n").await.unwrap();
    assert!(reloaded.changes.iter().all(|change| change.effect == Effect::InPlace), "{:?}", reloaded.changes);
    assert_eq!(shown().state, BreakerWord::Open);
    assert_eq!(system.stage().guards.get("agent/writer").policy().breaker.failures, 3);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let id = begin(&system).await;
    finish(&system, &id).await;
    assert_eq!(shown().state, BreakerWord::Closed);
    system.shutdown().await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_list_of_stand_ins_is_in_force_from_the_next_attempt_on() {
    let own = "breaker = { failures = 2, open = \"1h\" }\n";
    let system = start(own).await;
    break_own(&system);
    let id = begin(&system).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(writers(&system, &id).await.is_empty(), "it waits for the breaker");
    let told = reload(&system, &format!("{own}fallback = [\"model/lokal\"]\n")).await.unwrap_err().to_string();
    assert!(told.contains("did you mean `model/local`?"), "{told}");
    reload(&system, &format!("{own}fallback = [\"agent/reviewer\"]\n")).await.unwrap();
    finish(&system, &id).await;
    assert!(writers(&system, &id).await.iter().all(|call| call.stand_in.is_some()));
    system.shutdown().await;
}
