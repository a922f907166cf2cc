//! Models of other people: one adapter, and for each way that providers talk a folder that knows it.
//! Invariant: one call is one request, but for one more where a refused key has been rotated; whatever
//! is not certainly free is reported as such, and no key is shown to anybody but its provider.

mod anthropic;
mod batch;
mod chat;
mod exchange;
mod fault;
mod ids;
mod opening;
mod rates;
mod responses;
mod sse;
mod wait;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::transport::Transport;
use actors::world::World;
use async_trait::async_trait;
use http::Uri;
use policies::failure::FailureClass;
use policies::price::Bounds;
use policies::tokens::Tokens;
use serde::Deserialize;

pub use anthropic::Version;
pub use chat::Dialect as ChatDialect;
pub use opening::Prefill;
pub use responses::Dialect as ResponsesDialect;

pub(crate) use wait::retry_after;

use crate::key::Key;
use crate::model::{
    Abilities, Ability, BatchCall, CacheTtl, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress,
};
use wire::Wire;

/// How a provider talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions, which most servers speak.
    Chat(ChatDialect),
    /// OpenAI's responses, and Perplexity's agents.
    Responses(ResponsesDialect),
    /// Anthropic's messages.
    Anthropic(Version),
}

impl Api {
    /// Whether it may think beside the output that it is allowed, and search without being asked to: what that
    /// costs is bounded by the price table alone.
    #[must_use]
    pub fn acts_unasked(self) -> bool {
        matches!(self, Self::Chat(ChatDialect::Sonar) | Self::Responses(ResponsesDialect::Perplexity))
    }
}

/// How a key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `x-api-key: KEY`.
    XApiKey,
}

/// One model at one provider.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the provider talks.
    pub api: Api,
    /// Up to and including the version, such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Its key in the price table; the name itself when absent.
    pub price: Option<String>,
    /// The key; servers at home need none.
    pub key: Option<Key>,
    /// How the key is shown; as the provider has it when absent.
    pub auth: Option<Auth>,
    /// Whether tokens are asked for as they come, which is what keeps a long
    /// call from looking hung.
    pub stream: bool,
    /// How a prefill is sent.
    pub prefill: Prefill,
    /// Whether temperature and seed are sent; as the provider's newest models take it when absent.
    pub sampling: Option<bool>,
    /// What this model or its server cannot do.
    pub without: Vec<Ability>,
}

impl Options {
    /// A streaming model without a key at `base_url`.
    pub fn new(api: Api, base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            api,
            base_url: base_url.into(),
            model: model.into(),
            price: None,
            key: None,
            auth: None,
            stream: true,
            prefill: Prefill::default(),
            sampling: None,
            without: Vec::new(),
        }
    }

    /// What its model can do.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let api: &[Ability] = match self.api {
            Api::Chat(ChatDialect::Sonar) => &[Ability::Tools, Ability::ToolChoice],
            Api::Responses(ResponsesDialect::Perplexity) => &[Ability::ToolChoice],
            Api::Chat(_) | Api::Responses(ResponsesDialect::OpenAi) | Api::Anthropic(_) => &[],
        };
        Abilities::all_but(api.iter().chain(&self.without))
    }

    /// A model on a server that speaks chat completions, such as Ollama, vLLM or llama.cpp.
    pub fn compatible(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self::new(Api::Chat(ChatDialect::Compatible), base_url, model)
    }
}

/// Why an adapter cannot be made from its options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Not the address of a server.
    #[error("url {url:?} is not an http address; write one such as http://127.0.0.1:11434/v1")]
    BaseUrl {
        /// What was given.
        url: String,
    },
}

/// A model at a provider. See the module.
pub struct Remote {
    options: Options,
    wire: Box<dyn Wire>,
    url: Uri,
    world: World,
    transport: Arc<dyn Transport>,
}

impl Remote {
    /// Makes the adapter; nothing is sent yet, and no key is read.
    ///
    /// # Errors
    /// [`OptionsError`] when the address cannot be used.
    pub fn new(options: Options, world: &World, transport: Arc<dyn Transport>) -> Result<Self, OptionsError> {
        let wire: Box<dyn Wire> = match options.api {
            Api::Chat(dialect) => Box::new(chat::Chat(dialect)),
            Api::Responses(dialect) => Box::new(responses::Responses(dialect)),
            Api::Anthropic(version) => Box::new(anthropic::Anthropic(version)),
        };
        let bad_url = || OptionsError::BaseUrl { url: options.base_url.clone() };
        let url = format!("{}{}", options.base_url.trim_end_matches('/'), wire.path());
        let url: Uri = url.parse().map_err(|_| bad_url())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad_url());
        }
        Ok(Self { options, wire, url, world: world.clone(), transport })
    }
}

#[async_trait]
impl Model for Remote {
    fn id(&self) -> ModelId {
        ModelId(self.options.model.clone())
    }

    fn provider(&self) -> &'static str {
        match self.options.api {
            Api::Anthropic(_) => "anthropic",
            Api::Chat(ChatDialect::OpenAi) | Api::Responses(ResponsesDialect::OpenAi) => "openai",
            Api::Chat(ChatDialect::Sonar) | Api::Responses(ResponsesDialect::Perplexity) => "perplexity",
            // The conventions have no word for a server that only speaks as OpenAI does.
            Api::Chat(ChatDialect::Compatible) => "openai_compatible",
        }
    }

    fn price_key(&self) -> &str {
        self.options.price.as_deref().unwrap_or(&self.options.model)
    }

    fn abilities(&self) -> Abilities {
        self.options.abilities()
    }

    fn batches(&self) -> bool {
        self.shape().is_some()
    }

    async fn call_by_batch(&self, request: ModelRequest, call: BatchCall) -> Result<ModelReply, ModelError> {
        request.check(&self.abilities(), &self.options.model)?;
        match self.shape() {
            Some(shape) => self.batched(shape, &request, &call).await,
            None => {
                let message = format!("{} takes no batches", self.options.model);
                Err(ModelError::free(FailureClass::Rejected, message))
            }
        }
    }

    fn takes_marks(&self) -> bool {
        matches!(self.options.api, Api::Anthropic(_))
    }

    fn shows_life(&self) -> bool {
        self.options.stream
    }

    fn count(&self, request: &ModelRequest) -> Tokens {
        let asked = request.prefill.as_ref().map_or(0, |_| opening::ASK_BYTES);
        request.tokens_at_most() + Tokens(asked)
    }

    fn bounds(&self, request: &ModelRequest) -> Bounds {
        let marks = [request.cache.system, request.cache.earlier, request.cache.messages];
        Bounds {
            input: self.count(request),
            output: request.output_max,
            hour_cache: self.takes_marks() && marks.contains(&Some(CacheTtl::Hour)),
            unasked: u64::from(self.options.api.acts_unasked()),
            ..Bounds::default()
        }
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        request.check(&self.abilities(), &self.options.model)?;
        tokio::select! {
            biased;
            () = progress.on_cancelled() => Err(ModelError::cancelled(&self.options.model)),
            outcome = self.exchange(&request, progress) => outcome,
        }
    }
}
