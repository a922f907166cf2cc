//! The policies in force: the built-in ones, each replaced by a file where the
//! configuration names one. Invariant: all faults of all files are found at once.

use std::path::{Path, PathBuf};

use policies::budget::BudgetPolicy;
use policies::document::{self, Error};
use policies::guard::Guards;
use policies::price::PriceTable;
use policies::tree::{self, TreePolicy};

use crate::config::{self, Config, ModelConfig};

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
