//! What lies in the yard before the program starts: its configuration and its policies. Invariant:
//! the program is the production one; only where models and posts go, and how long it waits for
//! them, is set here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agents::workflow::ANNOUNCE;
use policies::budget::Limits;
use policies::money::Money;
use policies::{budget, document, tree};
use serde_json::{Value, json};

use super::{Kill9Error, Yard};
use crate::disk::take_down_stale;
use crate::plan::{Approval, Plan, Platform, Workload};
use crate::simulation::brief;

/// The folder of the program's data.
const DATA: &str = "data";
/// The publisher's name in configuration, tree and workflow.
pub(super) const PUBLISHER: &str = "board";
/// The price table's key of the scripted model: one that costs something.
pub(super) const PRICE: &str = "gpt-4o-mini";
/// The product of the built-in brief, which each run's own stands for.
const PRODUCT: &str = "Lamp 3";

/// Shorter than the built-in ones: a doubtful post waits for its time-out, and there is one after
/// nearly every kill.
const GUARDS: &str = "\
[default]
deadline = \"60s\"
timeout = \"10s\"
concurrency = 16
breaker.open = \"500ms\"
retry.backoff = { first = \"100ms\", factor = 2.0, cap = \"2s\", jitter = 0.5 }

[publisher]
timeout = \"2s\"
";

/// The files of a yard.
pub(super) struct Ground<'a> {
    yard: &'a Yard,
}

impl<'a> Ground<'a> {
    pub(super) fn new(yard: &'a Yard) -> Self {
        Self { yard }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.yard.folder.join(name)
    }

    /// Where the program keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        self.path(DATA)
    }

    pub(super) fn provider_ledger(&self) -> PathBuf {
        self.path("provider.jsonl")
    }

    pub(super) fn platform_ledger(&self) -> PathBuf {
        self.path("platform.jsonl")
    }

    /// Where provider and platform read what they are to do.
    pub(super) fn plan(&self) -> PathBuf {
        self.path("plan.json")
    }

    /// Writes what provider and platform read.
    pub(super) fn lay_plan(&self, plan: &Plan) -> Result<(), Kill9Error> {
        let text = serde_json::to_string(plan)
            .map_err(|error| Kill9Error::File { path: self.plan(), source: error.into() })?;
        self.write("plan.json", &text)
    }

    /// Writes everything that the program reads.
    pub(super) fn lay(&self, workload: &Workload, provider: &str, platform: &str) -> Result<(), Kill9Error> {
        let careful = workload.platform == Platform::Careful;
        let config = format!(
            "data = \"{DATA}\"\n\n[policies]\ntree = \"tree.toml\"\nguard = \"guard.toml\"\nbudget = \"budget.toml\"\n\n\
             [model]\nkind = \"openai\"\nurl = \"{provider}\"\nname = \"scripted\"\nprice = \"{PRICE}\"\n\n\
             [publishers.{PUBLISHER}]\nkind = \"webhook\"\nurl = \"{platform}/posts\"\n\
             deduplicates = {careful}\ncan_be_asked = {careful}\n"
        );
        self.write("callboard.toml", &config)?;
        self.write("tree.toml", &tree_text()?)?;
        self.write("guard.toml", GUARDS)?;
        self.write("budget.toml", &budget_text(workload)?)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Kill9Error> {
        let path = self.path(name);
        std::fs::write(&path, text).map_err(|source| Kill9Error::File { path, source })
    }
}

/// The folder, made and empty of what an earlier play has left.
pub(super) fn clear(folder: &Path) -> Result<(), Kill9Error> {
    let fail = |source| Kill9Error::File { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(fail)?;
    take_down_stale(&folder.join(DATA)).map_err(fail)?;
    match std::fs::read_dir(folder).map_err(fail)?.next() {
        None => Ok(()),
        Some(_) => Err(fail(std::io::Error::other("it is not empty; name another one, or empty it"))),
    }
}

fn tree_text() -> Result<String, Kill9Error> {
    let (alone, beside) = ("children = [\"feed\"]", format!("children = [\"feed\", \"{PUBLISHER}\"]"));
    if !tree::BUILTIN.contains(alone) {
        return Err(Kill9Error::Policy(format!("the tree has no `{alone}`")));
    }
    Ok(format!("{}\n[worker.{PUBLISHER}]\nmailbox = 256\n", tree::BUILTIN.replace(alone, &beside)))
}

fn budget_text(workload: &Workload) -> Result<String, Kill9Error> {
    let builtin = budget::BudgetPolicy::builtin().map_err(|errors| Kill9Error::Policy(document::lines(&errors)))?;
    let workspace = workload.budget.map_or(builtin.workspace, Limits::total);
    let limits = [("workspace", workspace), ("run", builtin.run), ("agent", builtin.agent)];
    let limits = limits.iter().filter(|(_, limits)| !limits.is_none());
    let lines = limits.map(|(name, limits)| format!("{name} = {limits}\n"));
    Ok(lines.collect())
}

/// What the workspace may spend.
pub(crate) fn budget_of(workload: &Workload) -> Result<Money, Kill9Error> {
    let builtin = budget::BudgetPolicy::builtin().map_err(|errors| Kill9Error::Policy(document::lines(&errors)))?;
    Ok(workload.budget.or(builtin.workspace.total).unwrap_or(Money::MAX))
}

/// The body of the request for the run of this number, which posts by this publisher.
pub(super) fn order(workload: &Workload, nth: usize, publisher: &str) -> String {
    let own = format!("Lamp {}", nth + 1_000);
    let inputs: BTreeMap<String, Value> =
        brief().into_iter().map(|(name, value)| (name, renamed(value, &own))).collect();
    let mut order = json!({
        "definition": ANNOUNCE.replace("publisher = \"feed\"", &format!("publisher = \"{publisher}\"")),
        "inputs": inputs,
        "approval": match workload.approval {
            Approval::Automatic => "automatic",
            Approval::Ask => "ask",
        },
    });
    if let Some(cost_max) = workload.cost_max {
        order["cost_max"] = json!(cost_max.to_string());
    }
    order.to_string()
}

fn renamed(value: Value, own: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(PRODUCT, own)),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, own)).collect(),
        Value::Object(map) => map.into_iter().map(|(name, item)| (name, renamed(item, own))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway::config::{Config, PublisherConfig};
    use gateway::policy::Policies;
    use gateway::system::names;

    use super::*;
    use crate::kill9::{Kill9Options, plan};

    #[test]
    fn what_is_laid_is_what_the_program_reads() {
        let folder = tempfile::tempdir().unwrap();
        let yard = Yard::new(folder.path().to_owned(), PathBuf::new(), PathBuf::new());
        let budget = Some("$1.50".parse().unwrap());
        let options = Kill9Options { platform: Platform::Careless, budget, ..Kill9Options::default() };
        let workload = plan(&options).workload;
        Ground::new(&yard).lay(&workload, "http://127.0.0.1:1/v1", "http://127.0.0.1:2").unwrap();
        let config = Config::load(Some(&folder.path().join("callboard.toml"))).unwrap();
        let policies = Policies::load(&config).unwrap();
        assert_eq!(policies.budget.workspace.total, budget);
        assert_eq!(policies.guards.get("publisher/board").timeout.duration(), Duration::from_secs(2));
        let PublisherConfig::Webhook { url, deduplicates, can_be_asked, .. } = &config.publishers["board"];
        assert_eq!((url.as_str(), *deduplicates, *can_be_asked), ("http://127.0.0.1:2/posts", false, false));
        let order: Value = serde_json::from_str(&order(&workload, 7, PUBLISHER)).unwrap();
        let definition = order["definition"].as_str().unwrap();
        let workflow = agents::workflow::check("definition", definition, &names(&config)).unwrap();
        let inputs = order["inputs"].as_object().unwrap().clone().into_iter().collect();
        workflow.bind(inputs).unwrap();
        assert!(definition.contains("\"board\"") && !definition.contains("\"feed\"\npost"));
        assert!(!order.to_string().contains("Lamp 3 ") && order.to_string().contains("Lamp 1007"));
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        clear(&folder.path().join("new")).unwrap();
        assert!(clear(folder.path()).unwrap_err().to_string().contains(&folder.path().display().to_string()));
    }
}
