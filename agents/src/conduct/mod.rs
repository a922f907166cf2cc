//! The conductor: carries runs out. It stands between the run, which decides,
//! and the agents, the context store and the publishers, which act.
//!
//! Invariant: nothing starts before its intent is durable, every intent gets
//! exactly one outcome, and whatever was gathered for an intent that never came
//! to be (a place with the guard, a hold of the ledger) goes back.

mod admit;
mod batch;
mod caching;
mod casting;
mod host;
mod limits;
mod perform;
mod pool;
mod recover;
mod tool;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::durable::{Durable, Handle, Options, Spine, StartError};
use actors::guard::{Guard, Guards};
use actors::mailbox::{Bound, Fill};
use policies::budget::ScopeId;
use policies::poison::PoisonPolicy;
use policies::price::PriceTable;
use policies::tree::TreePolicy;
use ractor::ActorCell;
use supervisor::Gate;

use crate::agent::AgentHandle;

use crate::aggregator::AggregatorMsg;
use crate::context::ContextHandle;
use crate::evaluation::Ratings;
use crate::front::{Entrance, Front};
use crate::ledger::LedgerHandle;
use crate::model::Model;
use crate::publisher::PublisherHandle;
use crate::run::Run;
use crate::tool::mcp::{MCP_GUARD, McpHandle};
use crate::tool::{Home, Toolbox};
use crate::workflow::{Action, ToolCall};

/// The names of the services in the tree.
const LEDGER: &str = "ledger";
const CONTEXT: &str = "context";
const AGGREGATOR: &str = "aggregator";
/// The dynamic supervisor of the runs.
const RUNS: &str = "runs";
/// The guard around the context store.
pub const CONTEXT_GUARD: &str = "context";
/// The guard of a tool that has no other is this and its name.
pub const TOOL_GUARD: &str = "tool";
/// The guard of a publisher is this and its name.
pub const PUBLISHER_GUARD: &str = "publisher";

/// Everything that a run may be carried out with.
pub struct Stage {
    /// The journal and the world.
    pub spine: Spine,
    /// The workspace that pays.
    pub workspace: String,
    /// Who may spend.
    pub ledger: LedgerHandle,
    /// The guards around effects.
    pub guards: Guards,
    /// What models cost.
    pub prices: PriceTable,
    /// The agents by name.
    pub agents: BTreeMap<String, AgentHandle>,
    /// The models that agents choose among, and that can stand in for an agent's own, by name.
    pub models: BTreeMap<String, NamedModel>,
    /// How good they are, by the agents' evaluations.
    pub ratings: Ratings,
    /// The tools.
    pub tools: Toolbox,
    /// The context store.
    pub context: ContextHandle,
    /// The publishers by name.
    pub publishers: BTreeMap<String, PublisherHandle>,
    /// The aggregator, which is told nothing but by itself.
    pub aggregator: Front<AggregatorMsg>,
    /// The bound of each run's mailbox.
    pub runs: Bound,
}

/// A model that is known by a name.
#[derive(Clone)]
pub struct NamedModel {
    /// The model.
    pub model: Arc<dyn Model>,
    /// The guard around its calls.
    pub guard: String,
}

impl Stage {
    /// Starts the actor of a run, with a conductor for this life of it; it begins no step while its gate is
    /// closed.
    ///
    /// # Errors
    /// [`StartError`] when its stream cannot be folded, or it was stopped.
    pub async fn start(
        self: &Arc<Self>,
        id: &str,
        options: Options,
        supervisor: Option<ActorCell>,
        gate: Gate,
    ) -> Result<Handle<Run>, StartError> {
        let conductor = Arc::new(host::Conductor::new(Arc::clone(self), gate));
        Durable::start(&self.spine, id, conductor, options, supervisor).await
    }

    /// The guard around an action.
    pub fn guard(&self, action: &Action) -> Guard {
        match action {
            Action::Agent(call) => match self.agents.get(&call.agent) {
                Some(agent) => self.guards.get(&agent.spec().guard),
                None => self.guards.get("model"),
            },
            Action::Tool(call) => match self.home(call) {
                Some(Home::Web) => self.guards.get(&format!("{TOOL_GUARD}/{}", call.tool)),
                Some(Home::Mcp { server, .. }) => self.guards.get(&format!("{MCP_GUARD}/{server}")),
                _ => self.guards.get(CONTEXT_GUARD),
            },
            Action::Approve(_) => self.guards.get(CONTEXT_GUARD),
            Action::Publish(post) => self.guards.get(&format!("{PUBLISHER_GUARD}/{}", post.publisher)),
        }
    }

    /// The mailbox of whoever is cast for an action. What names nobody has one of its own.
    fn entrance(&self, action: &Action, cast: &casting::Cast) -> Entrance {
        match action {
            Action::Agent(_) => cast.speaker.as_ref().map(|speaker| speaker.agent.front().entrance()),
            Action::Publish(post) => self.publishers.get(&post.publisher).map(|publisher| publisher.front().entrance()),
            Action::Tool(call) => match self.home(call) {
                Some(Home::Context) => Some(self.context.front().entrance()),
                Some(Home::Mcp { server, .. }) => self.server(&server).map(|server| server.front().entrance()),
                _ => None,
            },
            Action::Approve(_) => None,
        }
        .unwrap_or_default()
    }

    fn server(&self, name: &str) -> Option<&McpHandle> {
        self.tools.servers().get(name)
    }

    /// Who carries a tool call out.
    fn home(&self, call: &ToolCall) -> Option<Home> {
        self.tools.get(&call.tool).map(|tool| tool.home.clone())
    }

    /// When a message is poison to this worker.
    fn poison(&self, worker: &str) -> PoisonPolicy {
        let agent = self.agents.get(worker).map(|agent| agent.front().poison());
        let publisher = || self.publishers.get(worker).map(|publisher| publisher.front().poison());
        let server = || self.server(worker).map(|server| server.front().poison());
        agent.or_else(publisher).or_else(server).unwrap_or_else(|| self.context.front().poison())
    }

    /// Holds every worker's mailbox, and the runs', to the tree's policy from now on.
    pub fn govern(&self, tree: &TreePolicy) {
        let policy = |name: &str| tree.worker(name).cloned().unwrap_or_default();
        self.ledger.front().govern(&policy(LEDGER));
        self.context.front().govern(&policy(CONTEXT));
        self.aggregator.govern(&policy(AGGREGATOR));
        for (name, agent) in &self.agents {
            agent.front().govern(&policy(name));
        }
        for (name, publisher) in &self.publishers {
            publisher.front().govern(&policy(name));
        }
        for (name, server) in self.tools.servers() {
            server.front().govern(&policy(name));
        }
        let runs = tree.dynamic(RUNS).map(|runs| runs.child.clone()).unwrap_or_default();
        self.runs.govern(runs.mailbox);
        self.spine.letters.govern(runs.poison);
    }

    /// How each worker's mailbox stands, by its name in the tree.
    pub fn fills(&self) -> BTreeMap<String, Fill> {
        let services = [
            (LEDGER.to_owned(), self.ledger.front().credits().fill()),
            (CONTEXT.to_owned(), self.context.front().credits().fill()),
            (AGGREGATOR.to_owned(), self.aggregator.credits().fill()),
        ];
        let agents = self.agents.iter().map(|(name, agent)| (name.clone(), agent.front().credits().fill()));
        let publishers = self.publishers.iter().map(|(name, p)| (name.clone(), p.front().credits().fill()));
        let servers = self.tools.servers().iter().map(|(name, s)| (name.clone(), s.front().credits().fill()));
        services.into_iter().chain(agents).chain(publishers).chain(servers).collect()
    }

    /// Has every mailbox counted under its worker's name.
    pub fn count_mailboxes(&self) {
        let metrics = &self.spine.metrics;
        self.ledger.front().count_as(metrics, LEDGER);
        self.context.front().count_as(metrics, CONTEXT);
        self.aggregator.count_as(metrics, AGGREGATOR);
        self.agents.iter().for_each(|(name, agent)| agent.front().count_as(metrics, name));
        self.publishers.iter().for_each(|(name, publisher)| publisher.front().count_as(metrics, name));
        self.tools.servers().iter().for_each(|(name, server)| server.front().count_as(metrics, name));
    }

    /// The gates of those that carry an action out: it waits while one of them is closed.
    fn gates(&self, action: &Action) -> Vec<Gate> {
        let (worker, payer) = match action {
            Action::Agent(call) => {
                let agent = self.agents.get(&call.agent);
                // For one that the policy keeps down another may stand in; an operator's word is waited out.
                let is_replaced =
                    |gate: &&Gate| gate.is_down() && agent.is_some_and(|agent| !agent.spec().terms.fallback.is_empty());
                let gate = agent.and_then(|agent| agent.front().slot().gate()).filter(|gate| !is_replaced(gate));
                (gate, self.ledger.front().slot().gate())
            }
            Action::Publish(post) => {
                let publisher = self.publishers.get(&post.publisher);
                (publisher.and_then(|publisher| publisher.front().slot().gate()), None)
            }
            Action::Tool(call) => match self.home(call) {
                Some(Home::Context) => (self.context.front().slot().gate(), None),
                Some(Home::Mcp { server, .. }) => {
                    (self.server(&server).and_then(|server| server.front().slot().gate()), None)
                }
                _ => (None, None),
            },
            Action::Approve(_) => (None, None),
        };
        worker.into_iter().chain(payer).cloned().collect()
    }

    /// Who pays for a call that `agent` makes for `run`: it, and each that had it asked.
    fn scopes(&self, run: &str, agent: &str, askers: &[String]) -> Vec<ScopeId> {
        let askers = askers.iter().map(String::as_str).filter(|asker| *asker != agent);
        let agents = std::iter::once(agent).chain(askers).map(|agent| ScopeId::Agent(agent.to_owned()));
        let (run, workspace) = (ScopeId::Run(run.to_owned()), ScopeId::Workspace(self.workspace.clone()));
        std::iter::once(run).chain(agents).chain([workspace]).collect()
    }
}
