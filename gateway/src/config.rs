//! `callboard.toml`: which real things stand behind each seam.
//!
//! Invariant: every key has a default that needs no key and no server, unknown
//! keys are refused, and a secret is named here, never written here.

mod address;
mod model;
mod read;
mod secrets;
mod telemetry;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agents::agent::Kit;
use agents::tool::FetchPolicy;
use policies::document::Error;
use policies::span::ByteSize;
use serde::Deserialize;

pub use crate::secret_source::SecretSource;
pub use model::{ModelConfig, ServerModel};
pub use telemetry::{OtlpConfig, TelemetryConfig};
pub use tools::{McpConfig, ReachConfig, Words};

use crate::system::agents;
use crate::written::Written;

/// Read when no file is named and this one is there.
pub const FILE: &str = "callboard.toml";
/// The largest configuration or policy file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it was read from, which places what turns out to be wrong with it later.
    pub written: Written,
    /// The folder of the journal, the feed and the views.
    pub data: PathBuf,
    /// Where models and other downloads are kept; by default the user's cache.
    pub cache: Option<PathBuf>,
    /// The address of the HTTP API.
    pub listen: SocketAddr,
    /// The workspace that pays.
    pub workspace: String,
    /// The model that agents use unless they name another.
    pub model: ModelChoice,
    /// Models by name.
    pub named: BTreeMap<String, ModelConfig>,
    /// Agents with a model of their own.
    pub agents: BTreeMap<String, AgentConfig>,
    /// Which pages agents may read.
    pub fetch: FetchPolicy,
    /// MCP servers by name.
    pub mcp: BTreeMap<String, McpConfig>,
    /// Where the context index is.
    pub context: ContextConfig,
    /// The feed that the publisher `feed` keeps.
    pub feed: FeedConfig,
    /// Publishers beside the feed.
    pub publishers: BTreeMap<String, PublisherConfig>,
    /// The journal's bounds.
    pub journal: JournalConfig,
    /// Files that replace the built-in policies.
    pub policies: PolicyFiles,
    /// Where alerts of budgets are sent.
    pub alerts: Option<AlertsConfig>,
    /// Faults on purpose in the running system; there are none without it.
    pub chaos: Option<ChaosConfig>,
    /// Where spans and histograms are sent.
    pub telemetry: TelemetryConfig,
}

/// Where alerts of budgets are sent.
#[derive(Clone, Debug)]
pub struct AlertsConfig {
    /// The address that takes them by POST.
    pub url: String,
    /// Sent as a bearer token, if there is one.
    pub key: Option<SecretSource>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            written: Written::built_in("configuration"),
            data: PathBuf::from(".callboard"),
            cache: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workspace: "main".to_owned(),
            model: ModelChoice::default(),
            named: BTreeMap::new(),
            agents: BTreeMap::new(),
            fetch: FetchPolicy::default(),
            mcp: BTreeMap::new(),
            context: ContextConfig::default(),
            feed: FeedConfig::default(),
            publishers: BTreeMap::new(),
            journal: JournalConfig::default(),
            policies: PolicyFiles::default(),
            alerts: None,
            chaos: None,
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// The local model as it is where nothing is said of it.
static LOCAL_MODEL: ModelConfig = ModelConfig::Local { path: None, cpu_second: None };
/// The name of the local model, which is there without being configured.
pub const LOCAL: &str = "local";

/// Which model is used.
#[derive(Clone, Debug)]
pub enum ModelChoice {
    /// The one of that name.
    Named(String),
    /// One that is described where it is used.
    Own(ModelConfig),
}

impl Default for ModelChoice {
    fn default() -> Self {
        Self::Own(ModelConfig::default())
    }
}

/// One agent's own settings.
#[derive(Clone, Debug, Default)]
pub struct AgentConfig {
    /// Its model; the general one without it.
    pub model: Option<ModelChoice>,
    /// What it has beside that.
    pub kit: Kit,
}

/// Where the context index is, by its `kind`.
#[derive(Clone, Debug, Default)]
pub enum ContextConfig {
    /// Qdrant inside this process, in the data folder.
    #[default]
    Embedded,
    /// A Qdrant server, over gRPC.
    Qdrant {
        /// `http://127.0.0.1:6334`
        url: String,
        /// The collection's name there.
        collection: String,
        /// Where the API key is.
        key: Option<SecretSource>,
    },
}

/// The Atom feed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedConfig {
    /// Its title.
    pub title: String,
    /// The address under which readers find it.
    #[serde(deserialize_with = "address::http")]
    pub url: String,
    /// The folder that holds it; by default `feed` in the data folder.
    pub folder: Option<PathBuf>,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { title: "Callboard".to_owned(), url: "http://127.0.0.1:8080/feed.atom".to_owned(), folder: None }
    }
}

/// A platform that is posted to, by its `kind`.
#[derive(Clone, Debug)]
pub enum PublisherConfig {
    /// One that takes a post as one HTTP request.
    Webhook {
        /// Where posts are sent.
        url: String,
        /// Where the key is that is sent as a bearer token.
        key: Option<SecretSource>,
        /// Whether it takes a second post with the same `Idempotency-Key` for the first one.
        deduplicates: bool,
        /// Whether it answers `GET <url>?key=<key>`.
        can_be_asked: bool,
    },
}

/// The journal's bounds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// The most that the journal may take on disk; without it, what the disk has.
    pub bytes_max: Option<ByteSize>,
}

/// Files that replace the built-in policies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFiles {
    /// The supervision tree.
    pub tree: Option<PathBuf>,
    /// Time-outs, rates, breakers and retries.
    pub guard: Option<PathBuf>,
    /// The price table.
    pub prices: Option<PathBuf>,
    /// What may be spent.
    pub budget: Option<PathBuf>,
    /// Whether a server takes changed files up by itself.
    pub watch: bool,
}

/// Faults on purpose in the running system.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosConfig {
    /// Where the token is that operators show.
    pub token: SecretSource,
}

impl Config {
    /// Reads `file`, or [`FILE`] where there is one, or takes the defaults.
    /// Paths inside the file are relative to its folder.
    ///
    /// # Errors
    /// Every fault with file, line, column and what to do.
    pub fn load(file: Option<&Path>) -> Result<Self, Vec<Error>> {
        let path = match file {
            Some(path) => path,
            None if Path::new(FILE).exists() => Path::new(FILE),
            None => return Ok(Self::default()),
        };
        let text = read(path).map_err(|fault| vec![fault])?;
        let mut config = read::config(Written::in_file(path, text))?;
        if let Some(folder) = path.parent() {
            config.resolve(folder);
        }
        Ok(config)
    }

    /// The models that agents use and those that have a name, each once.
    #[must_use]
    pub fn models(&self) -> Vec<ModelInUse<'_>> {
        let mut found: Vec<ModelInUse<'_>> = Vec::new();
        for agent in agents(self) {
            let used = self.model_of(agent);
            match found.iter_mut().find(|known| known.way == used.way && known.name == used.name) {
                Some(known) => known.agents.push(agent),
                None => found.push(used),
            }
        }
        for name in self.named.keys().filter_map(|name| self.named_model(name)) {
            if found.iter().all(|known| known.name != name.name) {
                found.push(name);
            }
        }
        found
    }

    /// The model of an agent.
    #[must_use]
    pub fn model_of<'a>(&'a self, agent: &'a str) -> ModelInUse<'a> {
        let own = self.agents.get(agent).and_then(|agent| agent.model.as_ref());
        let way = if own.is_some() { vec!["agents", agent, "model"] } else { vec!["model"] };
        let used = match own.unwrap_or(&self.model) {
            ModelChoice::Own(model) => ModelInUse { name: None, model, way, agents: Vec::new() },
            // A name that nobody has is refused where it is read.
            ModelChoice::Named(name) => self.named_model(name).unwrap_or(ModelInUse {
                name: Some(name),
                model: &LOCAL_MODEL,
                way,
                agents: Vec::new(),
            }),
        };
        ModelInUse { agents: vec![agent], ..used }
    }

    /// The model of that name. The local one has its name without being configured.
    #[must_use]
    pub fn named_model<'a>(&'a self, name: &'a str) -> Option<ModelInUse<'a>> {
        let found = |model, way| Some(ModelInUse { name: Some(name), model, way, agents: Vec::new() });
        match (self.named.get(name), &self.model) {
            (Some(model), _) => found(model, vec!["models", name]),
            (None, ModelChoice::Own(model @ ModelConfig::Local { .. })) if name == LOCAL => found(model, vec!["model"]),
            (None, _) if name == LOCAL => found(&LOCAL_MODEL, Vec::new()),
            (None, _) => None,
        }
    }

    /// The names that models can be named by.
    pub fn model_names(&self) -> impl Iterator<Item = &str> + Clone {
        let named = self.named.keys().map(String::as_str);
        named.chain([LOCAL].into_iter().filter(|name| !self.named.contains_key(*name)))
    }

    /// What cannot be read of the secrets that this configuration uses. None of their words are kept.
    #[must_use]
    pub fn secrets_missing(&self) -> Vec<Error> {
        secrets::missing(self)
    }

    /// The programs of MCP servers that are not there.
    #[must_use]
    pub fn programs_missing(&self) -> Vec<Error> {
        let missing = self.mcp.iter().filter_map(|(name, server)| Some((name, server.program_missing()?)));
        let doubt = |(name, program): (&String, &str)| {
            let message = format!("the program {program} is not there");
            self.written.fault(&["mcp", name, "command"], message, "install it, or write its path")
        };
        missing.map(doubt).collect()
    }

    fn resolve(&mut self, folder: &Path) {
        self.data = folder.join(&self.data);
        let policies = &mut self.policies;
        let optional = [
            &mut self.cache,
            &mut self.feed.folder,
            &mut policies.tree,
            &mut policies.guard,
            &mut policies.prices,
            &mut policies.budget,
        ];
        for path in optional.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        let chosen = std::iter::once(&mut self.model).chain(self.agents.values_mut().filter_map(|a| a.model.as_mut()));
        let own = chosen.filter_map(|chosen| if let ModelChoice::Own(model) = chosen { Some(model) } else { None });
        own.chain(self.named.values_mut()).for_each(|model| model.resolve(folder));
        if let ContextConfig::Qdrant { key: Some(key), .. } = &mut self.context {
            key.resolve(folder);
        }
        if let Some(AlertsConfig { key: Some(key), .. }) = &mut self.alerts {
            key.resolve(folder);
        }
        let headers = self.telemetry.otlp.iter_mut().flat_map(|otlp| otlp.headers.values_mut());
        for words in self.mcp.values_mut().flat_map(McpConfig::words_mut).chain(headers) {
            if let Words::Secret(source) = words {
                source.resolve(folder);
            }
        }
        if let Some(chaos) = &mut self.chaos {
            chaos.token.resolve(folder);
        }
        for PublisherConfig::Webhook { key, .. } in self.publishers.values_mut() {
            if let Some(key) = key {
                key.resolve(folder);
            }
        }
    }

    /// The folder of the feed.
    #[must_use]
    pub fn feed_folder(&self) -> PathBuf {
        self.feed.folder.clone().unwrap_or_else(|| self.data.join("feed"))
    }

    /// Where downloads are kept: as configured, else `CALLBOARD_MODELS`, else
    /// the user's cache folder, else the data folder.
    #[must_use]
    pub fn cache_folder(&self) -> PathBuf {
        let from_env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        self.cache
            .clone()
            .or_else(|| from_env("CALLBOARD_MODELS"))
            .or_else(|| Some(from_env("XDG_CACHE_HOME")?.join("callboard")))
            .or_else(|| Some(from_env("HOME")?.join(".cache/callboard")))
            .unwrap_or_else(|| self.data.join("cache"))
    }
}

/// A model that agents use, or that has a name.
#[derive(Clone, Debug)]
pub struct ModelInUse<'a> {
    /// Its name, if it was given one.
    pub name: Option<&'a str>,
    /// The model.
    pub model: &'a ModelConfig,
    /// The keys that lead to it in the configuration.
    pub way: Vec<&'a str>,
    /// Whose it is.
    pub agents: Vec<&'a str>,
}

impl ModelInUse<'_> {
    /// The name of the guard around its calls.
    #[must_use]
    pub fn guard(&self) -> String {
        format!("model/{}", self.name.unwrap_or_else(|| self.model.own_name()))
    }
}

/// Reads a configuration or policy file as text, within [`FILE_BYTES_MAX`].
///
/// # Errors
/// The fault, with what to do.
pub fn read(path: &Path) -> Result<String, Error> {
    let label = path.display().to_string();
    let unreadable = |e: std::io::Error| Error::whole(&label, format!("cannot be read: {e}"), "name a readable file");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    // One byte over the bound tells "too large" without reading all of it.
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("is larger than {}", ByteSize(FILE_BYTES_MAX));
        return Err(Error::whole(label, message, "name the right file, or take out of it what does not belong there"));
    }
    Ok(text)
}
