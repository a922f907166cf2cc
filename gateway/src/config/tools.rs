//! Tools as the configuration describes them: what an agent may use and keep to, pages, MCP servers. Invariant: a
//! name of a tool that nothing can carry out is a mistake, told where it is written.

use std::collections::BTreeMap;

use agents::agent::{Guardrail, Kit, Rule, TURNS_MAX_DEFAULT};
use agents::model::Thinking;
use agents::tool::mcp::{MCP_TOOL, McpTerms};
use agents::tool::{AGENT_TOOL, Permissions, Toolbox};
use agents::workflow::{EffectClass, OnBreach, Side, TURNS_MAX};
use policies::document::{self, Located, Mistakes, Section, Text};
use policies::history::{self, HistoryPolicy, How};
use policies::pattern;
use policies::rules::PostRules;
use policies::span::Span;
use regex::RegexBuilder;
use serde::Deserialize;

use super::address::HttpAddress;
use crate::secret_source::{SecretSource, is_there};

/// What a pattern of a guardrail may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// How often an agent may be told to answer again.
const RETRIES_MAX: u32 = 5;
/// How often it is where nothing is said.
const RETRIES: u32 = 2;

/// What the tools of an agent are called that nobody has: agents and servers, by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) agents: Vec<String>,
    pub(super) servers: Vec<String>,
}

/// An MCP server.
#[derive(Clone, Debug)]
pub struct McpConfig {
    /// How it is reached.
    pub reach: ReachConfig,
    /// What its tools are held to.
    pub terms: McpTerms,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum ReachConfig {
    /// A program.
    Program {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment.
        env: BTreeMap<String, Words>,
    },
    /// An address.
    Address {
        /// Where.
        url: String,
        /// What each request carries.
        headers: BTreeMap<String, Words>,
    },
}

/// Words that may be a secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// As they are written.
    Plain(String),
    /// Where they are.
    Secret(SecretSource),
}

impl McpConfig {
    /// The words that it needs, each with its key.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, &str, &Words)> {
        let (key, words) = match &self.reach {
            ReachConfig::Program { env, .. } => ("env", env),
            ReachConfig::Address { headers, .. } => ("headers", headers),
        };
        words.iter().map(move |(name, words)| (key, name.as_str(), words))
    }

    /// Its program, where that is not there. Where a `PATH` of its own says, nobody knows.
    pub(super) fn program_missing(&self) -> Option<&str> {
        match &self.reach {
            ReachConfig::Program { command, env, .. } if command.contains('/') || !env.contains_key("PATH") => {
                (!is_there(command)).then_some(command.as_str())
            }
            ReachConfig::Program { .. } | ReachConfig::Address { .. } => None,
        }
    }

    pub(super) fn words_mut(&mut self) -> impl Iterator<Item = &mut Words> {
        match &mut self.reach {
            ReachConfig::Program { env: words, .. } | ReachConfig::Address { headers: words, .. } => words.values_mut(),
        }
    }

    pub(super) fn read((name, value): &(Text<'_>, Located<'_>), mistakes: &mut Mistakes<'_>) -> Option<(String, Self)> {
        let mut section = Section::of(format!("[mcp.{}]", name.text), value, mistakes)?;
        if name.text.contains('.') || name.text.is_empty() {
            let message = format!("`{}` cannot name a server: its tools are `mcp.<name>.<tool>`", name.text);
            mistakes.add(name.span.clone(), message, "give it a name without a dot");
        }
        let (is_program, is_address) = (section.get("command").is_some(), section.get("url").is_some());
        let reach = match (is_program, is_address) {
            (true, false) => Some(ReachConfig::Program {
                command: section.value("command", mistakes).unwrap_or_default(),
                args: section.texts("args", mistakes),
                env: section.or_default("env", mistakes),
            }),
            (false, true) => section
                .value::<HttpAddress>("url", mistakes)
                .map(|url| ReachConfig::Address { url: url.0, headers: section.or_default("headers", mistakes) }),
            _ => {
                let message = format!("[mcp.{}] is reached by `command` or by `url`", name.text);
                mistakes.add(name.span.clone(), message, "write one of the two");
                None
            }
        };
        let built_in = McpTerms::default();
        let classes: BTreeMap<String, EffectClass> = section.or_default("classes", mistakes);
        for (tool, _) in classes.iter().filter(|(_, class)| **class == EffectClass::Model) {
            mistakes.add(name.span.clone(), format!("`{tool}` cannot be of the class `model`"), CLASSES);
        }
        let terms = McpTerms {
            trust_hints: section.boolean("trust_hints", mistakes).unwrap_or_default(),
            classes,
            timeout: section.value::<Span>("timeout", mistakes).map_or(built_in.timeout, Span::duration),
            result_max: section.value("result_max", mistakes).unwrap_or(built_in.result_max),
            // The agents are not read yet.
            named: built_in.named,
        };
        section.finish(mistakes);
        Some((name.text.to_owned(), Self { reach: reach?, terms }))
    }
}

const CLASSES: &str = "write \"read\", \"idempotent\", \"reconcile\" or \"once\"";

/// What an agent has beside its model, out of its table.
pub(super) fn kit(agent: &str, section: &mut Section<'_>, names: &Names, mistakes: &mut Mistakes<'_>) -> Kit {
    let tools = match section.get("tools").map(|list| list.get_ref().as_array()) {
        Some(Some(list)) => {
            list.iter().filter_map(Text::of).filter(|text| known(agent, text, names, mistakes)).collect()
        }
        _ => Vec::new(),
    };
    // A list that is none is told here.
    let _ = section.texts("tools", mistakes);
    let guardrails = section.tables("guard", mistakes);
    Kit {
        tools: Permissions::new(tools.iter().map(|text| text.text)),
        turns_max: section.whole("turns_max", 1..=TURNS_MAX, mistakes).unwrap_or(TURNS_MAX_DEFAULT),
        guardrails: guardrails.into_iter().filter_map(|table| guardrail(table, names, mistakes)).collect(),
        history: history(section, names, mistakes),
        thinking: Thinking::read(section, mistakes).map(|read| read.into_inner()),
        reuse: section.or_default("prompt_cache", mistakes),
    }
}
/// How much of its talk an agent hears again.
fn history(section: &mut Section<'_>, names: &Names, mistakes: &mut Mistakes<'_>) -> Option<HistoryPolicy> {
    let read = section.read::<HistoryPolicy>("history", mistakes)?;
    let (at, policy) = (read.span(), read.into_inner());
    let least = history::TOKENS_MAX_LEAST;
    if policy.tokens_max < least {
        mistakes.add(
            at.clone(),
            format!("a history of {} tokens is none", policy.tokens_max),
            format!("write {least} or more"),
        );
    }
    if !(1..=TURNS_MAX).contains(&policy.keep_last) {
        let message = format!("`keep_last` must be a whole number from 1 to {TURNS_MAX}");
        mistakes.add(at.clone(), message, "4 is the default");
    }
    // Where turns are trimmed, no summary takes room.
    let has_room = policy.how == How::Trim || policy.summary_max.0.saturating_mul(2) <= policy.tokens_max.0;
    if policy.summary_max.0 == 0 || !has_room {
        let message =
            format!("a summary of {} tokens does not fit a history of {}", policy.summary_max, policy.tokens_max);
        mistakes.add(at.clone(), message, "write a summary_max of at most half of tokens_max");
    }
    match &policy.by {
        Some(by) if !names.agents.contains(by) => {
            let help = document::suggestion(by, names.agents.iter().map(String::as_str));
            mistakes.add(at, format!("there is no agent `{by}` to summarise"), help);
        }
        Some(_) if policy.how == How::Trim => {
            mistakes.add(at, "`by` names who summarises, and nobody does".to_owned(), "add how = \"summarise\"");
        }
        _ => {}
    }
    Some(policy)
}

/// Whether a pattern names any tool that there is for this agent, or that a server may have.
fn known(agent: &str, text: &Text<'_>, names: &Names, mistakes: &mut Mistakes<'_>) -> bool {
    if text.text.strip_prefix(AGENT_TOOL) == Some(agent) {
        mistakes.add(text.span.clone(), format!("`{agent}` cannot ask itself"), "name another agent, or take it out");
        return false;
    }
    let others = names.agents.iter().filter(|name| *name != agent);
    let agents = others.map(|name| format!("{AGENT_TOOL}{name}"));
    let own: Vec<String> = Toolbox::built_in().into_keys().chain(agents).collect();
    let of_server = |server: &String| {
        let prefix = format!("{MCP_TOOL}{server}.");
        text.text.strip_prefix(&prefix).is_some_and(|tool| !tool.is_empty()) || pattern::covers(text.text, &prefix)
    };
    if own.iter().any(|name| pattern::covers(text.text, name)) || names.servers.iter().any(of_server) {
        return true;
    }
    let servers = names.servers.iter().map(|server| format!("{MCP_TOOL}{server}.*"));
    let all: Vec<String> = own.into_iter().chain(servers).collect();
    let help = document::suggestion(text.text, all.iter().map(String::as_str));
    mistakes.add(text.span.clone(), format!("there is no tool `{}`", text.text), help);
    false
}

fn guardrail(mut section: Section<'_>, names: &Names, mistakes: &mut Mistakes<'_>) -> Option<Guardrail> {
    let name = section.need_text("name", mistakes);
    let sides = [("output", Side::Output), ("input", Side::Input)];
    let on = section.word("on", &sides, mistakes);
    let rule = rule(&mut section, name.as_ref(), names, mistakes);
    let ends = [("retry", OnBreach::Retry), ("park", OnBreach::Park), ("fail", OnBreach::Fail)];
    let then_at = section.text("then", mistakes).map(|text| text.span);
    let then = section.word("then", &ends, mistakes);
    let otherwise = section.word("otherwise", &[ends[2], ends[1]], mistakes);
    let retries_max = section.whole("retries_max", 1..=RETRIES_MAX, mistakes).unwrap_or(RETRIES);
    if let (Some(Side::Input), Some(OnBreach::Retry), Some(at)) =
        (on, then, then_at.or(name.as_ref().map(|n| n.span.clone())))
    {
        let message = "what an agent is asked is not asked again, so a guardrail of the input cannot `retry`";
        mistakes.add(at, message, "write then = \"park\" or \"fail\"");
    }
    section.finish(mistakes);
    let (then, otherwise) = (then?, otherwise?);
    Some(Guardrail { name: name?.text.to_owned(), on: on?, rule: rule?, then, retries_max, otherwise })
}

/// A judge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judged {
    agent: String,
    criteria: String,
    #[serde(default = "score_min")]
    score_min: f64,
}

fn score_min() -> f64 {
    6.0
}

fn rule(
    section: &mut Section<'_>,
    name: Option<&Text<'_>>,
    names: &Names,
    mistakes: &mut Mistakes<'_>,
) -> Option<Rule> {
    let kinds = ["rules", "forbid", "require", "judge"];
    let written = kinds.iter().filter(|kind| section.get(kind).is_some()).count();
    if written != 1 {
        let at = name.map(|name| name.span.clone()).unwrap_or_default();
        let message = format!("a guardrail has one of {}, and this one has {written}", kinds.join(", "));
        mistakes.add(at, message, "write one guardrail for each");
        return None;
    }
    if let Some(rules) = section.value::<PostRules>("rules", mistakes) {
        return Some(Rule::Text(rules));
    }
    if let Some(judged) = section.read::<Judged>("judge", mistakes) {
        let (at, Judged { agent, criteria, score_min }) = (judged.span(), judged.into_inner());
        if !names.agents.contains(&agent) {
            let help = document::suggestion(&agent, names.agents.iter().map(String::as_str));
            mistakes.add(at, format!("there is no agent `{agent}` to judge"), help);
        }
        return Some(Rule::Judge { agent, criteria, score_min });
    }
    let (forbids, pattern) = match section.text("forbid", mistakes) {
        Some(pattern) => (true, pattern),
        None => (false, section.text("require", mistakes)?),
    };
    match RegexBuilder::new(pattern.text).size_limit(PATTERN_BYTES_MAX).build() {
        Ok(regex) => Some(if forbids { Rule::Forbid(regex) } else { Rule::Require(regex) }),
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            mistakes.add(pattern.span, format!("`{}` is no pattern: {why}", pattern.text), "");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use policies::document;

    use super::super::{Config, read};
    use super::*;
    use crate::written::Written;

    fn load(text: &str) -> Result<Config, String> {
        read::config(Written::in_file(Path::new("c.toml"), text.to_owned())).map_err(|found| document::lines(&found))
    }

    #[test]
    fn an_agent_has_the_tools_and_guardrails_that_are_written() {
        let config = load(
            "[fetch]\nallow = [\"example.com\"]\n\
             [mcp.files]\ncommand = \"files\"\nargs = [\"--root\", \"/srv\"]\nenv = { A = \"plain\", B = { env = \"HOME\" } }\n\
             classes = { read = \"read\" }\ntimeout = \"5s\"\n\
             [mcp.web]\nurl = \"https://mcp.example/mcp\"\nheaders = { authorization = { env = \"HOME\" } }\n\
             [agents.writer]\ntools = [\"context.*\", \"http.fetch\", \"mcp.files.read\", \"mcp.web.*\", \"agent.reviewer\"]\nturns_max = 3\n\
             [[agents.writer.guard]]\nname = \"short\"\nrules = { graphemes_max = 300 }\nthen = \"retry\"\n\
             [[agents.writer.guard]]\nname = \"kind\"\njudge = { agent = \"reviewer\", criteria = \"Is it kind?\" }\nthen = \"park\"\n",
        )
        .unwrap();
        let kit = &config.agents["writer"].kit;
        assert!(
            kit.tools.allow("context.search") && kit.tools.allow("mcp.web.any") && !kit.tools.allow("mcp.files.write")
        );
        assert_eq!((kit.turns_max, kit.guardrails.len()), (3, 2));
        assert_eq!((kit.guardrails[0].then, kit.guardrails[0].otherwise), (OnBreach::Retry, OnBreach::Fail));
        assert_eq!(config.mcp["files"].terms.classes["read"], EffectClass::Read);
        assert_eq!(config.mcp["files"].words().count(), 2);
        assert!(matches!(config.mcp["web"].reach, ReachConfig::Address { .. }));
    }

    #[test]
    fn the_program_of_a_server_that_is_not_there_is_doubted() {
        let config = load(
            "[mcp.files]\ncommand = \"callboard-no-such-program\"\n[mcp.more]\ncommand = \"sh\"\n\
             [mcp.web]\nurl = \"https://mcp.example/mcp\"\n\
             [mcp.own]\ncommand = \"callboard-no-such-program\"\nenv = { PATH = \"/opt/own\" }\n",
        )
        .unwrap();
        let told = document::lines(&config.programs_missing());
        let wanted = "c.toml:2:11: the program callboard-no-such-program is not there; install it, or write its path";
        assert_eq!(told.trim_end(), wanted);
    }

    #[test]
    fn a_tool_that_nobody_has_is_told_with_what_may_be_meant() {
        let told =
            load("[agents.writer]\ntools = [\"context.serch\", \"agent.reviwer\", \"mcp.files.*\", \"ftp.*\"]\n")
                .unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert!(
            lines[0].starts_with("c.toml:2:10: there is no tool `context.serch`; did you mean `context.search`?"),
            "{told}"
        );
        assert!(lines[1].contains("`agent.reviwer`; did you mean `agent.reviewer`?"), "{told}");
        assert_eq!(lines.len(), 4, "{told}");
    }

    #[test]
    fn a_history_that_is_trimmed_needs_no_room_for_a_summary() {
        let config = load("[agents.writer]\nhistory = { tokens_max = 500 }\n").unwrap();
        assert_eq!(config.agents["writer"].kit.history.as_ref().unwrap().tokens_max.0, 500);
    }

    #[test]
    fn an_agent_is_no_tool_of_its_own_and_is_known_once() {
        let told = load("[agents.writer]\ntools = [\"agent.writer\", \"agent.*\", \"zzz\"]\n").unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "c.toml:2:10: `writer` cannot ask itself; name another agent, or take it out");
        assert!(lines[1].contains("there is no tool `zzz`") && !lines[1].contains("`agent.writer`"), "{told}");
        assert_eq!((lines.len(), lines[1].matches("`agent.reviewer`").count()), (2, 1), "{told}");
        let told = load("[agents.writer]\n[agents.reviewer]\ntools = [\"zzz\"]\n").unwrap_err();
        assert_eq!(told.matches("`agent.writer`").count(), 1, "{told}");
    }

    #[test]
    fn what_cannot_be_a_server_or_a_guardrail_is_told() {
        for (text, wanted) in [
            ("[mcp.a]\n", "is reached by `command` or by `url`"),
            ("[mcp.a]\ncommand = \"x\"\nurl = \"http://a/\"\n", "is reached by `command` or by `url`"),
            ("[mcp.\"a.b\"]\ncommand = \"x\"\n", "cannot name a server"),
            ("[mcp.writer]\ncommand = \"x\"\n", "the name of the MCP server `writer` is taken"),
            ("[mcp.a]\ncommand = \"x\"\nclasses = { b = \"model\" }\n", "cannot be of the class `model`"),
            ("[[agents.writer.guard]]\nname = \"a\"\n", "this one has 0"),
            ("[[agents.writer.guard]]\nname = \"a\"\nforbid = \"(\"\n", "is no pattern"),
            (
                "[[agents.writer.guard]]\nname = \"a\"\nforbid = \"a\"\non = \"input\"\nthen = \"retry\"\n",
                "cannot `retry`",
            ),
            (
                "[[agents.writer.guard]]\nname = \"a\"\njudge = { agent = \"x\", criteria = \"y\" }\n",
                "no agent `x` to judge",
            ),
            ("[agents.writer]\nhistory = { tokens_max = 100 }\n", "a history of 100 tokens is none"),
            (
                "[agents.writer]\nhistory = { tokens_max = 700, how = \"summarise\" }\n",
                "a summary of 400 tokens does not fit",
            ),
            ("[agents.writer]\nhistory = { tokens_max = 1000, keep_last = 0 }\n", "`keep_last` must be"),
            ("[agents.writer]\nhistory = { tokens_max = 1000, by = \"reviewer\" }\n", "and nobody does"),
            (
                "[agents.writer]\nhistory = { tokens_max = 1000, how = \"summarise\", by = \"reviwer\" }\n",
                "no agent `reviwer` to summarise; did you mean `reviewer`?",
            ),
            ("[fetch]\nallow = [\"http://a\"]\n", "names no hosts"),
        ] {
            let told = load(text).unwrap_err();
            assert!(told.contains(wanted), "{text}: {told}");
        }
    }
}
