//! `callboard.toml`: which real things stand behind each seam.
//!
//! Invariant: every key has a default that needs no key and no server, unknown
//! keys are refused, and a secret is named here, never written here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agents::openai::{Dialect, Prefill};
use policies::document::{self, Error, Source};
use policies::money::Money;
use policies::span::ByteSize;
use serde::Deserialize;

pub use crate::secret_source::SecretSource;

use crate::system::{PUBLISHERS, SERVICES, agents};

/// Read when no file is named and this one is there.
pub const FILE: &str = "callboard.toml";

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder of the journal, the feed and the views.
    pub data: PathBuf,
    /// Where models and other downloads are kept; by default the user's cache.
    pub cache: Option<PathBuf>,
    /// The address of the HTTP API.
    pub listen: SocketAddr,
    /// The workspace that pays.
    pub workspace: String,
    /// The model that agents use unless they name another.
    pub model: ModelConfig,
    /// Agents with a model of their own.
    pub agents: BTreeMap<String, AgentConfig>,
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
    /// Faults on purpose in the running system; there are none without it.
    pub chaos: Option<ChaosConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from(".callboard"),
            cache: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workspace: "main".to_owned(),
            model: ModelConfig::default(),
            agents: BTreeMap::new(),
            context: ContextConfig::default(),
            feed: FeedConfig::default(),
            publishers: BTreeMap::new(),
            journal: JournalConfig::default(),
            policies: PolicyFiles::default(),
            chaos: None,
        }
    }
}

/// A language model.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelConfig {
    /// The small model on this machine's CPU.
    Local {
        /// The GGUF file, when it was brought by hand.
        #[serde(default)]
        path: Option<PathBuf>,
        /// What a second of CPU is said to cost; by default as the price table says: nothing.
        #[serde(default)]
        cpu_second: Option<Money>,
    },
    /// A server that speaks OpenAI's chat completions: Ollama, vLLM, llama.cpp, OpenAI.
    #[serde(rename = "openai")]
    OpenAi {
        /// The base, `/v1` included: `http://127.0.0.1:11434/v1`.
        url: String,
        /// The model's name there.
        name: String,
        /// Its key in the price table, when that differs from `name`.
        #[serde(default)]
        price: Option<String>,
        /// Where the API key is.
        #[serde(default)]
        key: Option<SecretSource>,
        /// Whether replies are streamed.
        #[serde(default = "yes")]
        stream: bool,
        /// Which field names the server understands: `compatible`, or `open_ai` for OpenAI itself.
        #[serde(default)]
        dialect: Dialect,
        /// How a reply is made to begin with given words: `ask`, or `continue` where the server can
        /// (llama.cpp, Ollama).
        #[serde(default)]
        prefill: Prefill,
    },
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Local { path: None, cpu_second: None }
    }
}

fn yes() -> bool {
    true
}

/// One agent's own settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Its model; the general one without it.
    pub model: Option<ModelConfig>,
}

/// Where the context index is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ContextConfig {
    /// Qdrant inside this process, in the data folder.
    #[default]
    Embedded,
    /// A Qdrant server, over gRPC.
    Qdrant {
        /// `http://127.0.0.1:6334`
        url: String,
        /// The collection's name there.
        #[serde(default = "collection")]
        collection: String,
        /// Where the API key is.
        #[serde(default)]
        key: Option<SecretSource>,
    },
}

fn collection() -> String {
    "callboard".to_owned()
}

/// The Atom feed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedConfig {
    /// Its title.
    pub title: String,
    /// The address under which readers find it.
    pub url: String,
    /// The folder that holds it; by default `feed` in the data folder.
    pub folder: Option<PathBuf>,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { title: "Callboard".to_owned(), url: "http://127.0.0.1:8080/feed.atom".to_owned(), folder: None }
    }
}

/// A platform that is posted to.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PublisherConfig {
    /// One that takes a post as one HTTP request.
    Webhook {
        /// Where posts are sent.
        url: String,
        /// Where the key is that is sent as a bearer token.
        #[serde(default)]
        key: Option<SecretSource>,
        /// Whether it takes a second post with the same `Idempotency-Key` for the first one.
        #[serde(default)]
        deduplicates: bool,
        /// Whether it answers `GET <url>?key=<key>`.
        #[serde(default)]
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
    /// The fault with file, line, column and what to do.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let path = match file {
            Some(path) => path,
            None if Path::new(FILE).exists() => Path::new(FILE),
            None => return Ok(Self::default()),
        };
        let (label, text) = (path.display().to_string(), read(path)?);
        let mut config: Self = document::read(&label, &text)?;
        config.namesake(Source { file: &label, text: &text })?;
        if let Some(folder) = path.parent() {
            config.resolve(folder);
        }
        Ok(config)
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
        let models = std::iter::once(&mut self.model).chain(self.agents.values_mut().filter_map(|a| a.model.as_mut()));
        for model in models {
            match model {
                ModelConfig::Local { path: Some(path), .. } => *path = folder.join(&*path),
                ModelConfig::OpenAi { key: Some(key), .. } => key.resolve(folder),
                ModelConfig::Local { .. } | ModelConfig::OpenAi { .. } => {}
            }
        }
        if let ContextConfig::Qdrant { key: Some(key), .. } = &mut self.context {
            key.resolve(folder);
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

    /// A publisher is known by its name to workflows, guards and the tree, so it must be its own.
    fn namesake(&self, source: Source<'_>) -> Result<(), Error> {
        let taken: Vec<&str> = agents(self).chain(SERVICES).chain(PUBLISHERS).collect();
        match self.publishers.keys().find(|name| taken.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let at = source.text.find(&format!("publishers.{name}")).unwrap_or(0);
                let message = format!("the name of the publisher `{name}` is taken: the tree has another `{name}`");
                Err(source.error(at..at, message, "give it another name"))
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

/// Reads a configuration or policy file as text.
///
/// # Errors
/// The fault, with what to do.
pub fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|e| Error {
        file: path.display().to_string(),
        line: 1,
        column: 1,
        message: format!("cannot be read: {e}"),
        help: "name a readable TOML file".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let (dir, path) = written("");
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!(config.data, dir.path().join(".callboard"));
        assert!(matches!(config.model, ModelConfig::Local { .. }));
    }

    #[test]
    fn a_model_server_is_a_few_lines() {
        let (_dir, path) = written(
            "[model]\nkind = \"openai\"\nurl = \"http://127.0.0.1:11434/v1\"\nname = \"qwen\"\nkey = { env = \"SOME_KEY\" }\n",
        );
        let config = Config::load(Some(&path)).unwrap();
        assert!(matches!(config.model, ModelConfig::OpenAi { stream: true, key: Some(SecretSource::Env(_)), .. }));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let (dir, path) = written(
            "policies.tree = \"tree.toml\"\n[model]\nkind = \"local\"\npath = \"models/x.gguf\"\n\
             [agents.writer.model]\nkind = \"openai\"\nurl = \"http://a/v1\"\nname = \"b\"\nkey = { file = \"key\" }\n",
        );
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!(config.policies.tree, Some(dir.path().join("tree.toml")));
        let ModelConfig::Local { path: Some(model), .. } = &config.model else { panic!("{:?}", config.model) };
        assert_eq!(*model, dir.path().join("models/x.gguf"));
        let Some(ModelConfig::OpenAi { key: Some(SecretSource::File(key)), .. }) = &config.agents["writer"].model
        else {
            panic!("{:?}", config.agents)
        };
        assert_eq!(*key, dir.path().join("key"));
    }

    #[test]
    fn a_publisher_is_a_few_lines() {
        let (dir, path) = written(
            "[publishers.board]\nkind = \"webhook\"\nurl = \"http://a/posts\"\nkey = { file = \"key\" }\ncan_be_asked = true\n",
        );
        let config = Config::load(Some(&path)).unwrap();
        let PublisherConfig::Webhook {
            url,
            key: Some(SecretSource::File(key)),
            deduplicates: false,
            can_be_asked: true,
        } = &config.publishers["board"]
        else {
            panic!("{:?}", config.publishers)
        };
        assert_eq!((url.as_str(), key), ("http://a/posts", &dir.path().join("key")));
    }

    #[test]
    fn chaos_is_off_unless_it_has_a_token() {
        let (dir, path) = written("[chaos]\ntoken = { file = \"token\" }\n");
        let Some(ChaosConfig { token: SecretSource::File(token) }) = Config::load(Some(&path)).unwrap().chaos else {
            panic!("it has a token")
        };
        assert_eq!(token, dir.path().join("token"));
        assert!(Config::default().chaos.is_none());
        let (_dir, path) = written("[chaos]\n");
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("missing field `token`"), "{error}");
    }

    #[test]
    fn a_publisher_has_a_name_of_its_own() {
        for taken in ["feed", "writer", "ledger", "editor"] {
            let (_dir, path) = written(&format!(
                "[agents.editor]\n[publishers.{taken}]\nkind = \"webhook\"\nurl = \"http://a/posts\"\n"
            ));
            let error = Config::load(Some(&path)).unwrap_err().to_string();
            assert!(error.contains(":2:") && error.contains(&format!("`{taken}` is taken")), "{error}");
        }
    }

    #[test]
    fn a_typo_is_named_with_its_line() {
        let (_dir, path) = written("workspace = \"a\"\nlisten = \"127.0.0.1:80\"\ndatta = \"x\"\n");
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains(":3:") && error.contains("data"), "{error}");
    }

    #[test]
    fn a_secret_written_into_the_file_is_not_repeated() {
        let (_dir, path) =
            written("[model]\nkind = \"openai\"\nurl = \"http://a\"\nname = \"b\"\nkey = \"sk-plain\"\n");
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(!error.contains("sk-plain") && error.contains("env"), "{error}");
    }
}
