//! The `callboard-chaos` command. Invariant: it ends with an error when anything
//! that it was to show did not show.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::simulation::{Campaign, play};

/// Runs of one play; see the simulation.
const RUNS: u32 = 3;

/// Proves recovery: plays the whole system in simulation, from seeds.
#[derive(Parser)]
#[command(name = "callboard-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play seeds of the announce workflow, each twice in a process of its own, and compare the traces
    Sim(SimArguments),
    /// Play one plan in this process, and print what it came to as JSON
    Act {
        /// The plan's file
        plan: std::path::PathBuf,
    },
    /// Play one seed in this process, and print what it came to as JSON
    Play {
        /// The seed
        seed: u64,
    },
}

#[derive(Args)]
struct SimArguments {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Processes at once
    #[arg(long, default_value_t = 2)]
    processes: usize,
}

/// Runs the command.
pub fn main() -> ExitCode {
    match dispatch(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Act { plan } => {
            let text = std::fs::read_to_string(plan).with_context(|| format!("cannot read {}", plan.display()))?;
            let played = crate::simulation::act(&serde_json::from_str(&text)?)?;
            println!("{}", serde_json::to_string(&played)?);
            Ok(())
        }
        Command::Play { seed } => {
            println!("{}", serde_json::to_string(&play(*seed)?)?);
            Ok(())
        }
        Command::Sim(arguments) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(sim(arguments))
        }
    }
}

async fn sim(arguments: &SimArguments) -> anyhow::Result<()> {
    let campaign = Campaign {
        program: std::env::current_exe().context("this program cannot find itself")?,
        arguments: vec!["play".to_owned()],
        first: arguments.first,
        seeds: arguments.seeds,
        processes: arguments.processes,
    };
    let summary = campaign.run(RUNS).await?;
    for divergence in &summary.diverged {
        println!("seed {} differs:\n  {:?}\n  {:?}", divergence.one.seed, divergence.one, divergence.other);
    }
    for played in &summary.unfinished {
        println!("seed {}: only {} of {RUNS} runs finished", played.seed, played.finished);
    }
    println!(
        "{} of {} seeds replayed the same trace; {} different traces, {} events, {:.0} simulated seconds",
        summary.replayed,
        arguments.seeds,
        summary.traces.len(),
        summary.events,
        std::time::Duration::from_millis(summary.elapsed_ms).as_secs_f64(),
    );
    anyhow::ensure!(summary.diverged.is_empty(), "{} seeds did not replay", summary.diverged.len());
    anyhow::ensure!(summary.unfinished.is_empty(), "{} seeds have runs without an end", summary.unfinished.len());
    Ok(())
}
