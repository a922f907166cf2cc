//! The `callboard-chaos` command. Invariant: it ends with an error when anything
//! that it was to show did not show.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::disk::{self, DiskArguments};
use crate::kill9::command::{self as kill9, Kill9Arguments};
use crate::live::command::{self as live, LiveArguments};
use crate::platform::{self, PlatformArguments};
use crate::provider::{self, ProviderArguments};
use crate::simulation::act::{self, ActArguments, ReplayArguments};
use crate::simulation::command::{self as simulation, RegressionsArguments, SimArguments};
use crate::simulation::mutants::{self, MutantsArguments};
use crate::simulation::smaller::{self, ShrinkArguments};

/// Proves recovery: plays the whole system in simulation from seeds, kills the real one, and hurts a running one.
#[derive(Parser)]
#[command(name = "callboard-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play the seeds of an experiment in simulation, each twice in two processes, and judge what was seen
    Sim(SimArguments),
    /// Kill the program again and again, at random times and at crash points, and see what becomes of its runs
    Kill9(Kill9Arguments),
    /// Play an experiment on a running server whose `[chaos]` is configured, and see that it recovers
    Live(LiveArguments),
    /// Play one seed or one plan again, and print all that was seen
    Replay(ReplayArguments),
    /// Make the plan of a failing play as small as it can be and still fail
    Shrink(ShrinkArguments),
    /// Play the plans that have failed once
    Regressions(RegressionsArguments),
    /// Break the system, and what was seen of it, in every known way, and see whether the checkers find out
    Mutants(MutantsArguments),
    /// Make plays in this process, and print what each came to as JSON, in a line
    Act(ActArguments),
    /// The scripted model server, for `kill9` to start
    #[command(hide = true)]
    Provider(ProviderArguments),
    /// The platform, for `kill9` to start
    #[command(hide = true)]
    Platform(PlatformArguments),
    /// The disk that loses what was not synced, for `kill9` to start
    #[command(hide = true)]
    Disk(DiskArguments),
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
        // A play makes runtimes of its own, one for each life.
        Command::Act(arguments) => return act::act(arguments),
        Command::Replay(arguments) => return act::replay(arguments),
        Command::Provider(arguments) => return provider::serve(arguments),
        Command::Platform(arguments) => return platform::serve(arguments),
        Command::Disk(arguments) => return disk::serve(arguments),
        Command::Sim(_)
        | Command::Kill9(_)
        | Command::Live(_)
        | Command::Shrink(_)
        | Command::Regressions(_)
        | Command::Mutants(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &cli.command {
            Command::Sim(arguments) => simulation::sim(arguments).await,
            Command::Kill9(arguments) => kill9::run(arguments).await,
            Command::Live(arguments) => live::run(arguments).await,
            Command::Shrink(arguments) => smaller::make_small(arguments).await,
            Command::Regressions(arguments) => simulation::regressions(arguments).await,
            Command::Mutants(arguments) => mutants::mutants(arguments).await,
            Command::Act(_) | Command::Replay(_) | Command::Provider(_) | Command::Platform(_) | Command::Disk(_) => {
                Ok(())
            }
        }
    })
}
