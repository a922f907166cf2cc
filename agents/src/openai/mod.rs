//! Any server that speaks OpenAI's chat completions: OpenAI, Ollama, vLLM,
//! llama.cpp. Invariant: one call is one request; whatever is not certainly free
//! is reported as [`Billed::Unknown`], and the wire's types stay in this folder.

mod fault;
mod reply;
mod sse;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::transport::{self, Body, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use policies::failure::FailureClass;
use policies::span::ByteSize;
use policies::tokens::Tokens;
use serde::Deserialize;

use crate::model::{Billed, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress};
use crate::secret::Secret;

/// More than any reply that `output_max` allows; a longer one is cut off as a
/// fault of the server.
const REPLY_BYTES_MAX: ByteSize = ByteSize(4 << 20);
/// What is read of an error's body.
const FAULT_BYTES_MAX: ByteSize = ByteSize(64 << 10);

/// Which field names a server understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Ollama, vLLM, llama.cpp and most others: `max_tokens`.
    #[default]
    Compatible,
    /// OpenAI itself, whose newer models know `max_completion_tokens` only.
    OpenAi,
}

/// How a reply is made to begin with given words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefill {
    /// The model is asked to; works everywhere, binds nobody.
    #[default]
    Ask,
    /// The conversation ends in an assistant turn that the server goes on with
    /// (llama.cpp, Ollama).
    Continue,
}

/// One model on one server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Up to and including the version, such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Its key in the price table; the name itself when absent.
    #[serde(default)]
    pub price: Option<String>,
    /// Sent as a bearer token; servers at home need none.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Whether tokens are asked for as they come, which is what keeps a long
    /// call from looking hung.
    #[serde(default = "streaming")]
    pub stream: bool,
    /// Which field names the server understands.
    #[serde(default)]
    pub dialect: Dialect,
    /// How a prefill is sent.
    #[serde(default)]
    pub prefill: Prefill,
}

fn streaming() -> bool {
    true
}

impl Options {
    /// A streaming model without a key at `base_url`.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            price: None,
            api_key: None,
            stream: streaming(),
            dialect: Dialect::default(),
            prefill: Prefill::default(),
        }
    }
}

/// The adapter. See the module.
pub struct OpenAi {
    options: Options,
    authorization: Option<HeaderValue>,
    url: http::Uri,
    transport: Arc<dyn Transport>,
}

/// Why an adapter cannot be made from its options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Not the address of a server.
    #[error("base_url {url:?} is not an http address; write one such as http://127.0.0.1:11434/v1")]
    BaseUrl {
        /// What was given.
        url: String,
    },
    /// Not a key that a header can carry.
    #[error(
        "the api_key for {url} holds a line break or another character that cannot be sent; check how it was copied"
    )]
    ApiKey {
        /// The server it is for.
        url: String,
    },
}

impl OpenAi {
    /// Makes the adapter; nothing is sent yet.
    ///
    /// # Errors
    /// [`OptionsError`] when the address or the key cannot be used.
    pub fn new(options: Options, transport: Arc<dyn Transport>) -> Result<Self, OptionsError> {
        let bad_url = || OptionsError::BaseUrl { url: options.base_url.clone() };
        let url = format!("{}/chat/completions", options.base_url.trim_end_matches('/'));
        let url: http::Uri = url.parse().map_err(|_| bad_url())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad_url());
        }
        let authorization = options.api_key.as_ref().map(Secret::bearer).transpose();
        let authorization = authorization.map_err(|_| OptionsError::ApiKey { url: options.base_url.clone() })?;
        Ok(Self { options, authorization, url, transport })
    }

    fn http_request(&self, request: &ModelRequest) -> Result<Request<Bytes>, ModelError> {
        let unsendable = |reason: String| ModelError {
            class: FailureClass::Bug,
            message: format!("the request to {} could not be written: {reason}", self.url),
            retry_after: None,
            billed: Billed::No,
        };
        let body = serde_json::to_vec(&wire::Request::new(&self.options, request))
            .map_err(|error| unsendable(error.to_string()))?;
        let accept = if self.options.stream { "text/event-stream" } else { "application/json" };
        let mut http = Request::post(self.url.clone()).header(CONTENT_TYPE, "application/json").header(ACCEPT, accept);
        if let Some(authorization) = &self.authorization {
            http = http.header(AUTHORIZATION, authorization.clone());
        }
        http.body(Bytes::from(body)).map_err(|error| unsendable(error.to_string()))
    }

    async fn exchange(&self, request: &ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        let response = self
            .transport
            .send(self.http_request(request)?)
            .await
            .map_err(|error| fault::unreached(&self.url, &error))?;
        progress.tick(0);
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            // An unreadable body takes nothing from what the status says.
            let body = transport::collect(body, FAULT_BYTES_MAX).await.unwrap_or_default();
            return Err(fault::refused(&self.url, head.status, &head.headers, &body));
        }
        let completion = if is_event_stream(&head.headers) {
            reply::streamed(body, &self.url, progress).await?
        } else {
            self.whole(body).await?
        };
        completion.into_reply(self.count(request), request)
    }

    async fn whole(&self, body: Body) -> Result<reply::Completion, ModelError> {
        let bytes = transport::collect(body, REPLY_BYTES_MAX)
            .await
            .map_err(|error| fault::broken(&self.url, &error.to_string()))?;
        reply::whole(&bytes, &self.url)
    }
}

fn is_event_stream(headers: &http::HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/event-stream"))
}

#[async_trait]
impl Model for OpenAi {
    fn id(&self) -> ModelId {
        ModelId(self.options.model.clone())
    }

    fn price_key(&self) -> &str {
        self.options.price.as_deref().unwrap_or(&self.options.model)
    }

    /// Every tokenizer in use makes at most one token of a byte, so bytes are an
    /// upper bound without a vocabulary; about four times the truth for English.
    fn count(&self, request: &ModelRequest) -> Tokens {
        let asked = request.prefill.as_ref().map_or(0, |_| wire::ASK_BYTES as u64);
        request.tokens_at_most() + Tokens(asked)
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
