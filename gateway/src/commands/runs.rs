//! `callboard runs`: the runs that the journal knows, the newest first.

use super::{config, is_fancy, start, stop};
use crate::cli::SystemArgs;

/// Runs shown.
const SHOWN_MAX: usize = 100;

/// Lists the runs.
///
/// # Errors
/// When the system does not start; a server that runs on the same data has the
/// list at `GET /v1/runs`.
pub async fn run(arguments: &SystemArgs) -> anyhow::Result<()> {
    let config = config(arguments)?;
    let system = start(&config, is_fancy(true)).await?;
    let page = system.reports().runs(None, SHOWN_MAX);
    stop(&system).await;
    let page = page?;
    if page.runs.is_empty() {
        println!("no runs yet; callboard run FOLDER makes one");
    }
    for run in page.runs {
        let posts = run.posts.len();
        println!("{}  {:<9}  {}  {}  {} posts  {}", run.id, run.status, run.started, run.workflow, posts, run.cost);
    }
    Ok(())
}
