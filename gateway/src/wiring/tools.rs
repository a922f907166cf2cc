//! What agents have beside their models, as the configuration names it. Invariant: a secret is read here, once, and
//! goes nowhere but to the server that it is for.

use std::collections::BTreeMap;

use agents::agent::Kit;
use agents::secret::Secret;
use agents::tool::mcp::{McpServer, Reach};
use anyhow::Context;

use crate::config::{Config, ReachConfig, Words};

/// What an agent has.
pub(super) fn kit(config: &Config, agent: &str) -> Kit {
    config.agents.get(agent).map(|agent| agent.kit.clone()).unwrap_or_default()
}

/// The MCP servers, with their secrets.
pub(super) async fn servers(config: &Config) -> anyhow::Result<BTreeMap<String, McpServer>> {
    let mut servers = BTreeMap::new();
    for (name, server) in &config.mcp {
        let mut words = BTreeMap::new();
        for (_, key, word) in server.words() {
            let word = match word {
                Words::Plain(word) => Secret::new(word),
                Words::Secret(source) => {
                    let read = source.read().await.map_err(anyhow::Error::msg);
                    read.with_context(|| format!("the MCP server `{name}` cannot be given `{key}`"))?
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
        servers.insert(name.clone(), McpServer { reach, terms: server.terms.clone() });
    }
    Ok(servers)
}
