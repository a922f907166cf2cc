//! The `callboard-provider` command: the scripted model server, a process of its
//! own that outlives whoever calls it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actors::world::{World, WorldOptions};
use anyhow::Context;
use clap::Parser;
use gateway::http::at_once;
use tokio::io::BufReader;

use super::server::{Options, Prices, app};
use super::storm::Storm;
use crate::forecast::Forecast;
use crate::ledger::Ledger;

/// A model server that speaks chat completions and Anthropic's Messages, answers from a
/// script, and writes each call that it serves, with its bill, into a ledger of its own.
#[derive(Debug, Parser)]
#[command(name = "callboard-provider", version)]
pub struct ProviderArguments {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The ledger's file, one JSON line for each call served
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// Milliseconds before each answer
    #[arg(long, default_value_t = 20)]
    think_ms: u64,
    /// Answer every n-th call with 429
    #[arg(long, default_value_t = 0)]
    refuse_every: u64,
    /// Answer every call with 503 while this file is there
    #[arg(long, value_name = "FILE")]
    down_while: Option<PathBuf>,
    /// Answer every call with 401 that does not show the key that this file holds
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Refuse, stall and cut off calls by this seed: 15 of 100 get 429, 10 get 529, 8 half a
    /// reply and silence, 10 half a reply and a broken connection
    #[arg(long, value_name = "SEED")]
    storm: Option<u64>,
    /// Do to calls what this plan has for a provider. Its time begins at the start; a line `FROM..UNTIL` on the
    /// standard input, in milliseconds, says which part of it goes by from then on
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Billionths of a dollar billed for each token read
    #[arg(long, default_value_t = 0, value_name = "NANODOLLARS")]
    input_price: u64,
    /// Billionths of a dollar billed for each token written
    #[arg(long, default_value_t = 0, value_name = "NANODOLLARS")]
    output_price: u64,
}

/// Runs the command.
pub fn main() -> ExitCode {
    match serve(&ProviderArguments::parse()) {
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
/// When the ledger cannot be opened, or the address cannot be listened on.
pub fn serve(arguments: &ProviderArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let world = World::real(WorldOptions::default())?;
        let forecast = arguments.plan.as_ref().map(|plan| Forecast::load(plan, world.clone())).transpose()?;
        if let Some(forecast) = forecast.clone() {
            world.spawn("provider.forecast", forecast.listen(BufReader::new(tokio::io::stdin())));
        }
        let options = Options {
            think: Duration::from_millis(arguments.think_ms),
            refuse_every: arguments.refuse_every,
            down_while: arguments.down_while.clone(),
            key_file: arguments.key_file.clone(),
            storm: arguments.storm.map(Storm),
            forecast,
            prices: Prices { input: arguments.input_price, output: arguments.output_price },
        };
        let ledger = Ledger::open(&arguments.ledger, world)?;
        let listener = tokio::net::TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        println!("http://{}/v1", listener.local_addr()?);
        axum::serve(at_once(listener), app(options, ledger)).await.context("the server ended")
    });
    // A read of the standard input may be under way, and would be waited for.
    runtime.shutdown_background();
    served
}
