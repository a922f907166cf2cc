//! What a system is made of. Invariant: whatever differs between production,
//! tests and simulation is here, so that everything else is the same in all.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::world::World;
use agents::agent::AgentSpec;
use agents::conduct::NamedModel;
use agents::embed::Embedder;
use agents::ledger::AlertHook;
use agents::publisher::Publisher;
use agents::telemetry::{self, Collector};
use agents::tool::FetchPolicy;
use agents::tool::mcp::McpServer;
use storage::disk::Disk;
use storage::index::ContextIndex;
use storage::journal;
use storage::views::Shelves;
use supervisor::Observer;

use crate::live::Live;
use crate::policy::Policies;
use crate::system::Governed;

/// A system's parts, ready to be put together.
pub struct Parts {
    /// Clock, chance, tasks and HTTP.
    pub world: World,
    /// The journal's disk.
    pub disk: Arc<dyn Disk>,
    /// Where views are kept.
    pub shelves: Arc<dyn Shelves>,
    /// The context index.
    pub index: Arc<dyn ContextIndex>,
    /// What makes its vectors.
    pub embedder: Arc<dyn Embedder>,
    /// The agents; what policy says of them is taken from `policies`.
    pub agents: Vec<AgentSpec>,
    /// The models that can stand in for an agent's own, by name.
    pub models: BTreeMap<String, NamedModel>,
    /// Which pages agents may read.
    pub fetch: FetchPolicy,
    /// The MCP servers by name.
    pub servers: BTreeMap<String, McpServer>,
    /// The publishers by name.
    pub publishers: BTreeMap<String, Arc<dyn Publisher>>,
    /// What is allowed.
    pub policies: Policies,
    /// What that was read from; none where it is never read again.
    pub governed: Option<Governed>,
    /// The journal's bounds.
    pub journal: journal::Options,
    /// The workspace that pays.
    pub workspace: String,
    /// Somebody else who hears of the tree's restarts.
    pub observer: Option<Arc<dyn Observer>>,
    /// The feed's file, to be served over HTTP; none in a simulation.
    pub feed: Option<std::path::PathBuf>,
    /// Where alerts of budgets are sent, if anywhere.
    pub alerts: Option<AlertHook>,
    /// Faults on purpose, where they are configured.
    pub live: Option<Live>,
    /// Where spans and histograms are sent; nowhere in a simulation.
    pub telemetry: Option<(Collector, telemetry::Options)>,
}
