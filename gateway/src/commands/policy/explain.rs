//! `callboard policy explain`: every setting in force and where it comes from. Invariant: it asks no
//! server, and shows what the files say now.

use std::collections::BTreeSet;
use std::io::Write;

use agents::conduct::PUBLISHER_GUARD;
use agents::tool::mcp::MCP_GUARD;
use anyhow::Context;
use policies::budget::ScopeId;
use policies::document::{self, Error};
use policies::explain::{self, Setting};
use policies::fallback::StandIn;
use policies::tree::{NodePolicy, TreePolicy};
use serde::Serialize;

use crate::cli::ExplainArgs;
use crate::commands::faults;
use crate::config::Config;
use crate::policy::{Document, Documents, Policies, guarded};
use crate::system::{agents, publishers};

/// Where a setting comes from that no file says.
const DEFAULT: &str = "default";
/// What stands for a value that there is not.
const NONE: &str = "none";

/// What one file says of one thing.
#[derive(Serialize)]
struct Chapter {
    what: String,
    file: String,
    settings: Vec<Setting>,
    /// What they come to, in a sentence, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// One thing that can be explained.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    Node(String),
    Guard(String),
    Limit(ScopeId),
}

/// Prints the settings.
///
/// # Errors
/// When nothing has that name, or a file has faults.
pub(super) fn run(arguments: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = Config::load(arguments.config.as_deref()).map_err(|found| faults(&found))?;
    let documents = Documents::read(&config).map_err(|found| faults(&found))?;
    let policies = Policies::of(&config, &documents).map_err(|found| faults(&found))?;
    let subjects = subjects(&config, &policies.tree, &arguments.name).map_err(anyhow::Error::msg)?;
    let chapters = subjects.iter().map(|subject| chapter(subject, &policies.tree, &documents));
    let chapters = chapters.collect::<Result<Vec<_>, _>>().map_err(|found| faults(&found))?;
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&chapters).context("the settings cannot be written as JSON")?)
    } else {
        chapters.iter().map(table).collect::<Vec<_>>().join("\n")
    };
    out.write_all(text.as_bytes()).context("the settings cannot be printed")
}

/// What a name stands for: the thing itself, and of an agent or a publisher also its guard and its budget.
fn subjects(config: &Config, tree: &TreePolicy, name: &str) -> Result<Vec<Subject>, String> {
    let guards = guarded(config);
    let mut found = Vec::new();
    if let Some(node) = node(tree, name) {
        found.push(Subject::Node(node.to_owned()));
        if agents(config).any(|agent| agent == node) {
            found.push(Subject::Guard(config.model_of(node).guard()));
            found.extend(others(config, tree, node).map(Subject::Guard));
            let mut seen = BTreeSet::new();
            found.retain(|subject| seen.insert(format!("{subject:?}")));
            found.push(Subject::Limit(ScopeId::Agent(node.to_owned())));
        }
        if publishers(config).any(|publisher| publisher == node) {
            found.push(Subject::Guard(format!("{PUBLISHER_GUARD}/{node}")));
        }
        if config.mcp.contains_key(node) {
            found.push(Subject::Guard(format!("{MCP_GUARD}/{node}")));
        }
    }
    if guards.contains(name) {
        found.push(Subject::Guard(name.to_owned()));
    }
    match name.parse() {
        Ok(ScopeId::Agent(agent)) if !agents(config).any(|known| known == agent) => {}
        Ok(scope) => found.push(Subject::Limit(scope)),
        Err(_) => {}
    }
    if found.is_empty() {
        let nodes = tree.nodes.keys().flat_map(|node| {
            let parent = tree.parent(node).map(|parent| format!("{parent}.{node}"));
            [Some(node.clone()), parent].into_iter().flatten()
        });
        let scopes = agents(config).map(|agent| ScopeId::Agent(agent.to_owned()).to_string());
        let known: Vec<String> = nodes.chain(guards).chain(scopes).collect();
        let help = document::suggestion(name, known.iter().map(String::as_str));
        return Err(format!("no policy speaks of `{name}`; {help}"));
    }
    Ok(found)
}

/// The guards of the models of an agent's pool, and of those that stand in.
fn others(config: &Config, tree: &TreePolicy, agent: &str) -> impl Iterator<Item = String> {
    let stand_ins = tree.fallback(agent).iter().filter_map(|stand_in| match stand_in {
        StandIn::Model(name) => Some(name),
        StandIn::Agent(_) => None,
    });
    let models = tree.pool(agent).iter().chain(stand_ins);
    models.filter_map(|name| config.named_model(name).map(|model| model.guard()))
}

/// The node of that name, which may be written behind the names of its supervisors.
fn node<'n>(tree: &TreePolicy, name: &'n str) -> Option<&'n str> {
    if tree.node(name).is_some() {
        return Some(name);
    }
    let (above, own) = name.rsplit_once('.')?;
    let parent = node(tree, above)?;
    (tree.parent(own) == Some(parent)).then_some(own)
}

fn chapter(subject: &Subject, tree: &TreePolicy, documents: &Documents) -> Result<Chapter, Vec<Error>> {
    let of = |what: String, document: &Document, settings| {
        let file = document.label.clone();
        Chapter { what, file, settings, rule: None }
    };
    match subject {
        Subject::Node(name) => {
            let kind = match tree.node(name) {
                Some(NodePolicy::Supervisor(_)) => "supervisor",
                Some(NodePolicy::Dynamic(_)) => "dynamic supervisor",
                Some(NodePolicy::Worker(_)) | None => "worker",
            };
            let settings = explain::node(documents.tree.source(), name)?.unwrap_or_default();
            let pool = tree.worker(name).and_then(|worker| worker.pool.as_ref());
            let rule = pool.map(|pool| format!("speaks with one model for each call: {pool}"));
            Ok(Chapter { rule, ..of(format!("{kind} {name}"), &documents.tree, settings) })
        }
        Subject::Guard(name) => {
            let settings = explain::guard(documents.guard.source(), name)?;
            Ok(of(format!("guard {name}"), &documents.guard, settings))
        }
        Subject::Limit(scope) => {
            let settings = vec![explain::budget(documents.budget.source(), scope)?];
            Ok(of(format!("budget {scope}"), &documents.budget, settings))
        }
    }
}

fn table(chapter: &Chapter) -> String {
    let value = |setting: &Setting| setting.value.clone().unwrap_or_else(|| NONE.to_owned());
    let width = |of: &dyn Fn(&Setting) -> usize| chapter.settings.iter().map(of).max().unwrap_or_default();
    let keys = width(&|setting| setting.key.chars().count());
    let values = width(&|setting| value(setting).chars().count());
    let line = |setting: &Setting| {
        let from = setting.line.map_or_else(|| DEFAULT.to_owned(), |line| format!("{}:{line}", chapter.file));
        format!("  {:keys$}  {:values$}  {from}\n", setting.key, value(setting))
    };
    let lines: String = chapter.settings.iter().map(line).collect();
    let rule = chapter.rule.as_ref().map(|rule| format!("  {rule}\n")).unwrap_or_default();
    format!("{}\n{lines}{rule}", chapter.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of this name, with this tree beside the built-in rest.
    fn said(name: &str, json: bool, tree: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("callboard.toml");
        std::fs::write(&path, if tree.is_some() { "policies.tree = \"tree.toml\"\n" } else { "" }).unwrap();
        std::fs::write(dir.path().join("tree.toml"), tree.unwrap_or_default()).unwrap();
        let mut out = Vec::new();
        let arguments = ExplainArgs { name: name.to_owned(), json, config: Some(path) };
        let said = match run(&arguments, &mut out) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => error.to_string(),
        };
        said.replace(&format!("{}/", dir.path().display()), "")
    }

    fn has(said: &str, wanted: [&str; 3]) -> bool {
        said.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == wanted.join(" "))
    }

    #[test]
    fn an_agent_is_explained_with_its_guard_and_its_budget() {
        let said = said("agents.writer", false, None);
        let line = policies::tree::BUILTIN.lines().position(|line| line == "[worker.writer]").unwrap() + 2;
        assert!(has(&said, ["shutdown", "\"10s\"", &format!("built-in tree.toml:{line}")]), "{said}");
        assert!(has(&said, ["rate", "none", "default"]), "{said}");
        for chapter in ["worker writer\n", "\nguard model/local\n", "\nbudget agent/writer\n"] {
            assert!(said.contains(chapter), "{chapter}: {said}");
        }
        assert!(
            said.lines().any(|line| line.contains("\"$10.00\"") && line.contains("built-in budget.toml:12")),
            "{said}"
        );
    }

    #[test]
    fn a_setting_of_a_file_names_the_file_and_the_line_it_is_inherited_from() {
        let tree = format!("{}[default.worker]\nmailbox = 77\n", policies::tree::BUILTIN);
        let tree = tree.replace("mailbox = 1024\n", "");
        let said = said("ledger", false, Some(&tree));
        assert!(has(&said, ["mailbox.bound", "77", &format!("tree.toml:{}", tree.lines().count())]), "{said}");
    }

    #[test]
    fn how_an_agent_chooses_its_model_is_told_in_a_sentence() {
        let pool = "[worker.writer]\npool = { models = [\"local\"], choose = { price = 2, quality = 1 }, quality_min = 0.6 }\n";
        let tree = policies::tree::BUILTIN.replace("[worker.writer]\n", pool);
        let said = said("agents.writer", false, Some(&tree));
        let rule = "  speaks with one model for each call: of local, the one with the best score of price × 2 + quality × 1; \
                    of equals the first named; not one that evaluation found worse than 0.6; not one that is out or cannot \
                    do what is asked; a talk keeps to its model while that can go on\n";
        assert!(said.contains(rule), "{said}");
        assert!(said.contains("pool.choose.price") && said.contains("pool.quality_min"), "{said}");
        assert_eq!(said.matches("guard model/local").count(), 1, "{said}");
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion() {
        for (name, meant) in
            [("agents.writr", "agents.writer"), ("modle/local", "model/local"), ("agent/writr", "agent/writer")]
        {
            assert_eq!(said(name, false, None), format!("no policy speaks of `{name}`; did you mean `{meant}`?"));
        }
        assert!(said("runs.writer", false, None).starts_with("no policy speaks of"), "its supervisor is another");
    }

    #[test]
    fn json_has_the_same() {
        let chapters: serde_json::Value = serde_json::from_str(&said("model/local", true, None)).unwrap();
        assert_eq!(chapters[0]["what"], "guard model/local");
        let settings = chapters[0]["settings"].as_array().unwrap();
        let timeout = settings.iter().find(|setting| setting["key"] == "timeout").unwrap();
        assert_eq!(timeout["value"], "\"5m\"");
        assert!(timeout["line"].is_number(), "{timeout}");
    }
}
