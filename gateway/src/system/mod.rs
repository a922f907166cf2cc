//! The whole system, wired: journal, tree, runs, and what the outside may ask.
//!
//! Invariant: it is the same system in production, in tests and in simulation;
//! only its [`Parts`] differ.

mod alerts;
mod archive;
mod desk;
mod factories;
mod folds;
mod follow;
mod hindrance;
mod letters;
mod operate;
mod order;
mod parts;
mod policy;
mod prospects;
mod ratings;
mod reading;
mod start;
mod waking;
mod watchdog;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use actors::durable::Directory;
use actors::entity::Entity;
use actors::telemetry::{Breaker, Metrics};
use actors::world::World;
use agents::aggregator::Reports;
use agents::conduct::Stage;
use agents::run::Run;
use agents::telemetry::Telemetry;
use agents::workflow::{Known, Workflow, WorkflowVersion};
use policies::breaker::BreakerState;
use policies::document;
use storage::journal::{Journal, Opened};
use supervisor::{NotFollowed, ShutdownReport, Tree, TreeSnapshot};
use tokio_util::sync::CancellationToken;

pub use alerts::{AlertFollower, Said};
pub use archive::{Archive, ArchiveError};
pub use desk::{Fate, Word};
pub use follow::Follower;
pub use hindrance::{Hindrance, Hindrances};
pub use letters::{Disposal, Disposed, LetterError};
pub use operate::Deed;
pub use order::{AcceptError, NewRun, Taken, run_id};
pub use parts::Parts;
pub use policy::{Cause, Edition, Governed, HISTORY_MAX, ReloadError, Reloaded, Wanted, watch};
pub use reading::Readiness;
pub(crate) use start::STREAMS;
pub use start::StartError;
pub(crate) use watcher::append_or_give_up;

use crate::config::Config;
use crate::live::Live;

/// The agents of the built-in tree.
pub const AGENTS: [&str; 3] = ["researcher", "writer", "reviewer"];
/// The publishers of the built-in tree.
pub const PUBLISHERS: [&str; 1] = ["feed"];
/// The workers that are neither.
pub const SERVICES: [&str; 3] = ["aggregator", "context", "ledger"];
/// The workers that carry no promise: what they are told can be found again.
pub const TELEMETRY: [&str; 1] = ["aggregator"];
/// The dynamic supervisor of the runs.
pub(crate) const RUNS: &str = "runs";

/// The agents under this configuration, each once.
pub fn agents(config: &Config) -> impl Iterator<Item = &str> {
    let all: BTreeSet<&str> = AGENTS.into_iter().chain(config.agents.keys().map(String::as_str)).collect();
    all.into_iter()
}

/// The publishers under this configuration, each once.
pub fn publishers(config: &Config) -> impl Iterator<Item = &str> {
    let all: BTreeSet<&str> = PUBLISHERS.into_iter().chain(config.publishers.keys().map(String::as_str)).collect();
    all.into_iter()
}

/// The MCP servers under this configuration, each once.
pub fn servers(config: &Config) -> impl Iterator<Item = &str> {
    config.mcp.keys().map(String::as_str)
}

/// What workflows may name under this configuration.
#[must_use]
pub fn names(config: &Config) -> Known {
    let classes = config.mcp.iter().map(|(name, server)| (name.clone(), server.terms.classes.clone()));
    Known::new(agents(config), publishers(config)).with_servers(classes.collect())
}

/// A running system.
pub struct System {
    world: World,
    journal: Journal,
    opened: Opened,
    tree: Tree,
    stage: Arc<Stage>,
    runs: Directory<Run>,
    outlook: Arc<prospects::Outlook>,
    reports: Reports,
    metrics: Metrics,
    known: Known,
    /// The built-in workflow, once it was asked for.
    announce: OnceLock<Checked>,
    folds: folds::Folds,
    workspace: String,
    in_force: Arc<policy::InForce>,
    feed: Option<PathBuf>,
    live: Option<Live>,
    telemetry: Option<Telemetry>,
    /// Cancelled when the committer has ended.
    committed: CancellationToken,
}

/// A workflow, and its hash.
type Pinned = (WorkflowVersion, Arc<Workflow>);

/// The same, or everything that is wrong with it.
type Checked = Result<Pinned, Vec<document::Error>>;

/// Where the run directory finds the tree, which is started after it.
type TreeSlot = Arc<OnceLock<Tree>>;

impl System {
    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Clock, chance and tasks.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What the journal's opening found.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The supervision tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Agents, ledger, context store and publishers.
    pub fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    /// The report's figures.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// The tree's picture, as of now.
    pub fn picture(&self) -> TreeSnapshot {
        self.tree.draw()
    }

    /// The same for operators who look again and again, or a branch of it: what is left of budgets is that
    /// of their last look.
    ///
    /// # Errors
    /// [`NotFollowed::Unknown`] when there is no such branch.
    pub fn picture_for_operators(&self, branch: Option<&str>) -> Result<TreeSnapshot, NotFollowed> {
        self.outlook.look();
        branch.map_or_else(|| Ok(self.tree.draw()), |branch| self.tree.draw_branch(branch))
    }

    /// The metrics in the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        self.metrics.count_children(self.tree.census());
        let stands = |(guard, state): (String, actors::guard::GuardState)| {
            let breaker = move |word| (Breaker { guard: guard.clone(), state: word }, word == state.breaker.as_str());
            BreakerState::WORDS.into_iter().map(breaker)
        };
        self.metrics.breakers_stand(self.stage.guards.snapshot().into_iter().flat_map(stands));
        for (worker, fill) in self.stage.fills() {
            self.metrics.mailbox_depth(&worker, fill.depth);
        }
        self.metrics.mailbox_depth(Run::KIND, self.runs.depths().values().sum());
        self.metrics.encode()
    }

    /// The guards in use: calls under way and where each breaker stands.
    pub fn guards(&self) -> BTreeMap<String, serde_json::Value> {
        let shown = |state: actors::guard::GuardState| {
            serde_json::json!({
                "in_flight": state.in_flight,
                "concurrency": state.concurrency,
                "breaker": format!("{:?}", state.breaker).to_lowercase(),
                "held": state.held_until.is_some(),
            })
        };
        self.stage.guards.snapshot().into_iter().map(|(name, state)| (name, shown(state))).collect()
    }

    /// Faults on purpose, where they are configured.
    pub fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// Stops taking, drains in reverse start order, and closes the journal.
    pub async fn shutdown(&self) -> ShutdownReport {
        if let Some(live) = &self.live {
            live.close().await;
        }
        let report = self.tree.shutdown().await;
        self.journal.close().await;
        self.committed.cancelled().await;
        if let Some(telemetry) = &self.telemetry {
            telemetry.end().await;
        }
        report
    }
}
