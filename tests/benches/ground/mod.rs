//! A system on real files whose agents are scripted, for the benches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actors::world::{World, WorldOptions};
use agents::run::Terms;
use agents::workflow::Workflow;
use chaos::simulation::parts;
use gateway::system::{NewRun, Parts, System, run_id};
use policies::approval::ApprovalPolicy;
use policies::span::Span;
use policies::tree::NodePolicy;
use storage::disk::files::FileDisk;
use storage::disk::sim::SimDisk;
use storage::views::sled::SledShelves;

/// What the views may keep in memory, as in production.
pub(crate) const VIEWS_CACHE_BYTES: u64 = 32 << 20;
/// Runs rest soon after they have nothing more to do.
const REST_AFTER: Span = Span::from_millis(500);

pub(crate) fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A system on this folder. The parts are the simulation's, but for clock, disk and views, and what is
/// changed of them.
pub(crate) async fn start(folder: &Path, change: impl FnOnce(&mut Parts)) -> Arc<System> {
    let world = World::real(WorldOptions::default()).unwrap();
    let shelves = SledShelves::open(folder.join("views"), VIEWS_CACHE_BYTES).unwrap();
    let mut parts: Parts = parts(&world, &SimDisk::new()).unwrap();
    parts.disk = Arc::new(FileDisk::new(folder.join("data")));
    parts.shelves = Arc::new(shelves);
    for node in parts.policies.tree.nodes.values_mut() {
        if let NodePolicy::Dynamic(runs) = node {
            runs.rest_after = REST_AFTER;
        }
    }
    change(&mut parts);
    Arc::new(System::start(parts).await.unwrap())
}

pub(crate) async fn accept(system: &System, workflow: &Arc<Workflow>, nth: usize) -> String {
    let id = run_id("bench", &nth.to_string());
    let terms = Terms { approval: ApprovalPolicy::Ask, ..Terms::default() };
    let (workflow, inputs, principal) = (Arc::clone(workflow), BTreeMap::new(), "bench".to_owned());
    system.accept(NewRun { id: id.clone(), workflow, inputs, principal, terms }).await.unwrap();
    id
}

pub(crate) fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
