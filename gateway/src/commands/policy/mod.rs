//! `callboard policy`, one command a file.

mod change;
mod explain;

use crate::cli::PolicyCommand;

/// Runs one of them.
///
/// # Errors
/// As each command says.
pub async fn run(command: &PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Schema { of } => {
            print!("{}", of.text());
            Ok(())
        }
        PolicyCommand::Reload(arguments) => change::reload(arguments).await,
        PolicyCommand::History(server) => change::history(server).await,
        PolicyCommand::Rollback(arguments) => change::rollback(arguments).await,
        PolicyCommand::Explain(arguments) => explain::run(arguments, &mut std::io::stdout().lock()),
    }
}
