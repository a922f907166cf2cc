//! The command line's words. Invariant: what `--help` says is all there is.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Callboard runs supervised AI agents: they research, write and review;
/// people approve; publishers post. Everything is remembered in one journal,
/// so that a crash costs nothing.
#[derive(Debug, Parser)]
#[command(name = "callboard", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take the brief in a folder through the announce workflow, and show each step
    Run(RunArgs),
    /// Serve the HTTP API, the event stream and the feed
    Serve(ServeArgs),
    /// Find the faults of briefs, workflows, policies and configuration, without running anything
    Check(CheckArgs),
    /// List the runs that the journal knows
    Runs(SystemArgs),
    /// Show the supervision tree of a server that runs
    Tree(TreeArgs),
    /// Verify the journal: every record, and the chain that links them
    Doctor(SystemArgs),
}

/// Where the system keeps its things, and how it is configured.
#[derive(Args, Clone, Debug)]
pub struct SystemArgs {
    /// The folder of the journal, the feed and the views
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// The configuration (default: callboard.toml, where there is one)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `callboard run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The folder with brief.md, and optionally brand.md, background/ and workflow.toml
    pub folder: PathBuf,
    /// Ask in the terminal before each post, instead of approving by policy
    #[arg(long)]
    pub approve: bool,
    /// Run a brief again that has already been run to its end
    #[arg(long)]
    pub again: bool,
    /// One plain line for each step, without colours or a progress bar
    #[arg(long)]
    pub plain: bool,
    /// Where and how.
    #[command(flatten)]
    pub system: SystemArgs,
}

/// `callboard serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The address to listen on; loopback only, until keys exist
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where and how.
    #[command(flatten)]
    pub system: SystemArgs,
}

/// `callboard check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Folders with briefs, workflow files and policy files (default: the configuration and the built-in policies)
    pub paths: Vec<PathBuf>,
    /// The configuration (default: callboard.toml, where there is one)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `callboard tree`.
#[derive(Args, Debug)]
pub struct TreeArgs {
    /// The server to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_argument_has_its_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
