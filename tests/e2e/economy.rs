//! What a run costs the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::world::World;
use agents::run::{End, Terms};
use chaos::simulation::{parts, provider};
use gateway::system::{NewRun, System, run_id};
use storage::disk::sim::SimDisk;
use storage::journal::Version;

/// Steps of the run.
const STEPS: usize = 10;
/// Syncs that it may cost: one for each outcome, one for its acceptance, and one spare.
const SYNCS_MAX: u64 = 12;

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn ten_steps_alone_cost_at_most_twelve_syncs() {
    let world = World::simulated(1, provider(1));
    let system = Arc::new(System::start(parts(&world, &SimDisk::new()).unwrap()).await.unwrap());
    let steps: Vec<String> = (0..STEPS)
        .map(|step| format!("[[steps]]\nid = \"s{step}\"\nkind = \"tool\"\ntool = \"context.search\"\nwith = {{ query = \"'nothing'\" }}\n"))
        .collect();
    let text = format!("name = \"idle\"\ndescription = \"Does nothing, ten times.\"\n\n{}", steps.join("\n"));
    let workflow = system.workflow("idle.toml", &text).unwrap();
    let id = run_id("test", "idle");
    let before = system.journal().syncs();
    let (inputs, terms) = (BTreeMap::new(), Terms::default());
    system.accept(NewRun { id: id.clone(), workflow, inputs, principal: "test".to_owned(), terms }).await.unwrap();
    let mut follower = system.follow(&id, Version::NONE);
    while follower.next().await.is_some() {}
    let state = system.state(&id).await.unwrap();
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    assert_eq!(state.outcomes.len(), STEPS);
    let syncs = system.journal().syncs() - before;
    assert!(syncs <= SYNCS_MAX, "{syncs} syncs");
    system.shutdown().await;
}
