//! Reading `callboard.toml`. Invariant: every fault of the file is found in one reading, and which keys a
//! table may have follows from its `kind`.

use std::collections::BTreeMap;

use policies::document::{self, Error, Located, Mistakes, Section, Text};

use super::address::{HttpAddress, Listen};
use super::telemetry::TelemetryConfig;
use super::tools::{self, McpConfig, Names};
use super::{
    AgentConfig, AlertsConfig, ChaosConfig, Config, ContextConfig, LOCAL, ModelChoice, ModelConfig, PublisherConfig,
};
use crate::system::{AGENTS, PUBLISHERS, SERVICES, agents};
use crate::written::Written;

/// The collection of a Qdrant server that names none.
const COLLECTION: &str = "callboard";

/// Reads a configuration.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub(super) fn config(written: Written) -> Result<Config, Vec<Error>> {
    let config = {
        let source = written.source();
        let document = document::parse(source)?;
        let mut mistakes = Mistakes::new(source);
        let config = whole(&document, &mut mistakes);
        mistakes.conclude(config)?
    };
    Ok(Config { written, ..config })
}

fn whole(document: Located<'_>, mistakes: &mut Mistakes<'_>) -> Option<Config> {
    let mut section = Section::of("the configuration", document, mistakes)?;
    let built_in = Config::default();
    let publishers = section.entries("publishers", mistakes);
    let models = section.entries("models", mistakes);
    let names: Vec<&str> = models.iter().map(|(name, _)| name.text).collect();
    let named: BTreeMap<_, _> = models.iter().filter_map(|entry| named(entry, mistakes)).collect();
    let written_agents = section.entries("agents", mistakes);
    let servers = section.entries("mcp", mistakes);
    let own = written_agents.iter().map(|(name, _)| name.text).filter(|name| !AGENTS.contains(name));
    let known = Names {
        agents: AGENTS.into_iter().chain(own).map(str::to_owned).collect(),
        servers: servers.iter().map(|(name, _)| name.text.to_owned()).collect(),
    };
    let config = Config {
        data: section.value("data", mistakes).unwrap_or(built_in.data),
        cache: section.value("cache", mistakes),
        listen: section.value::<Listen>("listen", mistakes).map_or(built_in.listen, |listen| listen.0),
        workspace: section.value("workspace", mistakes).unwrap_or(built_in.workspace),
        model: choice(&mut section, "[model]", &names, mistakes).unwrap_or_default(),
        named,
        agents: written_agents.iter().filter_map(|entry| agent(entry, &names, &known, mistakes)).collect(),
        fetch: section.or_default("fetch", mistakes),
        mcp: servers.iter().filter_map(|entry| McpConfig::read(entry, mistakes)).collect(),
        context: section.table("context", mistakes).and_then(|section| context(section, mistakes)).unwrap_or_default(),
        feed: section.or_default("feed", mistakes),
        publishers: publishers.iter().filter_map(|entry| publisher(entry, mistakes)).collect(),
        journal: section.or_default("journal", mistakes),
        policies: section.or_default("policies", mistakes),
        alerts: section.table("alerts", mistakes).and_then(|section| alerts(section, mistakes)),
        chaos: section.table("chaos", mistakes).and_then(|section| chaos(section, mistakes)),
        telemetry: section
            .table("telemetry", mistakes)
            .map_or_else(TelemetryConfig::default, |section| TelemetryConfig::read(section, mistakes)),
        written: built_in.written,
    };
    section.finish(mistakes);
    namesakes(&config, &publishers, &servers, mistakes);
    Some(config)
}

/// A table's kind, which must be one of a few words.
pub(super) fn kind<T: Copy>(
    section: &mut Section<'_>,
    words: &[(&'static str, T)],
    mistakes: &mut Mistakes<'_>,
) -> Option<T> {
    section.require("kind", mistakes);
    section.get("kind")?;
    let kind = section.word("kind", words, mistakes)?;
    if let Some(word) = section.text("kind", mistakes) {
        section.what = format!("{} of the kind `{}`", section.what, word.text);
    }
    Some(kind)
}

/// `url`, which must be there.
fn address(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    section.require("url", mistakes);
    section.value::<HttpAddress>("url", mistakes).map(|address| address.0)
}

fn agent(
    (name, value): &(Text<'_>, Located<'_>),
    names: &[&str],
    known: &Names,
    mistakes: &mut Mistakes<'_>,
) -> Option<(String, AgentConfig)> {
    let mut section = Section::of(format!("[agents.{}]", name.text), value, mistakes)?;
    let own = choice(&mut section, &format!("[agents.{}.model]", name.text), names, mistakes);
    let kit = tools::kit(name.text, &mut section, known, mistakes);
    section.finish(mistakes);
    Some((name.text.to_owned(), AgentConfig { model: own, kit }))
}

/// A model with a name.
fn named((name, value): &(Text<'_>, Located<'_>), mistakes: &mut Mistakes<'_>) -> Option<(String, ModelConfig)> {
    let section = Section::of(format!("[models.{}]", name.text), value, mistakes)?;
    Some((name.text.to_owned(), ModelConfig::read(section, mistakes)?))
}

/// `model`: the name of one of these, or a table that describes one.
fn choice(section: &mut Section<'_>, what: &str, names: &[&str], mistakes: &mut Mistakes<'_>) -> Option<ModelChoice> {
    let value = section.get("model")?;
    if let Some(text) = Text::of(value) {
        let known = names.iter().copied().chain([LOCAL]);
        if !known.clone().any(|name| name == text.text) {
            let help = match document::closest(text.text, known) {
                Some(other) => format!("did you mean `{other}`? If not, describe it as [models.{}]", text.text),
                None => format!("describe it as [models.{}]", text.text),
            };
            mistakes.add(text.span.clone(), format!("there is no model `{}`", text.text), help);
        }
        return Some(ModelChoice::Named(text.text.to_owned()));
    }
    let mut own = section.table("model", mistakes)?;
    what.clone_into(&mut own.what);
    ModelConfig::read(own, mistakes).map(ModelChoice::Own)
}

fn context(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<ContextConfig> {
    let is_embedded = kind(&mut section, &[("embedded", true), ("qdrant", false)], mistakes)?;
    let context = if is_embedded {
        Some(ContextConfig::Embedded)
    } else {
        let url = address(&mut section, mistakes);
        let collection = section.value("collection", mistakes).unwrap_or_else(|| COLLECTION.to_owned());
        let key = section.value("key", mistakes);
        url.map(|url| ContextConfig::Qdrant { url, collection, key })
    };
    section.finish(mistakes);
    context
}

fn publisher(
    (name, value): &(Text<'_>, Located<'_>),
    mistakes: &mut Mistakes<'_>,
) -> Option<(String, PublisherConfig)> {
    let mut section = Section::of(format!("[publishers.{}]", name.text), value, mistakes)?;
    kind(&mut section, &[("webhook", ())], mistakes)?;
    let url = address(&mut section, mistakes);
    let key = section.value("key", mistakes);
    let deduplicates = section.boolean("deduplicates", mistakes).unwrap_or_default();
    let can_be_asked = section.boolean("can_be_asked", mistakes).unwrap_or_default();
    section.finish(mistakes);
    Some((name.text.to_owned(), PublisherConfig::Webhook { url: url?, key, deduplicates, can_be_asked }))
}

fn alerts(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<AlertsConfig> {
    let (url, key) = (address(&mut section, mistakes), section.value("key", mistakes));
    section.finish(mistakes);
    Some(AlertsConfig { url: url?, key })
}

fn chaos(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<ChaosConfig> {
    section.require("token", mistakes);
    let token = section.value("token", mistakes);
    section.finish(mistakes);
    token.map(|token| ChaosConfig { token })
}

/// A publisher or a server is known by its name to workflows, guards and the tree, so it must be its own.
fn namesakes(
    config: &Config,
    publishers: &[(Text<'_>, Located<'_>)],
    servers: &[(Text<'_>, Located<'_>)],
    mistakes: &mut Mistakes<'_>,
) {
    let taken: Vec<&str> = agents(config).chain(SERVICES).chain(PUBLISHERS).collect();
    let is_taken = |name: &str| taken.contains(&name) || config.publishers.contains_key(name);
    for (name, _) in servers.iter().filter(|(name, _)| is_taken(name.text)) {
        let message = format!("the name of the MCP server `{0}` is taken: the tree has another `{0}`", name.text);
        mistakes.add(name.span.clone(), message, "give it another name");
    }
    for (name, _) in publishers.iter().filter(|(name, _)| taken.contains(&name.text)) {
        let message = format!("the name of the publisher `{0}` is taken: the tree has another `{0}`", name.text);
        mistakes.add(name.span.clone(), message, "give it another name");
    }
}
