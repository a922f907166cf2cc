//! What agents have beside their models, as the configuration names it. Invariant: a secret is
//! there at the start, is read again when a server is given it, and goes nowhere but to that server.

use std::collections::{BTreeMap, BTreeSet};

use actors::world::World;
use agents::agent::Kit;
use agents::key::Key;
use agents::tool::mcp::{MCP_TOOL, McpServer, McpTerms, Reach, Word};
use anyhow::Context;

use super::KEY_AGE_MAX;
use crate::config::{Config, ReachConfig, Words};

/// What an agent has.
pub(super) fn kit(config: &Config, agent: &str) -> Kit {
    config.agents.get(agent).map(|agent| agent.kit.clone()).unwrap_or_default()
}

/// The MCP servers, with their secrets.
pub(super) async fn servers(config: &Config, world: &World) -> anyhow::Result<BTreeMap<String, McpServer>> {
    let mut servers = BTreeMap::new();
    for (name, server) in &config.mcp {
        let mut words = BTreeMap::new();
        for (_, key, word) in server.words() {
            let word = match word {
                Words::Plain(word) => Word::Plain(word.clone()),
                Words::Secret(source) => {
                    let secret = Key::read_from(source.clone(), world.clone(), KEY_AGE_MAX);
                    secret
                        .current()
                        .await
                        .with_context(|| format!("the MCP server `{name}` cannot be given `{key}`"))?;
                    Word::Key(secret)
                }
            };
            words.insert(key.to_owned(), word);
        }
        let reach = match &server.reach {
            ReachConfig::Program { command, args, .. } => {
                Reach::Program { command: command.clone(), args: args.clone(), env: words }
            }
            ReachConfig::Address { url, .. } => Reach::Address { url: url.clone(), headers: words },
        };
        let terms = McpTerms { named: named(config, name), ..server.terms.clone() };
        servers.insert(name.clone(), McpServer { reach, terms });
    }
    Ok(servers)
}

/// The tools of a server that agents are given by name.
fn named(config: &Config, server: &str) -> BTreeSet<String> {
    let prefix = format!("{MCP_TOOL}{server}.");
    let given = config.agents.values().flat_map(|agent| agent.kit.tools.iter());
    let own = given.filter_map(|tool| tool.strip_prefix(prefix.as_str()));
    own.filter(|tool| !tool.contains('*')).map(str::to_owned).collect()
}
