//! The program: reads the command line, runs the command, ends with its code.
//! Invariant: an error is printed once, whole, on standard error.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::commands;

/// Who logs nothing, whatever is chosen.
const SILENT: &str = "rmcp=off";

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    end_with_the_reader();
    if matches!(cli.command, Command::Run(_) | Command::Serve(_) | Command::Eval(_)) {
        one_thread();
    }
    match dispatch(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What other programs end with when nobody reads what they print.
const PIPE_CLOSED: i32 = 141;

/// A reader that has gone (`callboard runs | head`) ends the program, as it ends others; nothing is
/// lost by it. The standard library panics there, and only the hook sees it.
fn end_with_the_reader() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if said.starts_with("failed printing to stdout") {
            std::process::exit(PIPE_CLOSED);
        }
        before(panic);
    }));
}

/// What the local model's arithmetic reads its number of threads from.
const THREADS: &str = "CANDLE_NUM_THREADS";

/// Starts this program anew with one thread for each request of the local model,
/// unless the environment says how many. It is read from the environment only,
/// which a running process cannot change safely; and with more, they spin while
/// they wait for each other, ten times slower on a busy machine.
fn one_thread() {
    use std::os::unix::process::CommandExt;
    if std::env::var_os(THREADS).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // It returns only when it fails, and then this process does the work, slowly.
        let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(THREADS, "1").exec();
        tracing::warn!(%error, "the local model could not be held to one thread");
    }
}

/// `CALLBOARD_LOG` chooses what is logged; warnings, without it. What the MCP client itself logs is never in it:
/// that is what servers say, word for word, and they may say again what they were given in confidence.
fn log() {
    let chosen = std::env::var("CALLBOARD_LOG").ok();
    let filter = chosen.and_then(|chosen| EnvFilter::try_new(format!("{chosen},{SILENT}")).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(format!("warn,{SILENT}")));
    let colours = std::io::stderr().is_terminal() && commands::wants_colours();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    // A second subscriber can only be set by a test that has one already.
    let _ = log.try_init();
}

fn dispatch(command: &Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Check(arguments) => commands::check::run(arguments, &mut std::io::stdout().lock()),
            Command::Doctor(arguments) => commands::doctor::run(arguments),
            Command::Run(arguments) => commands::run::run(arguments).await,
            Command::Serve(arguments) => commands::serve::run(arguments).await,
            Command::Eval(arguments) => commands::eval::run(arguments).await,
            Command::Runs(arguments) => commands::runs::run(arguments).await,
            Command::Tree(arguments) => commands::tree::run(arguments).await,
            Command::Costs(arguments) => commands::costs::run(arguments).await,
            Command::Letters(arguments) => commands::letters::run(arguments).await,
            Command::Policy(command) => commands::policy::run(command).await,
            Command::Approve(arguments) => commands::tell::approve(arguments).await,
            Command::Reject(arguments) => commands::tell::reject(arguments).await,
            Command::Settle(arguments) => commands::tell::settle(arguments).await,
            Command::Resume(arguments) => commands::tell::resume(arguments).await,
            Command::Cancel(arguments) => commands::tell::cancel(arguments).await,
        }
    });
    // Blocking work that still runs, such as a read of the terminal, must not hold the exit.
    runtime.shutdown_background();
    outcome
}
