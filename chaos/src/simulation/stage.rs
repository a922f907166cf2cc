//! One simulated play: a system starts, takes runs on, and stops.

use std::sync::Arc;

use actors::world::World;
use agents::run::{End, Terms};
use agents::workflow::ANNOUNCE;
use gateway::system::{AcceptError, NewRun, StartError, System, run_id};
use serde::{Deserialize, Serialize};
use storage::disk::Disk;
use storage::disk::sim::SimDisk;
use storage::journal::{Seq, Version};

use super::parts::{PartsError, brief, parts, provider};

/// Runs of one play, all under way at once.
const RUNS: u32 = 3;
/// Events read at once for the trace.
const PAGE_MAX: usize = 512;

/// What a play came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// The hash over everything that happened, in its order and time.
    pub trace: String,
    /// Events in the journal.
    pub events: u64,
    /// Runs that finished.
    pub finished: u32,
    /// Simulated milliseconds.
    pub elapsed_ms: u64,
}

/// Why a play did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No runtime.
    #[error("the simulation's runtime cannot be made")]
    Runtime(#[from] std::io::Error),
    /// No parts.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// No system.
    #[error("the simulated system did not start")]
    Start(#[from] StartError),
    /// No run.
    #[error("a run was not accepted")]
    Accept(#[from] AcceptError),
    /// The built-in workflow has a fault.
    #[error("the built-in workflow has a fault: {0}")]
    Workflow(String),
    /// The journal could not be read back.
    #[error("the journal cannot be read back: {0}")]
    Journal(String),
}

/// Plays a seed, in this process: call it once.
///
/// # Errors
/// [`Failure`].
pub fn play(seed: u64) -> Result<Played, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(act(seed))
}

async fn act(seed: u64) -> Result<Played, Failure> {
    let disk = SimDisk::new();
    let world = World::simulated(seed, provider(seed));
    let system = Arc::new(System::start(parts(&world, &disk)?).await?);
    let workflow = system
        .workflow("workflows/announce.toml", ANNOUNCE)
        .map_err(|faults| Failure::Workflow(faults.iter().map(ToString::to_string).collect()))?;
    let mut ids = Vec::new();
    for number in 0..RUNS {
        let id = run_id("simulation", &format!("{seed}/{number}"));
        let new = NewRun {
            id: id.clone(),
            workflow: Arc::clone(&workflow),
            inputs: brief(),
            principal: "simulation".to_owned(),
            terms: Terms::default(),
        };
        system.accept(new).await?;
        ids.push(id);
    }
    let mut finished = 0;
    for id in &ids {
        let mut follower = system.follow(id, Version::NONE);
        while follower.next().await.is_some() {}
        let state = system.state(id).await.map_err(Failure::Journal)?;
        finished += u32::from(matches!(state.end, Some(End::Finished { .. })));
    }
    system.shutdown().await;
    let (hash, events) = read_back(&system, &world, &disk)?;
    let elapsed_ms = u64::try_from(world.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Played { seed, trace: hash, events, finished, elapsed_ms })
}

/// One hash over the trace, every event and the feed.
fn read_back(system: &System, world: &World, disk: &SimDisk) -> Result<(String, u64), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Journal(error.to_string());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&world.trace_hash().unwrap_or_default().to_le_bytes());
    let (mut from, mut count) = (Seq::FIRST, 0);
    loop {
        let events = system.journal().read(from, PAGE_MAX).map_err(|e| failed(&e))?;
        let Some(last) = events.last() else { break };
        from = last.seq.next();
        for event in &events {
            count += 1;
            hasher.update(event.stream.as_str().as_bytes());
            hasher.update(event.kind.as_bytes());
            hasher.update(&event.time.micros().to_le_bytes());
            hasher.update(&event.payload);
        }
    }
    hasher.update(&disk.read("feed.atom").map_err(|e| failed(&e))?);
    Ok((hasher.finalize().to_hex().to_string(), count))
}
