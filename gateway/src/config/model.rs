//! A language model as the configuration describes it. Invariant: which keys it may have follows from its
//! kind, and what its kind cannot do is told where it is written.

use std::path::{Path, PathBuf};

use agents::key::Key;
use agents::model::Ability;
use agents::providers::{Api, Auth, ChatDialect, Options, Prefill, ResponsesDialect, Version};
use policies::document::{Mistakes, Section};
use policies::money::Money;
use policies::span::Span;
use policies::thrift::CachePolicy;

use super::LOCAL;
use super::address::HttpAddress;
use super::read::kind;
use crate::secret_source::SecretSource;

/// How old a key may be before its source is read again.
const KEY_AGE: Span = Span::from_secs(300);
const ANTHROPIC_URL: &str = "https://api.anthropic.com/v1";
const OPENAI_URL: &str = "https://api.openai.com/v1";
const PERPLEXITY_URL: &str = "https://api.perplexity.ai/v1";
const SONAR_URL: &str = "https://api.perplexity.ai";

/// A language model, by its `kind`.
#[derive(Clone, Debug)]
pub enum ModelConfig {
    /// The small model on this machine's CPU.
    Local {
        /// The GGUF file, when it was brought by hand.
        path: Option<PathBuf>,
        /// What a second of CPU is said to cost; by default as the price table says: nothing.
        cpu_second: Option<Money>,
    },
    /// A model of a provider, or on a server.
    Server(Box<ServerModel>),
}

/// A model of a provider, or on a server.
#[derive(Clone, Debug)]
pub struct ServerModel {
    /// How it is talked to.
    pub api: Api,
    /// The base, the version included: `http://127.0.0.1:11434/v1`.
    pub url: String,
    /// The model's name there.
    pub name: String,
    /// Its key in the price table, when that differs from `name`.
    pub price: Option<String>,
    /// Where the API key is.
    pub key: Option<SecretSource>,
    /// How old the key may be before it is read again.
    pub key_age: Span,
    /// How the key is shown, when not as the provider's own clients do.
    pub auth: Option<Auth>,
    /// Whether replies are streamed.
    pub stream: bool,
    /// How a reply is made to begin with given words: `ask`, or `continue` where the server can
    /// (llama.cpp, Ollama).
    pub prefill: Prefill,
    /// Whether temperature and seed are sent, when not as the provider's newest models take it.
    pub sampling: Option<bool>,
    /// What it cannot do.
    pub without: Vec<Ability>,
    /// Which of its replies are kept, if any.
    pub cache: Option<CachePolicy>,
    /// Whether equal requests to it that are under way are one.
    pub coalesce: bool,
}

/// The kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Anthropic,
    OpenAi,
    Responses,
    Perplexity,
    Sonar,
    Compatible,
}

const KINDS: [(&str, Kind); 7] = [
    ("local", Kind::Local),
    ("anthropic", Kind::Anthropic),
    ("openai", Kind::OpenAi),
    ("responses", Kind::Responses),
    ("perplexity", Kind::Perplexity),
    ("sonar", Kind::Sonar),
    ("compatible", Kind::Compatible),
];

impl Kind {
    /// Where it is, where that is not said; a server of one's own has no address that is known.
    const fn url(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some(ANTHROPIC_URL),
            Self::Responses => Some(OPENAI_URL),
            Self::Perplexity => Some(PERPLEXITY_URL),
            Self::Sonar => Some(SONAR_URL),
            Self::OpenAi | Self::Compatible | Self::Local => None,
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Local { path: None, cpu_second: None }
    }
}

impl ModelConfig {
    /// Reads a model.
    pub(super) fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let model = match kind(&mut section, &KINDS, mistakes)? {
            Kind::Local => {
                let path = section.value("path", mistakes);
                Some(Self::Local { path, cpu_second: section.value("cpu_second", mistakes) })
            }
            kind => server(kind, &mut section, mistakes).map(|model| Self::Server(Box::new(model))),
        };
        section.finish(mistakes);
        model
    }

    /// Whether it can do this.
    pub(crate) fn can(&self, ability: Ability) -> bool {
        match self {
            // It answers a text with a text.
            Self::Local { .. } => false,
            Self::Server(model) => model.options(None).abilities().has(ability),
        }
    }

    /// The name that it goes by where it was given none.
    pub(super) fn own_name(&self) -> &str {
        match self {
            Self::Local { .. } => LOCAL,
            Self::Server(model) => &model.name,
        }
    }

    /// Makes paths relative to this folder.
    pub(super) fn resolve(&mut self, folder: &Path) {
        match self {
            Self::Local { path: Some(path), .. } => *path = folder.join(&*path),
            Self::Local { path: None, .. } => {}
            Self::Server(model) => model.key.iter_mut().for_each(|key| key.resolve(folder)),
        }
    }
}

impl ServerModel {
    /// What an adapter is made with.
    #[must_use]
    pub fn options(&self, key: Option<Key>) -> Options {
        Options {
            price: self.price.clone(),
            key,
            auth: self.auth,
            stream: self.stream,
            prefill: self.prefill,
            sampling: self.sampling,
            without: self.without.clone(),
            ..Options::new(self.api, self.url.clone(), self.name.clone())
        }
    }
}

fn server(kind: Kind, section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<ServerModel> {
    let has_url = section.get("url").is_some() || kind.url().is_none();
    if kind.url().is_none() {
        section.require("url", mistakes);
    }
    let url = section.value::<HttpAddress>("url", mistakes).map(|address| address.0);
    let url = if has_url { url } else { kind.url().map(str::to_owned) };
    section.require("name", mistakes);
    let name = section.value("name", mistakes);
    if !has_url {
        // The provider's own address answers nobody without one.
        section.require("key", mistakes);
    }
    let (price, key) = (section.value("price", mistakes), section.value("key", mistakes));
    let key_age = section.value("key_age", mistakes).unwrap_or(KEY_AGE);
    let auth = section.value("auth", mistakes);
    let stream = section.boolean("stream", mistakes).unwrap_or(true);
    let without = section.list("without", "ability", mistakes);
    let cache = cache(section, mistakes);
    let coalesce = section.boolean("coalesce", mistakes).unwrap_or(false);
    let api = api(kind, section, mistakes);
    let prefill = section.read("prefill", mistakes);
    if matches!(api, Api::Responses(_))
        && let Some(prefill) = prefill.as_ref().filter(|prefill| *prefill.get_ref() == Prefill::Continue)
    {
        let message = "this kind goes on from no words of the model".to_owned();
        mistakes.add(prefill.span(), message, "write \"ask\", or leave it out");
    }
    let sampling = section.boolean("sampling", mistakes);
    if api == Api::Anthropic(Version::V2026_10_21)
        && sampling == Some(true)
        && let Some(written) = section.get("sampling")
    {
        let message = "the version 2026-10-21 takes no temperature".to_owned();
        mistakes.add(written.span(), message, "leave it out, or set version = \"2023-06-01\"");
    }
    let prefill = prefill.map_or_else(Prefill::default, |prefill| prefill.into_inner());
    let (url, name) = url.zip(name)?;
    Some(ServerModel { api, url, name, price, key, key_age, auth, stream, prefill, sampling, without, cache, coalesce })
}

/// Which replies are kept; one that is too old at once would be none.
fn cache(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<CachePolicy> {
    let read = section.read::<CachePolicy>("cache", mistakes)?;
    if read.get_ref().ttl == Span::ZERO {
        let help = "write a time such as ttl = \"24h\", or leave `cache` out";
        mistakes.add(read.span(), "a cache with a `ttl` of 0s keeps nothing", help);
    }
    Some(read.into_inner())
}

fn api(kind: Kind, section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Api {
    match kind {
        Kind::Anthropic => Api::Anthropic(section.or_default("version", mistakes)),
        Kind::OpenAi => Api::Chat(section.or_default("dialect", mistakes)),
        Kind::Responses => Api::Responses(ResponsesDialect::OpenAi),
        Kind::Perplexity => Api::Responses(ResponsesDialect::Perplexity),
        Kind::Sonar => Api::Chat(ChatDialect::Sonar),
        Kind::Compatible | Kind::Local => Api::Chat(ChatDialect::Compatible),
    }
}
