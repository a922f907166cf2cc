//! From the server's JSON to a reply. Invariant: a text counts as finished only
//! when the server said why it ended; anything less is an error.

use actors::transport::Body;
use futures::StreamExt;
use http::Uri;
use policies::failure::FailureClass;
use policies::tokens::{Tokens, Usage};

use super::sse::Splitter;
use super::{REPLY_BYTES_MAX, fault, wire};
use crate::model::{Billed, Finish, ModelError, ModelReply, ModelRequest, Progress};

const DONE: &str = "[DONE]";

/// What a server said, gathered from one body or from many chunks.
#[derive(Debug, Default)]
pub(super) struct Completion {
    id: Option<String>,
    text: String,
    refusal: String,
    finish: Option<String>,
    usage: Option<wire::Usage>,
}

/// Reads a reply that came whole.
pub(super) fn whole(body: &[u8], url: &Uri) -> Result<Completion, ModelError> {
    let mut completion = Completion::default();
    completion.take(parse(&String::from_utf8_lossy(body), url)?, url)?;
    completion.complete(url)
}

/// Reads a reply that comes in chunks.
pub(super) async fn streamed(mut body: Body, url: &Uri, progress: &Progress) -> Result<Completion, ModelError> {
    let mut completion = Completion::default();
    let mut splitter = Splitter::default();
    let mut bytes_read = 0_u64;
    while let Some(bytes) = body.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            // The text is whole, and only the usage after it was lost.
            Err(_) if completion.finish.is_some() => return Ok(completion),
            Err(error) => return Err(fault::broken(url, &error.to_string())),
        };
        bytes_read += bytes.len() as u64;
        let texts = splitter.push(&bytes).ok().filter(|_| bytes_read <= REPLY_BYTES_MAX.0);
        let texts = texts.ok_or_else(|| fault::broken(url, "it does not end"))?;
        progress.tick(texts.len() as u64);
        for text in texts {
            if text == DONE {
                return completion.complete(url);
            }
            completion.take(parse(&text, url)?, url)?;
        }
    }
    if let Some(text) = splitter.finish().filter(|text| text != DONE) {
        completion.take(parse(&text, url)?, url)?;
    }
    completion.complete(url)
}

fn parse(text: &str, url: &Uri) -> Result<wire::Chunk, ModelError> {
    serde_json::from_str(text).map_err(|error| fault::broken(url, &format!("not a chat completion: {error}")))
}

impl Completion {
    fn take(&mut self, chunk: wire::Chunk, url: &Uri) -> Result<(), ModelError> {
        if let Some(error) = &chunk.error {
            return Err(fault::told(url, error));
        }
        self.id = self.id.take().or(chunk.id);
        self.usage = chunk.usage.or(self.usage);
        if let Some(choice) = chunk.choices.into_iter().next() {
            self.finish = choice.finish_reason.or(self.finish.take());
            if let Some(words) = choice.message.or(choice.delta) {
                self.text.push_str(&words.content.unwrap_or_default());
                self.refusal.push_str(&words.refusal.unwrap_or_default());
            }
        }
        Ok(())
    }

    fn complete(self, url: &Uri) -> Result<Self, ModelError> {
        match self.finish {
            Some(_) => Ok(self),
            None => Err(fault::broken(url, "it ended before the model was done")),
        }
    }

    /// The reply to `request`, whose input was counted as `counted` at most.
    pub(super) fn into_reply(self, counted: Tokens, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let filtered = self.finish.as_deref() == Some("content_filter");
        if filtered || (self.text.is_empty() && !self.refusal.is_empty()) {
            return Err(ModelError {
                class: FailureClass::Rejected,
                message: format!("the model refused to answer; change the prompt. {}", self.refusal),
                retry_after: None,
                billed: Billed::Unknown,
            });
        }
        let usage = self.usage.map_or_else(|| at_most(counted, &self.text, request), usage);
        let finish = if self.finish.as_deref() == Some("length") { Finish::Length } else { Finish::Stop };
        let text = with_prefill(request.prefill.as_deref(), self.text);
        let (text, cut) = cut_at_stop(text, request.prefill.as_deref().map_or(0, str::len), &request.stop);
        let finish = if cut { Finish::Stop } else { finish };
        Ok(ModelReply { remote_id: self.id, ..ModelReply::saying(text, usage, finish) })
    }
}

/// OpenAI counts what was cached within the prompt; we count each token once.
fn usage(wire: wire::Usage) -> Usage {
    let cached = wire.prompt_tokens_details.unwrap_or_default();
    let plain = wire.prompt_tokens.saturating_sub(cached.cached_tokens).saturating_sub(cached.cache_write_tokens);
    Usage {
        input: Tokens(plain),
        output: Tokens(wire.completion_tokens),
        cache_read: Tokens(cached.cached_tokens),
        cache_write: Tokens(cached.cache_write_tokens),
        ..Usage::default()
    }
}

/// The most it can have been, for a server that does not say.
fn at_most(counted: Tokens, text: &str, request: &ModelRequest) -> Usage {
    let output = request.output_max.0.min(text.len() as u64);
    Usage { input: counted, output: Tokens(output), ..Usage::default() }
}

/// A server that goes on from the prefill leaves it out; a model that was asked
/// to begin with it does not.
fn with_prefill(prefill: Option<&str>, text: String) -> String {
    match prefill {
        None => text,
        Some(prefill) => match text.trim_start() {
            reply if reply.starts_with(prefill.trim()) => reply.to_owned(),
            _ => format!("{prefill}{text}"),
        },
    }
}

/// Cuts at the first stop word after the first `spared` bytes, for servers that
/// take fewer stop words than we have, or none.
fn cut_at_stop(mut text: String, spared: usize, stop: &[String]) -> (String, bool) {
    let spared = text.floor_char_boundary(spared);
    let first = stop.iter().filter(|word| !word.is_empty()).filter_map(|word| text[spared..].find(word)).min();
    if let Some(at) = first {
        text.truncate(spared + at);
    }
    (text, first.is_some())
}
