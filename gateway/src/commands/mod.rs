//! The commands, one a file. Invariant: each ends with its system shut down, or
//! was killed, which costs nothing.

pub mod check;
pub mod costs;
pub mod doctor;
pub mod eval;
pub mod letters;
mod person;
pub mod policy;
pub mod run;
pub mod runs;
pub mod serve;
mod server;
pub mod tell;
pub mod tree;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use actors::world::{World, WorldOptions};
use anyhow::Context;
use policies::document::{self, Error};

use crate::cli::SystemArgs;
use crate::config::Config;
use crate::crash::CrashPoints;
use crate::policy::{Documents, Policies};
use crate::system::System;
use crate::terminal::Downloads;
use crate::wiring;

/// Who asks, on the command line.
const PRINCIPAL: &str = "cli";

/// The configuration, with what the command line says on top.
fn config(arguments: &SystemArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(arguments.config.as_deref()).map_err(|found| faults(&found))?;
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

/// Faults of files as one error, a line each.
fn faults(found: &[Error]) -> anyhow::Error {
    anyhow::anyhow!(document::lines(found))
}

/// The whole system, as configured.
async fn start(config: &Config, crash: &CrashPoints, fancy: bool) -> anyhow::Result<Arc<System>> {
    let documents = Documents::read(config).map_err(|found| faults(&found))?;
    let policies = Policies::of(config, &documents).map_err(|found| faults(&found))?;
    for doubt in policies.doubts(config, &documents) {
        eprintln!("warning: {doubt}");
    }
    // Before anything is fetched or opened, so that a fault costs nothing.
    let missing = config.secrets_missing();
    if !missing.is_empty() {
        return Err(faults(&missing));
    }
    let world = World::real(WorldOptions::default())?;
    let downloads = Downloads::new(fancy);
    let progress = Arc::new(move |at| downloads.show(at));
    let parts = wiring::parts(config, documents, &world, crash, progress).await?;
    let system = System::start(parts).await.context("Callboard cannot start")?;
    if let Some(torn) = &system.opened().torn {
        eprintln!(
            "the journal's tail was torn by a crash and was cut: {} bytes of {}, none of it ever acknowledged",
            torn.bytes, torn.file
        );
    }
    Ok(Arc::new(system))
}

/// Stops the system, within a time.
async fn stop(system: &System) {
    match tokio::time::timeout(wiring::SHUTDOWN_MAX, system.shutdown()).await {
        Ok(report) if report.forced.is_empty() => {}
        Ok(report) => tracing::warn!(?report, "some children did not stop in time and were killed"),
        Err(_) => eprintln!(
            "the shutdown took longer than {:?}; what is left is recovered at the next start",
            wiring::SHUTDOWN_MAX
        ),
    }
}

/// Whether the terminal takes colours and bars.
fn is_fancy(plain: bool) -> bool {
    redraws(plain) && wants_colours()
}

/// Whether the one who looks did not ask for none.
pub(crate) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether what is shown can be drawn over by what comes later.
fn redraws(plain: bool) -> bool {
    !plain && std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A folder's name for people and for ids: absolute where that can be told.
fn absolute(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}
