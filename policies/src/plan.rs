//! What becomes of a running system when its policies change.
//!
//! A pure comparison: every difference between two policies is one [`Change`], and every change says
//! when it takes effect. A change that is refused refuses them all, so that what is in force is always
//! one policy as a whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::budget::BudgetPolicy;
use crate::explain::{leaves, literal};
use crate::guard::Guards;
use crate::money::Money;
use crate::price::PriceTable;
use crate::reshape::{Fate, Reshaping};
use crate::tree::{NodePolicy, TreePolicy};

/// All policies of a system.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The supervision tree.
    pub tree: &'a TreePolicy,
    /// What surrounds effects.
    pub guards: &'a Guards,
    /// What models cost.
    pub prices: &'a PriceTable,
    /// What may be spent.
    pub budget: &'a BudgetPolicy,
}

/// A difference between what is in force and what is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which policy.
    pub of: Of,
    /// The keys that lead to it, with dots between them.
    pub key: String,
    /// What was, as TOML writes it; none where nothing was.
    pub from: Option<String>,
    /// What is to be; none where nothing is.
    pub to: Option<String>,
    /// When it takes effect.
    #[serde(flatten)]
    pub effect: Effect,
}

/// The policies by their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// `tree.toml`
    Tree,
    /// `guard.toml`
    Guard,
    /// `prices.toml`
    Prices,
    /// `budget.toml`
    Budget,
}

/// When a change takes effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// At once, without a restart.
    InPlace,
    /// At once: these are started.
    Starts {
        /// Their names in the tree.
        children: Vec<String>,
    },
    /// At once: these are stopped within their time, and leave the tree.
    Stops {
        /// Their names in the tree.
        children: Vec<String>,
    },
    /// At once: these are stopped, and started where they are to be.
    Moves {
        /// Their names in the tree.
        children: Vec<String>,
    },
    /// In the next life of each of these.
    NextLife {
        /// Their names in the tree.
        children: Vec<String>,
    },
    /// When the system starts the next time.
    NextStart,
    /// Not at all while the system runs.
    Refused {
        /// Why, and what to do.
        why: String,
    },
}

impl Change {
    /// Whether it may not be made while the system runs.
    pub const fn is_refused(&self) -> bool {
        matches!(self.effect, Effect::Refused { .. })
    }
}

/// What is different, in the order of the files and of their keys. `behind` names those in the tree that
/// use a guard.
pub fn plan(old: Rules<'_>, new: Rules<'_>, behind: impl Fn(&str) -> Vec<String>) -> Vec<Change> {
    let mut changes = tree(old.tree, new.tree);
    let names: BTreeSet<&str> = old.guards.iter().chain(new.guards.iter()).map(|(name, _)| name).collect();
    for name in names {
        let (old, new) = (value(&old.guards.get(name)), value(&new.guards.get(name)));
        changes.extend(differences(Of::Guard, name, old, new, |key| match key {
            // A stand-in takes it from the guard, call by call.
            "timeout" => match behind(name) {
                children if children.is_empty() => Effect::InPlace,
                children => Effect::NextLife { children },
            },
            _ => Effect::InPlace,
        }));
    }
    changes.extend(differences(Of::Prices, "", value(old.prices), value(new.prices), |_| Effect::NextStart));
    changes.extend(differences(Of::Budget, "", value(old.budget), value(new.budget), |key| match key {
        // What was spent of a day is counted by the zone that the ledger began with.
        "zone" => Effect::NextStart,
        _ => Effect::InPlace,
    }));
    changes
}

fn tree(old: &TreePolicy, new: &TreePolicy) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.root != new.root {
        let why = "the root stays while the system runs; stop the server and start it anew".to_owned();
        let (from, to) = (Some(old.root.clone()), Some(new.root.clone()));
        changes.push(Change { of: Of::Tree, key: "root".to_owned(), from, to, effect: Effect::Refused { why } });
    }
    changes.extend(differences(Of::Tree, "on", value(&old.on), value(&new.on), |_| Effect::InPlace));
    let reshaping = Reshaping::of(old, new);
    let names: BTreeSet<&String> = old.nodes.keys().chain(new.nodes.keys()).collect();
    for name in names {
        let (was, is) = (old.nodes.get(name), new.nodes.get(name));
        changes.extend(place(old, new, name, &reshaping));
        if let (Some(was), Some(is)) = (was, is)
            && kind(was) == kind(is)
        {
            let way = format!("{}.{name}", kind(is));
            // Who is started anyway takes everything along.
            let effect = |key: &str| if reshaping.stays(name) { effect(name, is, key) } else { Effect::InPlace };
            changes.extend(differences(Of::Tree, &way, value(was), value(is), effect));
        }
    }
    changes
}

/// A node that comes, goes, or has another supervisor or kind. Who only goes along with its supervisor
/// is told with that one.
fn place(old: &TreePolicy, new: &TreePolicy, name: &str, reshaping: &Reshaping) -> Option<Change> {
    let children = vec![name.to_owned()];
    let effect = match reshaping.fate(name)? {
        Fate::Stays => return None,
        Fate::Starts => Effect::Starts { children },
        Fate::Stops => Effect::Stops { children },
        Fate::Moves => {
            let below = new.below(name).into_iter().filter(|below| old.node(below).is_some());
            Effect::Moves { children: below.map(str::to_owned).collect() }
        }
    };
    let at = |tree: &TreePolicy| {
        let kind = kind(tree.node(name)?);
        Some(tree.parent(name).map_or_else(|| kind.to_owned(), |parent| format!("{kind} in {parent}")))
    };
    let (from, to) = (at(old), at(new));
    (from != to).then(|| Change { of: Of::Tree, key: name.to_owned(), from, to, effect })
}

const fn kind(node: &NodePolicy) -> &'static str {
    match node {
        NodePolicy::Supervisor(_) => "supervisor",
        NodePolicy::Dynamic(_) => "dynamic",
        NodePolicy::Worker(_) => "worker",
    }
}

/// When another value of this key of a node takes effect.
fn effect(name: &str, node: &NodePolicy, key: &str) -> Effect {
    let own = key.strip_prefix("child.").unwrap_or(key);
    match own.split('.').next().unwrap_or_default() {
        // Taken when it starts.
        "rest_after" => Effect::NextLife { children: vec![name.to_owned()] },
        // An agent takes along how long its calls may be silent.
        "liveness" if own == "liveness.calling_within" && matches!(node, NodePolicy::Worker(_)) => {
            Effect::NextLife { children: vec![name.to_owned()] }
        }
        _ => Effect::InPlace,
    }
}

/// What cannot be written as TOML is no policy; it differs from nothing.
fn value(policy: &impl Serialize) -> Value {
    Value::try_from(policy).unwrap_or_else(|_| Value::Table(toml::Table::new()))
}

fn differences(of: Of, way: &str, old: Value, new: Value, effect: impl Fn(&str) -> Effect) -> Vec<Change> {
    let (old, new) = (leaves(old), leaves(new));
    let find = |all: &[(String, Value)], key: &str| all.iter().find(|(known, _)| known == key).map(|(_, v)| v.clone());
    let keys: BTreeSet<&String> = old.iter().chain(&new).map(|(key, _)| key).collect();
    let change = |key: &String| {
        let (from, to) = (find(&old, key), find(&new, key));
        if from == to {
            return None;
        }
        let full = [way, key].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        let [from, to] = [from, to].map(|value| value.map(|value| shown(of, key, &value)));
        Some(Change { of, key: full, from, to, effect: effect(key) })
    };
    keys.into_iter().filter_map(change).collect()
}

/// A value as people write it: money is kept as a count, and told in dollars.
fn shown(of: Of, key: &str, value: &Value) -> String {
    let last = key.rsplit('.').next().unwrap_or_default();
    let is_money = match of {
        Of::Budget => true,
        Of::Prices => last != "version",
        Of::Tree | Of::Guard => false,
    };
    match value {
        Value::Integer(nanos) if is_money => {
            literal(&Value::String(Money::from_nanos(u64::try_from(*nanos).unwrap_or_default()).to_string()))
        }
        other => literal(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Texts {
        tree: String,
        guard: String,
        budget: String,
        prices: String,
    }

    struct Read(TreePolicy, Guards, PriceTable, BudgetPolicy);

    impl Texts {
        fn read(&self) -> Read {
            Read(
                TreePolicy::read("tree.toml", &self.tree).unwrap(),
                Guards::read("guard.toml", &self.guard).unwrap(),
                crate::document::read("prices.toml", &self.prices).unwrap(),
                crate::document::read("budget.toml", &self.budget).unwrap(),
            )
        }
    }

    impl Read {
        fn rules(&self) -> Rules<'_> {
            Rules { tree: &self.0, guards: &self.1, prices: &self.2, budget: &self.3 }
        }
    }

    /// What another text than the built-in one changes.
    fn changes(edit: impl FnOnce(&mut Texts)) -> Vec<Change> {
        let mut texts = Texts {
            tree: crate::tree::BUILTIN.to_owned(),
            guard: crate::guard::BUILTIN.to_owned(),
            budget: crate::budget::BUILTIN.to_owned(),
            prices: crate::price::BUILTIN.to_owned(),
        };
        let old = texts.read();
        edit(&mut texts);
        plan(old.rules(), texts.read().rules(), |guard| vec![format!("behind {guard}")])
    }

    /// Each change in a line.
    fn told(changes: &[Change]) -> Vec<String> {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        changes.iter().map(|c| format!("{} {} -> {} {:?}", c.key, value(&c.from), value(&c.to), c.effect)).collect()
    }

    #[test]
    fn nothing_changed_is_no_change() {
        assert_eq!(changes(|_| {}), []);
        assert_eq!(changes(|texts| texts.tree.push_str("\n# a word\n")), []);
    }

    #[test]
    fn what_supervisors_guards_and_the_ledger_decide_by_changes_in_place() {
        let found = changes(|texts| {
            texts.tree = texts.tree.replacen("restarts = 5, within = \"30s\"", "restarts = 6, within = \"30s\"", 1);
            texts.tree = texts.tree.replacen("action = \"pause\"", "action = \"park\"", 1);
            texts.tree = texts.tree.replacen("mailbox = 1024", "mailbox = { bound = 9, when_full = \"block\" }", 1);
            texts.tree = texts.tree.replacen("shutdown = \"5s\", mailbox", "poison.deaths = 5, mailbox", 1);
            texts.guard = texts.guard.replace("rate = \"30/min\"", "rate = \"60/min\"");
            texts.budget = texts.budget.replace("run = \"$2.00\"", "run = \"$3.50\"");
        });
        assert_eq!(
            told(&found),
            [
                "on.provider_down.action \"pause\" -> \"park\" InPlace",
                "supervisor.callboard.intensity.restarts 5 -> 6 InPlace",
                "worker.ledger.mailbox.bound 1024 -> 9 InPlace",
                "worker.ledger.mailbox.when_full \"refuse\" -> \"block\" InPlace",
                "dynamic.runs.child.poison.deaths 3 -> 5 InPlace",
                "publisher.rate \"30/min\" -> \"60/min\" InPlace",
                "run \"$2.00\" -> \"$3.50\" InPlace",
            ]
        );
    }

    #[test]
    fn what_a_child_takes_along_waits_for_its_next_life() {
        let found = changes(|texts| {
            texts.tree = texts.tree.replacen("rest_after = \"60s\"", "rest_after = \"9s\"", 1);
            texts.guard = texts.guard.replace("timeout = \"5m\"", "timeout = \"6m\"");
            texts.prices = texts.prices.replacen("input = \"$1.00\"", "input = \"$1.50\"", 1);
        });
        assert_eq!(
            told(&found),
            [
                "dynamic.runs.rest_after \"1m\" -> \"9s\" NextLife { children: [\"runs\"] }",
                "model.timeout \"5m\" -> \"6m\" NextLife { children: [\"behind model\"] }",
                "models.claude-haiku-4-5.input \"$1.00\" -> \"$1.50\" NextStart",
            ]
        );
    }

    #[test]
    fn what_is_in_front_of_an_agents_calls_changes_in_place() {
        let found = changes(|texts| {
            let more = "[worker.writer]\nbreaker = { failures = 3 }\nrate = \"9/min\"\nfallback = [\"model/local\"]\n";
            texts.tree = texts.tree.replace("[worker.writer]\n", more);
        });
        assert!(found.iter().all(|change| change.effect == Effect::InPlace), "{found:?}");
        let told = told(&found);
        for wanted in ["breaker.failures none -> 3", "fallback none -> [\"model/local\"]", "rate none -> \"9/min\""] {
            assert!(told.contains(&format!("worker.writer.{wanted} InPlace")), "{wanted}: {told:?}");
        }
    }

    #[test]
    fn who_comes_goes_or_moves_is_told_with_its_place() {
        let found = changes(|texts| {
            texts.tree = texts.tree.replace("children = [\"feed\"]", "children = [\"feed\", \"board\"]");
            texts.tree = texts.tree.replace("\"writer\", \"reviewer\"]", "\"writer\"]");
            let (before, reviewer) = texts.tree.split_once("[worker.reviewer]").unwrap();
            let (_, after) = reviewer.split_once("\n\n").unwrap();
            texts.tree = format!("{before}\n[worker.board]\n{after}");
        });
        assert_eq!(
            told(&found),
            [
                "supervisor.agents.children [\"researcher\", \"writer\", \"reviewer\"] -> [\"researcher\", \"writer\"] InPlace",
                "board none -> worker in publishers Starts { children: [\"board\"] }",
                "supervisor.publishers.children [\"feed\"] -> [\"feed\", \"board\"] InPlace",
                "reviewer worker in agents -> none Stops { children: [\"reviewer\"] }",
            ]
        );
    }

    #[test]
    fn a_branch_that_moves_is_told_once_with_all_that_it_takes_along() {
        let found = changes(|texts| {
            texts.tree = texts.tree.replace("\"publishers\", \"aggregator\"", "\"out\", \"aggregator\"");
            texts.tree.push_str("\n[supervisor.out]\nchildren = [\"publishers\"]\n");
            texts.tree =
                texts.tree.replacen("mailbox = 256\nbackoff = { first = \"200ms\"", "backoff = { first = \"200ms\"", 1);
        });
        assert_eq!(
            told(&found)[1..],
            [
                "worker.feed.mailbox.bound 256 -> 1024 InPlace",
                "out none -> supervisor in callboard Starts { children: [\"out\"] }",
                "publishers supervisor in callboard -> supervisor in out Moves { children: [\"publishers\", \"feed\"] }",
            ]
        );
    }

    #[test]
    fn another_order_is_taken_in_place_and_another_root_is_refused() {
        let found =
            changes(|texts| texts.tree = texts.tree.replace("\"ledger\", \"context\"", "\"context\", \"ledger\""));
        assert!(found.len() == 1 && found[0].effect == Effect::InPlace, "{found:?}");
        let found = changes(|texts| texts.tree = texts.tree.replace("callboard", "top"));
        assert!(found[0].is_refused() && found[0].key == "root", "{found:?}");
    }
}
