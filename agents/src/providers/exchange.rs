//! One request and its answer. Invariant: what the answer's head tells of limits is passed on before its
//! body is read; a reply that is cut short is an error that may have cost money; no body is read past its
//! bound.

use actors::transport::{self, Body};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use policies::failure::FailureClass;
use policies::span::ByteSize;
use policies::tokens::{Tokens, Usage};

use super::fault::Faults;
use super::ids::fitted;
use super::opening::{opened, trimmed};
use super::rates::reset_of_refused;
use super::sse::Splitter;
use super::wait::retry_after;
use super::wire::{Asked, Broken, Completion, Gather, Step};
use super::{Api, Auth, Remote, fault};
use crate::key::Key;
use crate::model::{Block, Finish, Model, ModelError, ModelReply, ModelRequest, Progress};
use crate::secret::Secret;

/// More than any reply that `output_max` allows; a longer one is cut off as a
/// fault of the server.
pub(super) const REPLY_BYTES_MAX: ByteSize = ByteSize(16 << 20);
/// What is read of an error's body.
const FAULT_BYTES_MAX: ByteSize = ByteSize(64 << 10);
/// The end of a stream, where a provider says it in a word.
const DONE: &str = "[DONE]";
const X_API_KEY: &str = "x-api-key";

/// A request before it has its key.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) body: Bytes,
    /// What is wanted back.
    pub(super) accept: &'static str,
    /// What the body is.
    pub(super) content_type: &'static str,
}

/// The type of most bodies.
pub(super) const JSON: &str = "application/json";

impl Remote {
    pub(super) async fn exchange(&self, request: &ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        let stream = request.stream.unwrap_or(self.options.stream);
        let messages = fitted(opened(self.options.prefill, request));
        let asked = Asked { options: &self.options, request, messages: &messages, stream };
        let accept = if stream { "text/event-stream" } else { JSON };
        let body = Bytes::from(self.wire.body(&asked).to_string());
        let outgoing = Outgoing { method: Method::POST, url: self.url.clone(), body, accept, content_type: JSON };
        let (head, body) = self.answer(&outgoing, progress).await?.into_parts();
        let now = self.world.now();
        let mut news = self.wire.rates(&head.headers, now);
        if !head.status.is_success() {
            let error = self.refused(&head, body).await;
            news.retry_after = error.retry_after.filter(|_| error.class == FailureClass::RateLimited);
            progress.news(news);
            return Err(error);
        }
        progress.news(news);
        let mut gather = self.wire.gather();
        if is_event_stream(&head.headers) {
            self.streamed(body, gather.as_mut(), progress).await?;
        } else {
            let whole = transport::collect(body, REPLY_BYTES_MAX).await;
            let whole = whole.map_err(|error| fault::broken(&self.url, &error.to_string()))?;
            gather.whole(&whole).map_err(|broken| self.broken(broken))?;
        }
        let completion = gather.complete();
        let completion = completion.ok_or_else(|| fault::broken(&self.url, "it ended before the model was done"))?;
        Ok(self.reply(completion, request))
    }

    /// What an answer means whose status is not 2xx.
    pub(super) async fn refused(&self, head: &Parts, body: Body) -> ModelError {
        let now = self.world.now();
        // An unreadable body takes nothing from what the status says.
        let body = transport::collect(body, FAULT_BYTES_MAX).await.unwrap_or_default();
        let mut error = self.faults().refused(&self.url, head.status, &head.headers, &body);
        if error.class.is_retryable() {
            let limits = self.wire.rates(&head.headers, now);
            error.retry_after = retry_after(&head.headers, now).or_else(|| reset_of_refused(&limits));
        }
        error
    }

    /// The answer's head, by a key that the provider takes, if there is one.
    pub(super) async fn answer(&self, outgoing: &Outgoing, progress: &Progress) -> Result<Response<Body>, ModelError> {
        let key = match &self.options.key {
            None => None,
            Some(key) => Some(key.current().await.map_err(|error| {
                let message = format!("the key for {} cannot be used: {error}", self.url);
                ModelError::free(FailureClass::Rejected, message)
            })?),
        };
        let response = self.send(outgoing, key.as_ref(), progress).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let (Some(keys), Some(refused)) = (&self.options.key, &key)
            && let Some(other) = keys.instead_of(refused).await
        {
            return self.send(outgoing, Some(&other), progress).await;
        }
        Ok(response)
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        key: Option<&Secret>,
        progress: &Progress,
    ) -> Result<Response<Body>, ModelError> {
        let url = &outgoing.url;
        let request = self.http_request(outgoing, key).map_err(|error| {
            ModelError::free(FailureClass::Bug, format!("the request to {url} could not be written: {error}"))
        })?;
        let response = self.transport.send(request).await.map_err(|error| fault::unreached(url, &error))?;
        progress.tick(0);
        Ok(response)
    }

    fn http_request(&self, outgoing: &Outgoing, key: Option<&Secret>) -> Result<Request<Bytes>, http::Error> {
        let Outgoing { method, url, body, accept, content_type } = outgoing;
        let mut http = Request::builder().method(method).uri(url).header(ACCEPT, *accept);
        http = http.header(CONTENT_TYPE, *content_type);
        for (name, value) in self.wire.headers() {
            http = http.header(name, HeaderValue::from_static(value));
        }
        if let Some(key) = key {
            let auth = self.options.auth.unwrap_or(match self.options.api {
                Api::Anthropic(_) => Auth::XApiKey,
                Api::Chat(_) | Api::Responses(_) => Auth::Bearer,
            });
            http = match auth {
                Auth::Bearer => http.header(AUTHORIZATION, key.bearer()?),
                Auth::XApiKey => http.header(X_API_KEY, key.header()?),
            };
        }
        http.body(body.clone())
    }

    /// Reads a reply that comes in events.
    async fn streamed(&self, mut body: Body, gather: &mut dyn Gather, progress: &Progress) -> Result<(), ModelError> {
        let mut splitter = Splitter::default();
        let mut bytes_read = 0_u64;
        while let Some(bytes) = body.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                // The reply is whole, and only what comes after it was lost.
                Err(_) if gather.is_finished() => return Ok(()),
                Err(error) => return Err(fault::broken(&self.url, &error.to_string())),
            };
            bytes_read += bytes.len() as u64;
            let texts = splitter.push(&bytes).ok().filter(|_| bytes_read <= REPLY_BYTES_MAX.0);
            let texts = texts.ok_or_else(|| fault::broken(&self.url, "it does not end"))?;
            progress.tick(0);
            for text in texts {
                if self.event(&text, gather, progress)? == Step::Done {
                    return Ok(());
                }
            }
        }
        if let Some(text) = splitter.finish() {
            self.event(&text, gather, progress)?;
        }
        Ok(())
    }

    fn event(&self, text: &str, gather: &mut dyn Gather, progress: &Progress) -> Result<Step, ModelError> {
        if text == DONE {
            return Ok(Step::Done);
        }
        let step = gather.event(text).map_err(|broken| self.broken(broken))?;
        if step == Step::Piece {
            progress.tick(1);
        }
        Ok(step)
    }

    pub(super) fn broken(&self, broken: Broken) -> ModelError {
        match broken {
            // It may repeat what is in the reply.
            Broken::Nonsense(reason) => fault::broken(&self.url, &self.faults().words(&reason)),
            Broken::Told(told) => self.faults().told(&self.url, &told),
        }
    }

    /// What its provider's refusals mean, told without the keys that it was sent.
    pub(super) fn faults(&self) -> Faults {
        let confided = self.options.key.as_ref().map(Key::confided).unwrap_or_default();
        Faults { table: self.wire.faults(), confided }
    }

    /// The reply to `request`.
    pub(super) fn reply(&self, completion: Completion, request: &ModelRequest) -> ModelReply {
        let Completion { mut id, mut model, mut content, finish, usage } = completion;
        let usage = usage.unwrap_or_else(|| self.at_most(&content, request));
        let is_said = matches!(finish, Finish::Stop | Finish::Length | Finish::ContextFull);
        let met_stop = is_said && trimmed(&mut content, request);
        let finish = if met_stop { Finish::Stop } else { finish };
        let keys = self.faults().confided.keys();
        content.iter_mut().for_each(|block| block.blot(&keys));
        id.iter_mut().chain(&mut model).for_each(|name| keys.blot_text(name));
        ModelReply { content, usage, finish, remote_id: id, model }
    }

    /// The most it can have been, for a server that does not say.
    fn at_most(&self, content: &[Block], request: &ModelRequest) -> Usage {
        let only_text: Option<usize> = content.iter().map(|block| block.as_text().map(str::len)).sum();
        let output = only_text.map_or(request.output_max.0, |bytes| request.output_max.0.min(bytes as u64));
        Usage { input: self.count(request), output: Tokens(output), ..Usage::default() }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/event-stream"))
}
