//! Pools, stand-ins, breakers and rates of workers, held against the configuration. Invariant: what is written
//! of a worker that makes no call through them is a fault, and so is a stand-in that cannot stand in.

use agents::model::{Ability, Thinking};
use policies::document::{self, Error};
use policies::fallback::StandIn;
use policies::price::PriceTable;
use policies::tree::{NodePolicy, TreePolicy, WorkerPolicy};

use super::LOCAL;
use crate::config::{Config, ModelConfig};
use crate::system::{agents, publishers};
use crate::written::Written;

/// Everything that is wrong with them.
pub(super) fn faults(config: &Config, tree: &TreePolicy, prices: Option<&PriceTable>, written: &Written) -> Vec<Error> {
    let mut found = Vec::new();
    for (name, node) in &tree.nodes {
        match node {
            NodePolicy::Supervisor(_) => {}
            NodePolicy::Dynamic(policy) => {
                let place = |key| vec!["dynamic", name.as_str(), "child", key];
                found.extend(idle(&policy.child).map(|key| {
                    let message =
                        format!("the children of `{name}` make no calls of their own, so `{key}` holds nobody");
                    written.fault(&place(key), message, "give it to the agents that they ask")
                }));
            }
            NodePolicy::Worker(worker) if agents(config).any(|agent| agent == name) => {
                found.extend(thoughtless(config, name, worker));
                let stand_ins = worker.fallback.iter().enumerate();
                found.extend(stand_ins.filter_map(|(place, one)| {
                    let (message, help) = misfit(config, prices, (name, worker), one)?;
                    Some(written.fault(&["worker", name, "fallback", &place.to_string()], message, help))
                }));
                let pool = worker.pool.iter().flat_map(|pool| &pool.models).enumerate();
                found.extend(pool.filter_map(|(place, model)| {
                    let (message, help) = unknown(config, model, "", &format!("in the pool of `{name}`"))
                        .or_else(|| unpriced(config, prices, model))?;
                    Some(written.fault(&["worker", name, "pool", "models", &place.to_string()], message, help))
                }));
            }
            NodePolicy::Worker(worker) => found.extend(idle(worker).map(|key| {
                let message = format!("`{name}` is no agent, so its `{key}` holds nobody");
                written.fault(&["worker", name, key], message, elsewhere(config, name, key))
            })),
        }
    }
    found
}

/// An agent that is to think with models that cannot be told to.
fn thoughtless(config: &Config, agent: &str, worker: &WorkerPolicy) -> Option<Error> {
    config.agents.get(agent)?.kit.thinking.filter(|thinking| *thinking != Thinking::Off)?;
    let (whose, can) = match &worker.pool {
        Some(pool) => {
            let mut models = pool.models.iter().filter_map(|model| config.named_model(model));
            (format!("no model of the pool of `{agent}` is"), models.any(|used| used.model.can(Ability::Thinking)))
        }
        None => (format!("the model of `{agent}` is not"), config.model_of(agent).model.can(Ability::Thinking)),
    };
    (!can).then(|| {
        let message = format!("`thinking` is for a model that can be told how much to think, which {whose}");
        config.written.fault(&["agents", agent, Thinking::KEY], message, "take it out, or give the agent another model")
    })
}

/// The keys that only an agent can have.
fn idle(worker: &WorkerPolicy) -> impl Iterator<Item = &'static str> {
    let written = [
        ("breaker", worker.breaker.is_some()),
        ("rate", worker.rate.is_some()),
        ("pool", worker.pool.is_some()),
        ("fallback", !worker.fallback.is_empty()),
    ];
    written.into_iter().filter(|(_, is_written)| *is_written).map(|(key, _)| key)
}

/// Where such a key has its place for a worker that is no agent.
fn elsewhere(config: &Config, name: &str, key: &str) -> String {
    let guard = if publishers(config).any(|publisher| publisher == name) {
        format!("\"publisher/{name}\"")
    } else if name == "context" {
        name.to_owned()
    } else {
        return "take it out".to_owned();
    };
    if matches!(key, "fallback" | "pool") {
        "take it out".to_owned()
    } else {
        format!("write it in guard.toml, under [{guard}]")
    }
}

/// Why one cannot stand in for this agent, and what to do.
fn misfit(
    config: &Config,
    prices: Option<&PriceTable>,
    (agent, worker): (&str, &WorkerPolicy),
    stand_in: &StandIn,
) -> Option<(String, String)> {
    let name = match stand_in {
        StandIn::Agent(name) => {
            // One that the tree does not have is told by its reader.
            let message = format!("`{name}` is no agent, so it cannot stand in for `{agent}`");
            let help = || document::suggestion(name, agents(config).collect::<Vec<_>>());
            return (!agents(config).any(|known| known == name)).then(|| (message, help()));
        }
        StandIn::Model(name) => name,
    };
    if let Some(fault) = unknown(config, name, "model/", &format!("to stand in for `{agent}`")) {
        return Some(fault);
    }
    let is_its_own = config.named_model(name).is_some_and(|model| model.guard() == config.model_of(agent).guard());
    if worker.pool.is_none() && is_its_own {
        let message = format!("`{name}` is the model of `{agent}` itself, so it cannot stand in for it");
        return Some((message, "name another".to_owned()));
    }
    unpriced(config, prices, name)
}

/// Why there is no such model, and what to do; `before` is written before a model's name there.
fn unknown(config: &Config, name: &str, before: &str, what_for: &str) -> Option<(String, String)> {
    if config.named_model(name).is_some() {
        return None;
    }
    let meant = document::closest(name, config.model_names());
    let meant = meant.map(|other| format!("did you mean `{before}{other}`? If not, ")).unwrap_or_default();
    let message = format!("there is no model `{name}` {what_for}");
    Some((message, format!("{meant}describe it as [models.{name}] in callboard.toml")))
}

/// Why nobody knows what a model costs, and what to do. What is described has its price looked for where it
/// is described.
fn unpriced(config: &Config, prices: Option<&PriceTable>, name: &str) -> Option<(String, String)> {
    let model = config.named_model(name)?;
    let is_local = matches!(model.model, ModelConfig::Local { .. });
    let has_price = prices.is_none_or(|prices| prices.models.contains_key(LOCAL));
    (is_local && !has_price).then(|| {
        let message = format!("the price table has no model `{LOCAL}`, and budgets cannot be kept without its price");
        (message, format!("add [models.{LOCAL}] to it"))
    })
}

#[cfg(test)]
mod tests {
    use policies::document::lines;

    use crate::config::Config;
    use crate::policy::Policies;

    const TREE: &str = policies::tree::BUILTIN;
    const CLAUDE: &str = "[models.claude]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"claude-haiku-4-5\"\n";

    /// What is wrong with a tree whose writer has these lines, beside this configuration.
    fn told(config: &str, prices: Option<&str>, worker: &str, lines_of_it: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let head = format!("[worker.{worker}]\n");
        let tree = TREE.replace(&head, &format!("{head}{lines_of_it}"));
        let first = tree.lines().position(|line| line == head.trim()).unwrap() + 2;
        std::fs::write(dir.path().join("tree.toml"), tree).unwrap();
        let named = prices.map_or("", |_| "policies.prices = \"prices.toml\"\n");
        std::fs::write(dir.path().join("prices.toml"), prices.unwrap_or_default()).unwrap();
        let path = dir.path().join("callboard.toml");
        std::fs::write(&path, format!("policies.tree = \"tree.toml\"\n{named}{config}")).unwrap();
        let faults = Config::load(Some(&path)).and_then(|config| Policies::load(&config)).err().unwrap_or_default();
        lines(&faults).replace(&format!("{}/", dir.path().display()), "").replace(&format!("tree.toml:{first}:"), "")
    }

    #[test]
    fn a_chain_of_models_and_agents_is_sound() {
        let list = "fallback = [\"model/claude\", \"agent/reviewer\"]\nrate = \"9/min\"\nbreaker.failures = 2\n";
        assert_eq!(told(CLAUDE, None, "writer", list), "");
        assert_eq!(
            told(&format!("model = \"claude\"\n{CLAUDE}"), None, "writer", "fallback = [\"model/local\"]\n"),
            ""
        );
    }

    #[test]
    fn a_stand_in_that_is_not_there_gets_a_suggestion() {
        let list = "fallback = [\"model/claud\", \"agent/feed\", \"model/local\"]\n";
        assert_eq!(
            told(CLAUDE, None, "writer", list),
            "13: there is no model `claud` to stand in for `writer`; did you mean `model/claude`? If not, describe it as \
             [models.claud] in callboard.toml\n\
             28: `feed` is no agent, so it cannot stand in for `writer`; known here: `researcher`, `reviewer`, `writer`\n\
             42: `local` is the model of `writer` itself, so it cannot stand in for it; name another"
        );
    }

    #[test]
    fn a_stand_in_without_a_price_is_refused() {
        let bare =
            "version = 1\nsource = \"x\"\ndate = \"y\"\n[models.claude-haiku-4-5]\ninput = \"$1\"\noutput = \"$1\"\n";
        let all = format!("model = \"claude\"\n{CLAUDE}");
        let found = told(&all, Some(bare), "writer", "fallback = [\"model/local\"]\n");
        assert!(found.starts_with("13: the price table has no model `local`, and budgets"), "{found}");
        let found = told(&CLAUDE.replace("haiku-4-5", "hiku-4-5"), None, "writer", "fallback = [\"model/claude\"]\n");
        assert!(found.starts_with("callboard.toml:5:8: the price table has no model `claude-hiku-4-5`"), "{found}");
    }

    #[test]
    fn what_only_agents_can_have_is_told_of_others_with_its_place() {
        assert_eq!(
            told("", None, "feed", "rate = \"9/min\"\n"),
            "8: `feed` is no agent, so its `rate` holds nobody; write it in guard.toml, under [\"publisher/feed\"]"
        );
        let found = told("", None, "ledger", "fallback = [\"model/local\"]\nbreaker.failures = 3\n");
        assert!(found.contains("`ledger` is no agent, so its `breaker` holds nobody; take it out"), "{found}");
        assert!(found.contains("12: `ledger` is no agent, so its `fallback` holds nobody; take it out"), "{found}");
    }

    #[test]
    fn a_model_of_a_pool_that_is_not_there_gets_a_suggestion() {
        let list = "pool = { models = [\"claud\", \"local\"], choose = \"best\" }\n";
        assert_eq!(
            told(CLAUDE, None, "writer", list),
            "20: there is no model `claud` in the pool of `writer`; did you mean `claude`? If not, describe it as \
             [models.claud] in callboard.toml"
        );
        let own = "pool.models = [\"claude\"]\nfallback = [\"model/local\"]\n";
        assert_eq!(told(CLAUDE, None, "writer", own), "", "with a pool, its own model may stand in for it");
        let found = told("", None, "feed", "pool.models = [\"local\"]\n");
        assert!(found.contains("`feed` is no agent, so its `pool` holds nobody; take it out"), "{found}");
    }
}
