//! The command line's words. Invariant: what `--help` says is all there is.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::policy::SchemaOf;
use crate::terminal::CHILDREN_SHOWN;

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
    /// Run an agent over cases, score its answers by rules and by a judge, and compare with the last time
    Eval(EvalArgs),
    /// List the runs that the journal knows
    Runs(SystemArgs),
    /// Show what calls of models cost, by agent, model, day, run or step
    Costs(CostsArgs),
    /// Show the supervision tree of a server that runs, or restart, stop, pause, resume or drain a part of it
    Tree(TreeArgs),
    /// List the dead letters of a server: messages that killed whoever handled them; show, replay or discard one
    Letters(LettersArgs),
    /// Explain the policies, describe their files to editors, and change them while a server runs
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say yes to what a run of a server asks
    Approve(StepArgs),
    /// Say no to what a run of a server asks
    Reject(RejectArgs),
    /// Say what became of a post or another effect that is held in doubt
    Settle(SettleArgs),
    /// Let the steps go on that a budget held back, or a failed run from the step that failed
    Resume(ResumeArgs),
    /// Stop a run of a server; what is under way is still resolved
    Cancel(CancelArgs),
    /// Verify the journal: every record, the chain that links them, and every payload
    Doctor(SystemArgs),
}

/// Where the system keeps its things, and how it is configured.
#[derive(Args, Clone, Debug)]
pub struct SystemArgs {
    /// The folder of the journal, the feed and the views (default: `data` of the configuration, which is .callboard)
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
    /// Begin a new run of a brief that was run before; what that has out is posted once more
    #[arg(long)]
    pub again: bool,
    /// One plain line for each step, without colours or a progress bar
    #[arg(long)]
    pub plain: bool,
    /// Where and how.
    #[command(flatten)]
    pub system: SystemArgs,
}

/// `callboard eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// The agent, as the tree names it: agents.writer, or writer
    pub agent: String,
    /// Files of cases, and folders of such files
    #[arg(required = true)]
    pub cases: Vec<PathBuf>,
    /// One of the agent's pool, with which it is to answer; without it, as it chooses
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// So many cases at once
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: u8,
    /// End with an error when the mean score is less than this, from 0 to 1
    #[arg(long, value_name = "SCORE")]
    pub score_min: Option<f64>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
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
    /// Folders with a brief.md, and TOML files: workflows, callboard.toml, tree, guard, prices and budget files
    /// (default: the configuration, with the policies that it names)
    pub paths: Vec<PathBuf>,
    /// The configuration (default: callboard.toml, where there is one)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `callboard tree`.
#[derive(Args, Debug)]
pub struct TreeArgs {
    /// What to do to a part of it.
    #[command(subcommand)]
    pub command: Option<TreeCommand>,
    /// Only this branch, named as the tree shows it, if you like with those above it: agents, agents.writer
    pub branch: Option<String>,
    /// Only so many levels below the top
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
    /// Show at most so many children of each node, those first that are not as usual, and count the others
    #[arg(long, value_name = "NUMBER", default_value_t = CHILDREN_SHOWN)]
    pub limit: usize,
    /// Draw it again whenever it changes, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// No colours; with --watch, one tree below the other
    #[arg(long)]
    pub plain: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// An operator's word to a child or a branch of the tree.
#[derive(Debug, Subcommand)]
pub enum TreeCommand {
    /// Stop it in order and start it again
    Restart(NodeArgs),
    /// Stop it; it stays down until it is resumed or restarted
    Stop(NodeArgs),
    /// Let it begin nothing new until it is resumed; what is under way goes on
    Pause(NodeArgs),
    /// Let it take work again, and start it if it is down
    Resume(NodeArgs),
    /// Let it begin nothing new and finish what is under way, and then stop it
    Drain(NodeArgs),
}

/// A child or a branch of the tree.
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// Its name, as the tree shows it, if you like with those above it: agents.writer
    #[arg(value_name = "NAME")]
    pub node: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard costs`.
#[derive(Args, Debug)]
pub struct CostsArgs {
    /// What the list is of: agent, model, day, run or step
    #[arg(long, value_name = "WHAT", default_value = "agent")]
    pub by: String,
    /// The steps of this run
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Those after this one, as the last page says
    #[arg(long, value_name = "NAME")]
    pub after: Option<String>,
    /// The most to list
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: usize,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard letters`.
#[derive(Args, Debug)]
pub struct LettersArgs {
    /// What to do with one.
    #[command(subcommand)]
    pub command: Option<LettersCommand>,
    /// Those too that were replayed or discarded
    #[arg(long)]
    pub all: bool,
    /// The most to list, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: usize,
    /// Those before this place, as the last page says
    #[arg(long, value_name = "PLACE")]
    pub before: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What to do with a dead letter.
#[derive(Debug, Subcommand)]
pub enum LettersCommand {
    /// Show what it says, and each death with its time, its class and who died
    Show(LetterArgs),
    /// Put it into circulation again; to say so twice does it once
    Replay(LetterArgs),
    /// Give it up: its step fails, and the run with it
    Discard(DiscardArgs),
}

/// A dead letter.
#[derive(Args, Debug)]
pub struct LetterArgs {
    /// Its name, as the list has it
    pub id: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard letters discard`.
#[derive(Args, Debug)]
pub struct DiscardArgs {
    /// The letter.
    #[command(flatten)]
    pub letter: LetterArgs,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "discarded by a person")]
    pub reason: String,
}

/// `callboard policy`, one command each.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show every setting in force for a node of the tree, a guard or a budget, and where it comes from
    Explain(ExplainArgs),
    /// Print the JSON Schema of a kind of file, for editors
    Schema {
        /// Of what
        of: SchemaOf,
    },
    /// Have a server read its policy files again, and show what that changes
    Reload(ReloadArgs),
    /// List the versions of the policies that a server had in force, the newest first
    History(ServerArgs),
    /// Have a server put an earlier version of the policies in force again
    Rollback(RollbackArgs),
}

/// `callboard policy reload`.
#[derive(Args, Debug)]
pub struct ReloadArgs {
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard policy rollback`.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// The version (default: the one before that in force)
    pub version: Option<u64>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard policy explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// What to explain: a node of the tree (`agents.writer`, `writer`, `runs`), a guard (`model/local`), or
    /// whose budget (`agent/writer`, `run/any`, `workspace/main`)
    pub name: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration (default: callboard.toml, where there is one)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A server that runs.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// The server to ask
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
}

/// `callboard approve`.
#[derive(Args, Debug)]
pub struct StepArgs {
    /// The run
    pub run: String,
    /// The step that asks, as `GET /v1/runs/{id}` names it under `approvals`
    pub step: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard reject`.
#[derive(Args, Debug)]
pub struct RejectArgs {
    /// The step.
    #[command(flatten)]
    pub step: StepArgs,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "rejected by a person")]
    pub reason: String,
}

/// `callboard settle`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("fate").required(true))]
pub struct SettleArgs {
    /// The run
    pub run: String,
    /// The effect's key, as `GET /v1/runs/{id}` names it under `parked`
    pub key: String,
    /// It was done; the run goes on
    #[arg(long, group = "fate")]
    pub done: bool,
    /// It was not done; the run tries it again
    #[arg(long, group = "fate")]
    pub not_done: bool,
    /// The platform's name for it
    #[arg(long, value_name = "ID", requires = "done")]
    pub id: Option<String>,
    /// Where it can be seen
    #[arg(long, value_name = "ADDRESS", requires = "done")]
    pub address: Option<String>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard resume`.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// The run
    pub run: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `callboard cancel`.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// The run
    pub run: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "cancelled by a person")]
    pub reason: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
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
    fn the_server_may_be_named_before_the_word_or_after_it() {
        for words in [["--url", "http://x", "restart", "writer"], ["restart", "writer", "--url", "http://x"]] {
            let cli = Cli::try_parse_from(["callboard", "tree"].into_iter().chain(words)).unwrap();
            let Command::Tree(TreeArgs { command: Some(TreeCommand::Restart(node)), branch: None, .. }) = cli.command
            else {
                panic!("{words:?}")
            };
            assert_eq!((node.node.as_str(), node.server.url.as_str()), ("writer", "http://x"));
        }
        let cli = Cli::try_parse_from(["callboard", "letters", "--url", "http://x", "show", "a"]).unwrap();
        let Command::Letters(LettersArgs { command: Some(LettersCommand::Show(letter)), .. }) = cli.command else {
            panic!("no word")
        };
        assert_eq!(letter.server.url, "http://x");
    }

    #[test]
    fn what_is_left_out_is_explained() {
        let mut cli = Cli::command();
        for command in ["run", "serve", "runs", "doctor"] {
            let help = cli.find_subcommand_mut(command).unwrap().render_long_help().to_string();
            assert!(help.contains("which is .callboard") && help.contains("(default: callboard.toml"), "{help}");
        }
        let data = crate::config::Config::default().data;
        assert_eq!(data, PathBuf::from(".callboard"));
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
