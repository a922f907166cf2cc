//! The `callboard-platform` command: the platform, a process of its own that outlives whoever posts
//! to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actors::world::{World, WorldOptions};
use anyhow::Context;
use clap::Parser;
use gateway::http::at_once;
use tokio::io::BufReader;

use super::server::{Options, app};
use crate::forecast::Forecast;
use crate::plan::Platform;

/// A platform that takes posts over HTTP, and writes each post that it takes
/// into a ledger of its own.
#[derive(Debug, Parser)]
#[command(name = "callboard-platform", version)]
pub struct PlatformArguments {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The ledger's file, one JSON line for each post taken
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// Take a key's second post for the first, and tell what is there (the default)
    #[arg(long = "careful")]
    _careful: bool,
    /// Take each request for a new post, and tell nothing
    #[arg(long, conflicts_with = "_careful")]
    careless: bool,
    /// Milliseconds for each post, half of them before it is taken
    #[arg(long, default_value_t = 20)]
    think_ms: u64,
    /// Take every n-th post and drop the connection without an answer
    #[arg(long, default_value_t = 0)]
    lose_every: u64,
    /// Answer every n-th post with 503 and take nothing
    #[arg(long, default_value_t = 0)]
    refuse_every: u64,
    /// Do to posts what this plan has for a platform. Its time begins at the start; a line `FROM..UNTIL` on the
    /// standard input, in milliseconds, says which part of it goes by from then on
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

/// Runs the command.
pub fn main() -> ExitCode {
    match serve(&PlatformArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the ledger cannot be used, or the address cannot be listened on.
pub fn serve(arguments: &PlatformArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let world = World::real(WorldOptions::default())?;
        let forecast = arguments.plan.as_ref().map(|plan| Forecast::load(plan, world.clone())).transpose()?;
        if let Some(forecast) = forecast.clone() {
            world.spawn("platform.forecast", forecast.listen(BufReader::new(tokio::io::stdin())));
        }
        let options = Options {
            kind: if arguments.careless { Platform::Careless } else { Platform::Careful },
            think: Duration::from_millis(arguments.think_ms),
            lose_every: arguments.lose_every,
            refuse_every: arguments.refuse_every,
            forecast,
        };
        let app = app(options, &arguments.ledger, world)?;
        let listener = tokio::net::TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        println!("http://{}", listener.local_addr()?);
        axum::serve(at_once(listener), app).await.context("the server ended")
    });
    // A read of the standard input may be under way, and would be waited for.
    runtime.shutdown_background();
    served
}
