//! Where every setting in force comes from: the place that says it, or its default.
//!
//! What is shown is what is in force: the values come from the policy as it was read, and only their
//! places from the text.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::budget::{BudgetPolicy, ScopeId};
use crate::document::{self, Error, Mistakes, Source, position};
use crate::failure::FailureClass;
use crate::guard::{self, Guards};
use crate::reaction::Reactions;
use crate::tree::{self, NodePolicy, TreePolicy};

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The keys that lead to it, with dots between them.
    pub key: String,
    /// Its value with its unit, as it is written in TOML; none where it has none.
    pub value: Option<String>,
    /// The line that says so, from 1; none where no line does.
    pub line: Option<usize>,
}

/// The settings of a node of the tree, with what its failures lead to where it is a worker; `None` when
/// the tree has no such node.
///
/// # Errors
/// Every mistake in the text.
pub fn node(source: Source<'_>, name: &str) -> Result<Option<Vec<Setting>>, Vec<Error>> {
    let policy = TreePolicy::read(source.file, source.text)?;
    let document = document::parse(source)?;
    let document = tree::resolve(&document, &mut Mistakes::new(source));
    let Some(node) = policy.node(name) else { return Ok(None) };
    let (kind, shown) = match node {
        NodePolicy::Supervisor(own) => ("supervisor", Value::try_from(own)),
        NodePolicy::Dynamic(own) => ("dynamic", Value::try_from(own)),
        NodePolicy::Worker(own) => ("worker", Value::try_from(own)),
    };
    let places = Places { source, document: document.get_ref() };
    let own = [kind, name].map(str::to_owned);
    let mut found = BTreeMap::new();
    for (key, value) in leaves(shown.map_err(|error| unwritten(source, &error))?) {
        found.insert(key.clone(), places.setting(&[&own[..], &parts(&key)].concat(), key, Some(value)));
    }
    match node {
        NodePolicy::Supervisor(_) => {}
        NodePolicy::Worker(_) => add_reactions(&mut found, &places, &own, "", &policy.reactions(name))?,
        NodePolicy::Dynamic(_) => add_reactions(&mut found, &places, &own, "child.", &policy.child_reactions(name))?,
    }
    add_unset(
        &mut found,
        match node {
            NodePolicy::Worker(_) => &["allowance", "breaker", "fallback", "liveness", "pool", "rate"],
            NodePolicy::Dynamic(_) => &["allowance", "child.allowance", "child.liveness"],
            NodePolicy::Supervisor(_) => &["allowance"],
        },
    );
    Ok(Some(found.into_values().collect()))
}

/// What failures lead to: as the node says, else as the tree says for all.
fn add_reactions(
    found: &mut BTreeMap<String, Setting>,
    places: &Places<'_>,
    own: &[String],
    prefix: &str,
    reactions: &Reactions,
) -> Result<(), Vec<Error>> {
    for class in FailureClass::ALL {
        let reaction = Value::try_from(reactions.to(class)).map_err(|error| unwritten(places.source, &error))?;
        for (key, value) in leaves(reaction) {
            let general = format!("on.{class}.{key}");
            let key = format!("{prefix}{general}");
            let mut setting = places.setting(&[own, &parts(&key)].concat(), key.clone(), Some(value));
            setting.line = setting.line.or_else(|| places.line(&parts(&general)));
            found.insert(key, setting);
        }
    }
    Ok(())
}

/// The settings of a guard. Every name has one.
///
/// # Errors
/// Every mistake in the text.
pub fn guard(source: Source<'_>, name: &str) -> Result<Vec<Setting>, Vec<Error>> {
    let guards = Guards::read(source.file, source.text)?;
    let document = document::parse(source)?;
    let document = guard::resolve(&document);
    let shown = Value::try_from(guards.get(name)).map_err(|error| unwritten(source, &error))?;
    let places = Places { source, document: document.get_ref() };
    // The table that speaks for it.
    let named = guards.nearest(name).unwrap_or(name).to_owned();
    let mut found: BTreeMap<String, Setting> = leaves(shown)
        .into_iter()
        .map(|(key, value)| {
            (key.clone(), places.setting(&[std::slice::from_ref(&named), &parts(&key)].concat(), key, Some(value)))
        })
        .collect();
    add_unset(&mut found, &["rate", "breaker.failure_rate", "breaker.slow_rate"]);
    Ok(found.into_values().collect())
}

/// The limit of a scope.
///
/// # Errors
/// Every mistake in the text.
pub fn budget(source: Source<'_>, scope: &ScopeId) -> Result<Setting, Vec<Error>> {
    let policy: BudgetPolicy = document::read(source.file, source.text)?;
    let document = document::parse(source)?;
    let places = Places { source, document: document.get_ref() };
    let way: Vec<String> = match scope {
        ScopeId::Workspace(_) => vec!["workspace".to_owned()],
        ScopeId::Run(_) => vec!["run".to_owned()],
        ScopeId::Agent(name) if policy.agents.contains_key(name) => vec!["agents".to_owned(), name.clone()],
        ScopeId::Agent(_) => vec!["agent".to_owned()],
    };
    let limits = policy.limits(scope);
    let mut setting = places.setting(&way, "limit".to_owned(), None);
    if !limits.is_none() {
        // Of a table with a line of its own, only that line would be found.
        let written = places.text(&way).filter(|text| !text.starts_with('['));
        setting.value = Some(written.unwrap_or_else(|| limits.to_string()));
    }
    Ok(setting)
}

/// Where values stand in a text.
struct Places<'a> {
    source: Source<'a>,
    document: &'a DeValue<'a>,
}

impl Places<'_> {
    fn setting(&self, way: &[String], key: String, value: Option<Value>) -> Setting {
        let value = value.map(|value| self.text(way).unwrap_or_else(|| literal(&value)));
        Setting { key, value, line: self.line(way) }
    }

    /// A value as it is written; but over several lines it would break the table that it is shown in.
    fn text(&self, way: &[String]) -> Option<String> {
        let text = self.find(way).and_then(|value| self.source.text.get(value.span()));
        text.filter(|text| !text.contains('\n')).map(str::to_owned)
    }

    fn line(&self, way: &[String]) -> Option<usize> {
        self.find(way).map(|value| position(self.source.text, value.span().start).0)
    }

    fn find(&self, way: &[String]) -> Option<&Spanned<DeValue<'_>>> {
        let (last, above) = way.split_last()?;
        let root: Option<&DeTable<'_>> = self.document.as_table();
        let table = above.iter().try_fold(root?, |table, key| table.get(key.as_str())?.get_ref().as_table())?;
        table.get(last.as_str())
    }
}

fn parts(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

/// What has no default says that it is not set.
fn add_unset(found: &mut BTreeMap<String, Setting>, keys: &[&str]) {
    for key in keys {
        if !found.keys().any(|known| known == key || known.starts_with(&format!("{key}."))) {
            found.insert((*key).to_owned(), Setting { key: (*key).to_owned(), value: None, line: None });
        }
    }
}

/// A value as TOML writes it.
pub(crate) fn literal(value: &Value) -> String {
    let each = |items: Vec<String>, open, close| format!("{open}{}{close}", items.join(", "));
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(is_true) => is_true.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(items) => each(items.iter().map(literal).collect(), '[', ']'),
        Value::Table(table) => {
            each(table.iter().map(|(key, value)| format!("{key} = {}", literal(value))).collect(), '{', '}')
        }
    }
}

/// The values inside a value, each under the keys that lead to it.
pub(crate) fn leaves(value: Value) -> Vec<(String, Value)> {
    let Value::Table(table) = value else { return vec![(String::new(), value)] };
    let below = |(key, value): (String, Value)| {
        leaves(value).into_iter().map(move |(rest, value)| match rest.as_str() {
            "" => (key.clone(), value),
            rest => (format!("{key}.{rest}"), value),
        })
    };
    table.into_iter().flat_map(below).collect()
}

fn unwritten(source: Source<'_>, error: &toml::ser::Error) -> Vec<Error> {
    vec![Error::whole(source.file, format!("cannot be shown: {error}"), "")]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = r#"root = "top"
[on.bug]
wait = "3s"
[default.worker]
shutdown = "7s"
mailbox = 9
[default.dynamic]
limit = 3
[supervisor.top]
children = ["a", "b", "c"]
[supervisor.top.child]
mailbox = 8
liveness = { progress_within = "2m" }
[worker.a]
restart = "transient"
liveness.calling_within = "90s"
[worker.b]
mailbox = 5
on.bug.action = "park"
[dynamic.c]
"#;

    fn of(settings: &[Setting], key: &str) -> (String, Option<usize>) {
        let setting = settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key}"));
        (setting.value.clone().unwrap_or_default(), setting.line)
    }

    fn tree(name: &str) -> Vec<Setting> {
        node(Source { file: "tree.toml", text: TREE }, name).unwrap().unwrap()
    }

    #[test]
    fn a_setting_comes_from_the_nearest_that_says_it() {
        let (a, b) = (tree("a"), tree("b"));
        assert_eq!(of(&a, "restart"), ("\"transient\"".to_owned(), Some(15)));
        assert_eq!(of(&a, "shutdown"), ("\"7s\"".to_owned(), Some(5)));
        assert_eq!(of(&a, "mailbox.bound"), ("8".to_owned(), Some(12)));
        assert_eq!(of(&b, "mailbox.bound"), ("5".to_owned(), Some(18)));
        assert_eq!(of(&a, "liveness.calling_within"), ("\"90s\"".to_owned(), Some(16)));
        assert_eq!(of(&a, "liveness.progress_within"), ("\"2m\"".to_owned(), Some(13)));
        assert_eq!(of(&a, "backoff.first"), ("\"50ms\"".to_owned(), None));
        assert_eq!(of(&a, "fallback"), (String::new(), None));
    }

    #[test]
    fn what_a_tree_says_is_what_is_in_force() {
        let policy = TreePolicy::read("tree.toml", TREE).unwrap();
        let (a, c) = (policy.worker("a").unwrap(), policy.dynamic("c").unwrap());
        assert_eq!((a.mailbox.bound, a.shutdown.to_string().as_str()), (8, "7s"));
        assert_eq!(a.liveness.unwrap().progress_within.to_string(), "2m");
        assert_eq!((c.limit, c.child.mailbox.bound), (3, 9));
        assert_eq!(of(&tree("c"), "child.mailbox.bound"), ("9".to_owned(), Some(6)));
        assert_eq!(of(&tree("c"), "limit"), ("3".to_owned(), Some(8)));
    }

    #[test]
    fn what_failures_lead_to_is_told_for_every_class() {
        let b = tree("b");
        assert_eq!(of(&b, "on.bug.action"), ("\"park\"".to_owned(), Some(19)));
        assert_eq!(of(&b, "on.bug.wait"), ("\"3s\"".to_owned(), Some(3)));
        assert_eq!(of(&b, "on.hung.action"), ("\"restart\"".to_owned(), None));
        assert_eq!(b.iter().filter(|setting| setting.key.starts_with("on.")).count(), 3 * FailureClass::ALL.len());
    }

    #[test]
    fn a_guard_is_explained_by_the_tables_above_it() {
        let text = "[default]\ntimeout = \"9s\"\n[model]\nbreaker.failures = 3\n[\"model/claude\"]\nconcurrency = 1\n";
        let source = Source { file: "guard.toml", text };
        for name in ["model/claude", "model/claude/batch"] {
            let guard = guard(source, name).unwrap();
            assert_eq!(of(&guard, "timeout"), ("\"9s\"".to_owned(), Some(2)));
            assert_eq!(of(&guard, "breaker.failures"), ("3".to_owned(), Some(4)));
            assert_eq!(of(&guard, "concurrency"), ("1".to_owned(), Some(6)));
            assert_eq!(of(&guard, "deadline"), ("\"5m\"".to_owned(), None));
            assert_eq!(of(&guard, "rate"), (String::new(), None));
        }
    }

    #[test]
    fn a_limit_is_its_own_or_that_of_all() {
        let source = Source { file: "budget.toml", text: "agent = \"$3.00\"\n[agents]\nwriter = \"$1.00\"\n" };
        let limit = |scope: &str| {
            let setting = budget(source, &scope.parse().unwrap()).unwrap();
            (setting.value.unwrap_or_default(), setting.line)
        };
        assert_eq!(limit("agent/writer"), ("\"$1.00\"".to_owned(), Some(3)));
        assert_eq!(limit("agent/reviewer"), ("\"$3.00\"".to_owned(), Some(1)));
        assert_eq!(limit("run/any"), (String::new(), None));
        let text = "[run]\nday = \"$1.00\"\nat_end = \"ask\"\n[agent]\nday = \"$1.00\"\n";
        let windows = budget(Source { file: "budget.toml", text }, &"run/any".parse().unwrap()).unwrap();
        assert_eq!(windows.value.as_deref(), Some("{ day = \"$1.00\", at_end = \"ask\" }"));
    }

    #[test]
    fn every_node_and_guard_of_the_built_in_policies_is_explained() {
        let policy = TreePolicy::builtin().unwrap();
        for name in policy.nodes.keys() {
            let source = Source { file: "tree.toml", text: tree::BUILTIN };
            assert!(!node(source, name).unwrap().unwrap().is_empty(), "{name}");
        }
        let source = Source { file: "guard.toml", text: guard::BUILTIN };
        assert!(!guard(source, "model/local").unwrap().is_empty());
        assert_eq!(node(Source { file: "tree.toml", text: tree::BUILTIN }, "nobody"), Ok(None));
    }
}
