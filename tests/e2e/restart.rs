//! An agent that panics is restarted by policy while other runs go on.

use std::sync::Arc;
use std::time::Duration;

use actors::entity::Entity;
use actors::world::World;
use agents::agent::{AgentMsg, Fault};
use agents::run::{End, Event, Run, Terms};
use agents::workflow::ANNOUNCE;
use chaos::simulation::{brief, parts, provider};
use gateway::system::{NewRun, System, run_id};
use storage::disk::sim::SimDisk;
use storage::journal::Version;

async fn begin(system: &Arc<System>, name: &str) -> String {
    let workflow = system.workflow("workflows/announce.toml", ANNOUNCE).unwrap();
    let id = run_id("test", name);
    let (inputs, terms) = (brief(), Terms::default());
    system.accept(NewRun { id: id.clone(), workflow, inputs, principal: "test".to_owned(), terms }).await.unwrap();
    id
}

async fn events(system: &Arc<System>, id: &str) -> Vec<Event> {
    let mut follower = system.follow(id, Version::NONE);
    let mut events = Vec::new();
    while let Some(event) = follower.next().await {
        events.push(Run::decode(&event.kind, event.schema, &event.payload).unwrap());
    }
    events
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_panicking_agent_is_restarted_and_runs_go_on_after_their_last_outcome() {
    let world = World::simulated(7, provider(7));
    let system = Arc::new(System::start(parts(&world, &SimDisk::new()).unwrap()).await.unwrap());
    let ids = [begin(&system, "one").await, begin(&system, "two").await];
    // Some drafts are under way then, some done.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let writer = system.stage().agents["writer"].front().slot().current().unwrap();
    writer.cast(AgentMsg::Poke(Fault::Panic)).unwrap();
    for id in &ids {
        let events = events(&system, id).await;
        assert!(matches!(system.state(id).await.unwrap().end, Some(End::Finished { .. })));
        let done = |key| {
            let done = events.iter().filter(|e| matches!(e, Event::Resolved(r) if r.key == key && matches!(r.outcome, agents::run::EffectOutcome::Ok { .. })));
            done.count()
        };
        for event in &events {
            if let Event::Intended(intent) = event {
                assert_eq!(done(intent.key.clone()), 1, "each effect has one outcome: {}", intent.path);
            }
        }
    }
    let tree = system.picture();
    assert_eq!(tree.find("writer").unwrap().restarts, 1);
    assert_eq!(tree.find("ledger").unwrap().restarts, 0);
    let report = system.reports().report(&ids[0]).unwrap().unwrap();
    assert_eq!(report.posts.len(), 3);
    system.shutdown().await;
}
