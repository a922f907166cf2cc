//! The tools of a system, by name. Invariant: a name means one tool, and what a model is offered has a name that
//! every provider takes and that leads back to that tool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::transport::Transport;

use super::mcp::{MCP_TOOL, McpHandle};
use super::{FetchPolicy, Fetcher, Permissions, Tool, built_in};
use crate::model::ToolSpec;
use crate::workflow::EffectClass;

/// The longest name that every provider takes.
const NAME_CHARS_MAX: usize = 64;
/// How much of a hash tells long names apart.
const HASH_CHARS: usize = 8;
/// The most tools that a model is offered at once.
const OFFERED_MAX: usize = 64;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Toolbox {
    tools: Arc<BTreeMap<String, Arc<Tool>>>,
    web: Arc<Fetcher>,
    servers: Arc<BTreeMap<String, McpHandle>>,
}

/// A tool as a model is offered it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The tool.
    pub tool: Arc<Tool>,
    /// As the model sees it.
    pub spec: ToolSpec,
}

impl Toolbox {
    /// The built-in tools, these agents as tools, and those of these servers.
    pub fn new<'a>(
        agents: impl IntoIterator<Item = &'a str>,
        fetch: FetchPolicy,
        servers: impl IntoIterator<Item = McpHandle>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let own = built_in::all().into_iter().chain(agents.into_iter().map(built_in::agent));
        let tools = own.map(|tool| (tool.name.clone(), Arc::new(tool))).collect();
        let servers = servers.into_iter().map(|server| (server.name().to_owned(), server)).collect();
        Self { tools: Arc::new(tools), web: Arc::new(Fetcher::new(fetch, transport)), servers: Arc::new(servers) }
    }

    /// The names of the built-in tools that workflows may use, each with its class.
    #[must_use]
    pub fn built_in() -> BTreeMap<String, EffectClass> {
        built_in::all().into_iter().map(|tool| (tool.name, tool.class)).collect()
    }

    /// The tool of that name; what a server will list is there before it has.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Tool>> {
        match name.strip_prefix(MCP_TOOL).and_then(|rest| rest.split_once('.')) {
            Some((server, own)) => self.servers.get(server)?.tool(own),
            None => self.tools.get(name).cloned(),
        }
    }

    /// The MCP servers by name.
    #[must_use]
    pub fn servers(&self) -> &BTreeMap<String, McpHandle> {
        &self.servers
    }

    /// The way to pages.
    pub(crate) fn web(&self) -> &Fetcher {
        &self.web
    }

    /// What an agent with these permissions is offered, in the order of names: never itself.
    #[must_use]
    pub fn offered(&self, agent: &str, permissions: &Permissions) -> Vec<Offered> {
        if permissions.is_empty() {
            return Vec::new();
        }
        let itself = built_in::agent(agent).name;
        let listed: Vec<_> = self.servers.values().map(McpHandle::tools).collect();
        let all = self.tools.values().chain(listed.iter().flat_map(|tools| tools.iter()));
        let allowed = all.filter(|tool| permissions.allow(&tool.name) && tool.name != itself);
        let mut taken = BTreeSet::new();
        let offer = |tool: &Arc<Tool>| {
            let name = offered_name(&tool.name, &taken);
            taken.insert(name.clone());
            let spec = ToolSpec { name, description: tool.description.clone(), schema: tool.schema.clone() };
            Offered { tool: Arc::clone(tool), spec }
        };
        allowed.take(OFFERED_MAX).map(offer).collect()
    }
}

/// A name of letters, digits, `_` and `-`, at most 64, that is none of those taken.
fn offered_name(name: &str, taken: &BTreeSet<String>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let plain: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if plain.len() <= NAME_CHARS_MAX && !taken.contains(&plain) {
        return plain;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let begin: String = plain.chars().take(NAME_CHARS_MAX - HASH_CHARS - 1).collect();
    format!("{begin}_{}", &hash.as_str()[..HASH_CHARS])
}
