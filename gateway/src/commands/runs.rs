//! `callboard runs`: the runs that the journal knows, the newest first.

use actors::world::{World, WorldOptions};
use anyhow::Context;

use super::config;
use crate::cli::SystemArgs;
use crate::system::Archive;
use crate::wiring;

/// Runs shown.
const SHOWN_MAX: usize = 100;

/// Lists the runs. No agent is made and nothing is fetched for it.
///
/// # Errors
/// When the journal cannot be opened; a server that runs on the same data has the list at
/// `GET /v1/runs`.
pub async fn run(arguments: &SystemArgs) -> anyhow::Result<()> {
    let config = config(arguments)?;
    anyhow::ensure!(config.data.is_dir(), "there is no data folder {}; name it with --data", config.data.display());
    let world = World::real(WorldOptions::default())?;
    let elsewhere = "the runs cannot be read here; a server that uses this folder lists them at /v1/runs";
    let stores = wiring::stores(&config, &world).await.context(elsewhere)?;
    let archive = Archive::open(&world, stores.disk, stores.shelves).await.context(elsewhere)?;
    let page = archive.reports().runs(None, SHOWN_MAX)?;
    if page.runs.is_empty() {
        println!("no runs yet; callboard run FOLDER makes one");
    }
    for run in page.runs {
        let posts = run.posts.len();
        println!("{}  {:<9}  {}  {}  {} posts  {}", run.id, run.status, run.started, run.workflow, posts, run.cost);
    }
    Ok(())
}
