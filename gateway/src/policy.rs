//! The policies in force: the built-in ones, each replaced by a file where the
//! configuration names one. Invariant: all faults of all files are found at once, and no policy names
//! anything that the configuration does not have.

mod bearings;
mod casting;
mod documents;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use agents::agent::{AGENT_GUARD, AgentTerms};
use policies::budget::BudgetPolicy;
use policies::document::{self, Error};
use policies::guard::{GuardPolicy, Guards};
use policies::price::PriceTable;
use policies::span::Span;
use policies::tree::TreePolicy;

pub(crate) use bearings::guarded;
pub use documents::{Document, Documents};
pub use schema::SchemaOf;

use crate::config::{Config, LOCAL, ModelConfig};
use crate::written::Written;

/// The most calls at once behind an agent's own guard, which limits none: that of its model does.
const OWN_CALLS_MAX: u32 = 10_000;

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
    /// Every fault of every file, and every name in one that no other knows.
    pub fn load(config: &Config) -> Result<Self, Vec<Error>> {
        Self::of(config, &Documents::read(config)?)
    }

    /// Reads these texts, under this configuration.
    ///
    /// # Errors
    /// Every fault of every text, and every name in one that no other knows.
    pub fn of(config: &Config, documents: &Documents) -> Result<Self, Vec<Error>> {
        let Documents { tree, guard, prices, budget } = documents;
        let mut faults = Vec::new();
        let tree = part(tree, "tree", TreePolicy::read, &mut faults);
        let guards = part(guard, "guards", Guards::read, &mut faults);
        let prices = part(prices, "price table", document::read, &mut faults);
        let budget = part(budget, "budget", document::read, &mut faults);
        faults.extend(tree.iter().flat_map(|(tree, written)| bearings::tree(config, tree, written)));
        faults.extend(tree.iter().flat_map(|(tree, written)| {
            let prices = prices.as_ref().map(|(prices, _)| prices);
            casting::faults(config, tree, prices, written)
        }));
        faults.extend(guards.iter().flat_map(|(guards, written)| bearings::guards(config, guards, written)));
        faults.extend(prices.iter().flat_map(|(prices, _)| bearings::prices(config, prices)));
        faults.extend(budget.iter().flat_map(|(budget, written)| bearings::budget(config, budget, written)));
        match (tree, guards, prices, budget) {
            (Some((tree, _)), Some((guards, _)), Some((prices, _)), Some((budget, _))) if faults.is_empty() => {
                let mut policies = Self { tree, guards, prices, budget };
                policies.price_local(config);
                Ok(policies)
            }
            _ => Err(faults),
        }
    }

    /// What is let pass in the texts that these were read from, and may not be meant.
    #[must_use]
    pub fn doubts(&self, config: &Config, documents: &Documents) -> Vec<Error> {
        let mut doubts = bearings::idle(config, &self.tree, &documents.tree.written("tree"));
        doubts.extend(bearings::unlimited(&self.budget, &documents.budget.written("budget")));
        doubts
    }

    /// How long one call under a guard may take.
    #[must_use]
    pub fn timeout(&self, guard: &str) -> Duration {
        self.guards.get(guard).timeout.duration()
    }

    /// The guards of effects, and those that agents have of their own.
    #[must_use]
    pub fn guards_in_force(&self) -> Guards {
        let mut guards = self.guards.clone();
        let workers = self.tree.nodes.keys().filter_map(|name| Some((name, self.tree.worker(name)?)));
        for (name, worker) in workers.filter(|(_, worker)| worker.breaker.is_some() || worker.rate.is_some()) {
            let own = GuardPolicy {
                concurrency: OWN_CALLS_MAX,
                rate: worker.rate,
                breaker: worker.breaker.unwrap_or_default(),
                ..GuardPolicy::default()
            };
            guards.set(format!("{AGENT_GUARD}/{name}"), own);
        }
        guards
    }

    /// How an agent's calls are made.
    #[must_use]
    pub fn terms(&self, agent: &str) -> AgentTerms {
        let worker = self.tree.worker(agent);
        AgentTerms {
            breaks: worker.is_some_and(|worker| worker.breaker.is_some()),
            paced: worker.is_some_and(|worker| worker.rate.is_some()),
            pool: worker.and_then(|worker| worker.pool.clone()).map(Arc::new),
            fallback: self.tree.fallback(agent).to_vec(),
        }
    }

    /// How long an agent's call may give no sign of life.
    #[must_use]
    pub fn silence_max(&self, agent: &str) -> Option<Duration> {
        let liveness = self.tree.worker(agent).and_then(|worker| worker.liveness);
        liveness.and_then(|liveness| liveness.calling_within).map(Span::duration)
    }

    /// A configured price for a second of CPU goes into the table, so that the
    /// local model is accounted for like any other.
    fn price_local(&mut self, config: &Config) {
        for used in config.models() {
            if let (ModelConfig::Local { cpu_second: Some(price), .. }, Some(local)) =
                (used.model, self.prices.models.get_mut(LOCAL))
            {
                local.cpu_second = *price;
            }
        }
    }
}

/// A policy and what it was read from.
type Part<T> = Option<(T, Written)>;

fn part<T>(
    document: &Document,
    what: &str,
    read: impl FnOnce(&str, &str) -> Result<T, Vec<Error>>,
    faults: &mut Vec<Error>,
) -> Part<T> {
    let policy = read(&document.label, &document.text).map_err(|found| faults.extend(found)).ok()?;
    Some((policy, document.written(what)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use policies::money::Money;

    use super::*;
    use crate::config::ModelChoice;

    #[test]
    fn the_built_in_policies_are_sound() {
        Policies::load(&Config::default()).unwrap();
    }

    #[test]
    fn a_price_for_cpu_reaches_the_table() {
        let price: Money = "$0.001".parse().unwrap();
        let model = ModelChoice::Own(ModelConfig::Local { path: None, cpu_second: Some(price) });
        let policies = Policies::load(&Config { model, ..Config::default() }).unwrap();
        assert_eq!(policies.prices.models[LOCAL].cpu_second, price);
    }

    /// The faults and the doubts of the built-in policies but for the tree, which says this.
    fn with_tree(mut config: Config, tree: &str) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree.toml");
        std::fs::write(&path, tree).unwrap();
        config.policies.tree = Some(path);
        let documents = Documents::read(&config).unwrap();
        let (faults, doubts) = match Policies::of(&config, &documents) {
            Ok(policies) => (Vec::new(), policies.doubts(&config, &documents)),
            Err(faults) => (faults, Vec::new()),
        };
        let told = |found: &[Error]| document::lines(found).replace(&format!("{}/", dir.path().display()), "");
        (told(&faults), told(&doubts))
    }

    #[test]
    fn only_telemetry_may_be_dropped_and_a_mistake_is_told_where_it_is_inherited_from() {
        let builtin = include_str!("../../policies/defaults/tree.toml");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree.toml");
        let told = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut config = Config::default();
            config.policies.tree = Some(path.clone());
            let faults = Policies::load(&config).err().unwrap_or_default();
            faults.iter().map(|fault| (fault.line, fault.column, fault.message.clone())).collect::<Vec<_>>()
        };
        let drops = "mailbox = { bound = 9, when_full = \"drop_oldest\" }";
        assert_eq!(
            told(&builtin.replace("[worker.aggregator]\nmailbox = 256", &format!("[worker.aggregator]\n{drops}"))),
            []
        );
        let faults = told(&builtin.replace("[worker.context]", &format!("[worker.context]\n{drops}")).replacen(
            "mailbox = 256\nliveness = { progress_within = \"2m\" }",
            "",
            1,
        ));
        let line = builtin.lines().position(|line| line == "[worker.context]").unwrap() + 2;
        let message = "`context` carries what was promised, so its mailbox may not drop the oldest".to_owned();
        assert_eq!(faults, [(line, 36, message)]);
        let inherited = format!("{}\n[default.worker]\n{drops}\n", builtin.replace("mailbox = 256\n", ""));
        let faults = told(&inherited);
        // The workers but the aggregator and the ledger, whose number is joined with it, and the runs.
        assert!(faults.len() > 5 && faults.iter().all(|(line, ..)| *line == inherited.lines().count()), "{faults:?}");
    }

    #[test]
    fn a_worker_needs_something_to_start_it_and_a_service_a_worker() {
        let builtin = policies::tree::BUILTIN;
        let (faults, _) = with_tree(Config::default(), &builtin.replace("reviewer", "critic"));
        let line = builtin.lines().position(|line| line == "[worker.reviewer]").unwrap() + 1;
        assert!(
            faults.starts_with(&format!("tree.toml:{line}:9: nothing in this program can start the worker `critic`")),
            "{faults}"
        );
        let (faults, _) =
            with_tree(Config::default(), "root = \"a\"\n[supervisor.a]\nchildren = [\"ledger\"]\n[worker.ledger]\n");
        for lack in ["worker `aggregator`", "worker `context`", "dynamic supervisor `runs`"] {
            assert!(faults.contains(&format!("tree.toml: the tree has no {lack}; add [")), "{faults}");
        }
    }

    #[test]
    fn an_agent_or_a_publisher_without_a_worker_is_let_pass_and_told() {
        let builtin = policies::tree::BUILTIN;
        let (before, after) = builtin.split_once("[worker.reviewer]").unwrap();
        let without = format!("{before}{}", after.split_once("\n\n").unwrap().1).replace(", \"reviewer\"", "");
        let (faults, doubts) = with_tree(Config::default(), &without);
        assert_eq!(faults, "");
        assert!(
            doubts
                .starts_with("tree.toml: the tree has no worker `reviewer`, so what is given to `reviewer` waits; add"),
            "{doubts}"
        );

        let board = crate::config::PublisherConfig::Webhook {
            url: "http://board/posts".to_owned(),
            key: None,
            deduplicates: false,
            can_be_asked: false,
        };
        let text = "\n[publishers.board]\n".to_owned();
        let mut config = Config { written: Written::in_file(Path::new("c.toml"), text), ..Config::default() };
        config.publishers.insert("board".to_owned(), board);
        let documents = Documents::read(&config).unwrap();
        let doubts = Policies::of(&config, &documents).unwrap().doubts(&config, &documents);
        let told = document::lines(&doubts);
        assert!(
            told.starts_with("c.toml:2:13: the built-in tree has no worker `board`") && told.contains("; copy "),
            "{told}"
        );
        let tree = builtin.replace("children = [\"feed\"]", "children = [\"feed\", \"board\"]");
        assert_eq!(with_tree(config, &format!("{tree}\n[worker.board]\n")), (String::new(), String::new()));
    }

    /// What is wrong with this configuration, with these policy files beside it.
    fn told(config: &str, files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("callboard.toml");
        std::fs::write(&path, config).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config = Config::load(Some(&path)).unwrap();
        let faults = Policies::load(&config).err().unwrap_or_default();
        document::lines(&faults).replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn a_model_without_a_price_is_named_with_its_place() {
        let model = |kind: &str| format!("[{kind}]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"gpt-4o-mni\"\n");
        assert_eq!(
            told(&model("model"), &[]),
            "callboard.toml:4:8: the price table has no model `gpt-4o-mni`, and budgets cannot be kept without its price \
             (for researcher, reviewer, writer); did you mean `gpt-4o-mini`? If not, set `price` to a key of the table (`local` for a server of your own), or \
             add [models.\"gpt-4o-mni\"] to it"
        );
        let own = format!("{}price = \"lokal\"\n", model("agents.writer.model"));
        let found = told(&own, &[]);
        assert!(found.starts_with("callboard.toml:5:9: the price table has no model `lokal`"), "{found}");
        assert!(found.contains("(for writer); did you mean `local`?"), "{found}");
        let bare = "version = 1\nsource = \"x\"\ndate = \"y\"\n";
        let found = told("policies.prices = \"p.toml\"\n", &[("p.toml", bare)]);
        assert!(found.starts_with("callboard.toml: the price table has no model `local`"), "{found}");
        assert_eq!(told(&model("model").replace("mni", "mini"), &[]), "");
    }

    #[test]
    fn thinking_with_a_model_that_cannot_be_told_to_is_a_fault() {
        let model = |more: &str| {
            format!("[models.m]\nkind = \"compatible\"\nurl = \"http://a/v1\"\nname = \"gpt-4o-mini\"\n{more}\n")
        };
        let agent =
            |model: &str, thinking: &str| format!("[agents.writer]\nmodel = \"{model}\"\nthinking = {thinking}\n");
        assert_eq!(
            told(&agent("local", "\"high\""), &[]),
            "callboard.toml:3:12: `thinking` is for a model that can be told how much to think, which the model of `writer` is not; \
             take it out, or give the agent another model"
        );
        let without = format!("{}{}", model("without = [\"thinking\"]"), agent("m", "2048"));
        assert!(told(&without, &[]).starts_with("callboard.toml:8:12: `thinking` is for a model"), "{without}");
        for good in [format!("{}{}", model(""), agent("m", "2048")), agent("local", "\"off\"")] {
            assert_eq!(told(&good, &[]), "", "{good}");
        }
        let pool = |models: &str| {
            let pool = format!("[worker.writer]\npool = {{ models = [{models}] }}\n");
            policies::tree::BUILTIN.replace("[worker.writer]\n", &pool)
        };
        let config = format!("policies.tree = \"t.toml\"\n{}{}", model(""), agent("local", "\"low\""));
        assert_eq!(told(&config, &[("t.toml", &pool("\"m\", \"local\""))]), "");
        let found = told(&config, &[("t.toml", &pool("\"local\""))]);
        assert!(found.contains("no model of the pool of `writer`"), "{found}");
    }

    #[test]
    fn a_limit_for_nobody_is_found() {
        let budget = "run = \"$1.00\"\n[agents]\nwritr = \"$1.00\"\nwriter = \"$1.00\"\n";
        assert_eq!(
            told("policies.budget = \"b.toml\"\n", &[("b.toml", budget)]),
            "b.toml:3:9: there is no agent `writr`, so its limit holds nobody; did you mean `writer`?"
        );
    }

    #[test]
    fn a_guard_of_nothing_is_found() {
        let config =
            "policies.guard = \"g.toml\"\n[model]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"gpt-4o-mini\"\n";
        let guards = "[default]\n[model]\n[\"model/gpt-4o-mini\"]\n[\"model/local\"]\n[publisher]\n[\"publisher/feed\"]\n[context]\n\
                      [modle]\n[\"model/gpt-4o\"]\n[\"publisher/fed\"]\n";
        assert_eq!(
            told(config, &[("g.toml", guards)]),
            "g.toml:8:2: nothing stands behind the guard `modle`; did you mean `model`?\n\
             g.toml:9:2: nothing stands behind the guard `model/gpt-4o`; did you mean `model/gpt-4o-mini`?\n\
             g.toml:10:2: nothing stands behind the guard `publisher/fed`; did you mean `publisher/feed`?"
        );
    }

    #[test]
    fn the_guard_of_a_family_of_models_stands_for_each() {
        let config = "policies.guard = \"g.toml\"\n[model]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"org/small/one\"\nprice = \"local\"\n";
        assert_eq!(told(config, &[("g.toml", "[\"model/org/small\"]\n[\"model/org\"]\n")]), "");
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
