//! The policies in force: the built-in ones, each replaced by a file where the
//! configuration names one. Invariant: all faults of all files are found at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use policies::budget::BudgetPolicy;
use policies::document::{self, Error};
use policies::guard::Guards;
use policies::price::PriceTable;
use policies::tree::{self, NodePolicy, TreePolicy};

use crate::config::{self, Config, ModelConfig};
use crate::system::{SERVICES, agents, publishers};

/// The price table's key of the local model.
const LOCAL: &str = "local";

/// Everything that policy decides.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The supervision tree.
    pub tree: TreePolicy,
    /// Time-outs, rates, breakers and retries.
    pub guards: Guards,
    /// What models cost.
    pub prices: PriceTable,
    /// What may be spent.
    pub budget: BudgetPolicy,
}

impl Policies {
    /// Reads what the configuration names, and the built-in rest.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(config: &Config) -> Result<Self, Vec<Error>> {
        let files = &config.policies;
        let mut faults = Vec::new();
        let one = |e: Error| vec![e];
        let tree = part(&files.tree, TreePolicy::builtin, read_tree, &mut faults);
        let guards = part(&files.guard, Guards::builtin, |f, t| Guards::read(f, t).map_err(one), &mut faults);
        let prices = part(&files.prices, PriceTable::builtin, |f, t| document::read(f, t).map_err(one), &mut faults);
        let budget = part(&files.budget, BudgetPolicy::builtin, |f, t| document::read(f, t).map_err(one), &mut faults);
        match (tree, guards, prices, budget) {
            (Some(tree), Some(guards), Some(prices), Some(budget)) => {
                let strangers = strangers(config, &tree);
                if !strangers.is_empty() {
                    return Err(strangers);
                }
                let mut policies = Self { tree, guards, prices, budget };
                policies.price_local(config);
                Ok(policies)
            }
            _ => Err(faults),
        }
    }

    /// A configured price for a second of CPU goes into the table, so that the
    /// local model is accounted for like any other.
    fn price_local(&mut self, config: &Config) {
        let models = std::iter::once(&config.model).chain(config.agents.values().filter_map(|a| a.model.as_ref()));
        for model in models {
            if let (ModelConfig::Local { cpu_second: Some(price), .. }, Some(local)) =
                (model, self.prices.models.get_mut(LOCAL))
            {
                local.cpu_second = *price;
            }
        }
    }
}

/// Agents and publishers that no worker of the tree stands for, and workers that nothing can start.
fn strangers(config: &Config, tree: &TreePolicy) -> Vec<Error> {
    let label = config.policies.tree.as_ref().map_or_else(|| "tree.toml".to_owned(), |file| file.display().to_string());
    let text = config.policies.tree.as_ref().and_then(|file| config::read(file).ok()).unwrap_or_default();
    let fault = |sign: String, message: String, help: String| {
        let (line, column) = document::position(&text, text.find(&sign).unwrap_or(0));
        Error { file: label.clone(), line, column, message, help }
    };
    let startable: BTreeSet<&str> = agents(config).chain(SERVICES).chain(publishers(config)).collect();
    let missing = startable.iter().filter(|name| tree.worker(name).is_none());
    let missing = missing.map(|name| {
        let help = format!("add [worker.{name}] and name it among the children of a supervisor");
        fault("[worker".to_owned(), format!("the tree has no worker `{name}`"), help)
    });
    let workers = tree.nodes.iter().filter(|(_, node)| matches!(node, NodePolicy::Worker(_)));
    let unknown = workers.filter(|(name, _)| !startable.contains(name.as_str())).map(|(name, _)| {
        let help = document::suggestion(name, startable.iter().copied());
        fault(format!("[worker.{name}"), format!("nothing in this program can start the worker `{name}`"), help)
    });
    missing.chain(unknown).collect()
}

/// The tree, or all its faults and not only the first.
fn read_tree(file: &str, text: &str) -> Result<TreePolicy, Vec<Error>> {
    TreePolicy::read(file, text).map_err(|_| tree::check(file, text))
}

fn part<T>(
    file: &Option<PathBuf>,
    builtin: impl FnOnce() -> Result<T, Error>,
    read: impl FnOnce(&str, &str) -> Result<T, Vec<Error>>,
    faults: &mut Vec<Error>,
) -> Option<T> {
    let loaded = match file {
        None => builtin().map_err(|e| vec![e]),
        Some(path) => text(path).and_then(|text| read(&path.display().to_string(), &text)),
    };
    loaded.map_err(|found| faults.extend(found)).ok()
}

fn text(path: &Path) -> Result<String, Vec<Error>> {
    config::read(path).map_err(|e| vec![e])
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::money::Money;

    #[test]
    fn the_built_in_policies_are_sound() {
        Policies::load(&Config::default()).unwrap();
    }

    #[test]
    fn a_price_for_cpu_reaches_the_table() {
        let price: Money = "$0.001".parse().unwrap();
        let model = ModelConfig::Local { path: None, cpu_second: Some(price) };
        let policies = Policies::load(&Config { model, ..Config::default() }).unwrap();
        assert_eq!(policies.prices.models[LOCAL].cpu_second, price);
    }

    #[test]
    fn an_agent_needs_a_worker_and_a_worker_something_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree.toml");
        let builtin = include_str!("../../policies/defaults/tree.toml");
        std::fs::write(&path, builtin.replace("reviewer", "critic")).unwrap();
        let mut config = Config::default();
        config.policies.tree = Some(path);
        let faults: Vec<_> = Policies::load(&config).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("no worker `reviewer`"), "{faults:?}");
        let line = builtin.lines().position(|line| line == "[worker.reviewer]").unwrap() + 1;
        assert!(faults[1].contains(&format!("tree.toml:{line}:1:")) && faults[1].contains("`critic`"), "{faults:?}");
        config.policies.tree = None;
        config.agents.insert("editor".to_owned(), crate::config::AgentConfig::default());
        assert!(Policies::load(&config).unwrap_err()[0].to_string().contains("no worker `editor`"));
    }

    #[test]
    fn a_publisher_needs_a_worker() {
        let board = crate::config::PublisherConfig::Webhook {
            url: "http://board/posts".to_owned(),
            key: None,
            deduplicates: false,
            can_be_asked: false,
        };
        let mut config = Config::default();
        config.publishers.insert("board".to_owned(), board);
        assert!(Policies::load(&config).unwrap_err()[0].to_string().contains("no worker `board`"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree.toml");
        let builtin = include_str!("../../policies/defaults/tree.toml");
        let tree = builtin.replace("children = [\"feed\"]", "children = [\"feed\", \"board\"]");
        std::fs::write(&path, format!("{tree}\n[worker.board]\n")).unwrap();
        config.policies.tree = Some(path);
        Policies::load(&config).unwrap();
    }

    #[test]
    fn faults_of_several_files_are_found_together() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut config = Config::default();
        config.policies.tree = write("tree.toml", "root = \"a\"\n[supervisor.a]\nchilden = []\n");
        config.policies.budget = write("budget.toml", "workspace = \"20\"\n");
        let faults = Policies::load(&config).unwrap_err();
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|t| t.contains("tree.toml:3:") && t.contains("children")), "{text:?}");
        assert!(text.iter().any(|t| t.contains("budget.toml:1:")), "{text:?}");
    }
}
