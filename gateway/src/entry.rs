//! The program: reads the command line, runs the command, ends with its code.
//! Invariant: an error is printed once, whole, on standard error.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::commands;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    match dispatch(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `CALLBOARD_LOG` chooses what is logged; warnings, without it.
fn log() {
    let filter = EnvFilter::try_from_env("CALLBOARD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second subscriber can only be set by a test that has one already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

fn dispatch(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check(arguments) => return commands::check::run(arguments, &mut std::io::stdout().lock()),
        Command::Doctor(arguments) => return commands::doctor::run(arguments),
        Command::Run(_) | Command::Serve(_) | Command::Runs(_) | Command::Tree(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Run(arguments) => commands::run::run(arguments).await,
            Command::Serve(arguments) => commands::serve::run(arguments).await,
            Command::Runs(arguments) => commands::runs::run(arguments).await,
            Command::Tree(arguments) => commands::tree::run(arguments).await,
            Command::Check(_) | Command::Doctor(_) => Ok(()),
        }
    });
    // Blocking work that still runs, such as a read of the terminal, must not hold the exit.
    runtime.shutdown_background();
    outcome
}
