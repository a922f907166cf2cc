//! A reply of Messages, whole or in events.

use std::collections::BTreeMap;

use policies::tokens::{Tokens, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::super::wire::{Broken, Completion, Gather, Step, arguments, unless_told};
use super::FAMILY;
use crate::model::{Block, Finish, Signature, ToolCall};

/// Blocks that one reply may have; more are a fault of the server.
const BLOCKS_MAX: usize = 4096;

/// What has come of a reply.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    id: Option<String>,
    model: Option<String>,
    blocks: BTreeMap<usize, Piece>,
    ended: Option<Ended>,
    usage: Counts,
    /// Whether the counts are those of the whole reply.
    is_counted: bool,
}

#[derive(Debug)]
struct Ended {
    reason: String,
    explanation: Option<String>,
}

/// A block as it grows.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
        /// The input as it comes in events.
        #[serde(skip)]
        partial: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    content: Vec<Piece>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct StopDetails {
    #[serde(default)]
    explanation: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Whole,
    },
    ContentBlockStart {
        index: usize,
        content_block: Piece,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta,
    },
    MessageDelta {
        delta: Stop,
        #[serde(default)]
        usage: Option<Counts>,
    },
    MessageStop,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Stop {
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thought { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(other)]
    Other,
}

/// Counts as they are told. A later telling is of the whole reply, and leaves out what has not changed.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    output_tokens_details: Option<OutputDetails>,
    server_tool_use: Option<ServerTools>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_1h_input_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct ServerTools {
    web_search_requests: u64,
}

impl Counts {
    fn told(&mut self, later: Self) {
        *self = Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            cache_creation_input_tokens: later.cache_creation_input_tokens.or(self.cache_creation_input_tokens),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation: later.cache_creation.or(self.cache_creation),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
            server_tool_use: later.server_tool_use.or(self.server_tool_use),
        };
    }

    /// The provider's input is what was neither read from a cache nor written to one, as ours is.
    fn usage(self) -> Usage {
        let hour = self.cache_creation.unwrap_or_default().ephemeral_1h_input_tokens;
        let written = self.cache_creation_input_tokens.unwrap_or_default();
        Usage {
            input: Tokens(self.input_tokens.unwrap_or_default()),
            output: Tokens(self.output_tokens.unwrap_or_default()),
            cache_read: Tokens(self.cache_read_input_tokens.unwrap_or_default()),
            cache_write: Tokens(written.saturating_sub(hour)),
            cache_write_1h: Tokens(hour),
            reasoning: Tokens(self.output_tokens_details.unwrap_or_default().thinking_tokens),
            searches: self.server_tool_use.unwrap_or_default().web_search_requests,
            ..Usage::default()
        }
    }
}

impl Gathered {
    fn begin(&mut self, whole: Whole) -> Result<(), Broken> {
        self.id = whole.id;
        self.model = whole.model;
        for (index, piece) in whole.content.into_iter().enumerate() {
            self.put(index, piece)?;
        }
        // Those with which a stream begins are not yet those of its end.
        self.is_counted = whole.stop_reason.is_some() && whole.usage.is_some();
        self.usage.told(whole.usage.unwrap_or_default());
        self.end(whole.stop_reason, whole.stop_details);
        Ok(())
    }

    fn put(&mut self, index: usize, piece: Piece) -> Result<(), Broken> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(Broken::Nonsense(format!("it has more than {BLOCKS_MAX} blocks")));
        }
        self.blocks.insert(index, piece);
        Ok(())
    }

    fn end(&mut self, reason: Option<String>, details: Option<StopDetails>) {
        if let Some(reason) = reason {
            self.ended = Some(Ended { reason, explanation: details.and_then(|details| details.explanation) });
        }
    }

    fn grow(&mut self, index: usize, delta: Delta) {
        match (self.blocks.get_mut(&index), delta) {
            (Some(Piece::Text { text }), Delta::Text { text: more }) => text.push_str(&more),
            (Some(Piece::ToolUse { partial, .. }), Delta::Input { partial_json }) => {
                partial.push_str(&partial_json);
            }
            (Some(Piece::Thinking { thinking, .. }), Delta::Thought { thinking: more }) => {
                thinking.push_str(&more);
            }
            (Some(Piece::Thinking { signature, .. }), Delta::Signature { signature: more }) => {
                signature.push_str(&more);
            }
            // A newer provider's.
            _ => {}
        }
    }
}

impl Gather for Gathered {
    fn whole(&mut self, body: &[u8]) -> Result<(), Broken> {
        let value: Value = serde_json::from_slice(body)?;
        unless_told(&value)?;
        self.begin(Whole::deserialize(value)?)
    }

    fn event(&mut self, data: &str) -> Result<Step, Broken> {
        let value: Value = serde_json::from_str(data)?;
        unless_told(&value)?;
        match Event::deserialize(value)? {
            Event::MessageStart { message } => self.begin(message)?,
            Event::ContentBlockStart { index, content_block } => self.put(index, content_block)?,
            Event::ContentBlockDelta { index, delta } => {
                self.grow(index, delta);
                return Ok(Step::Piece);
            }
            Event::MessageDelta { delta, usage } => {
                self.is_counted |= usage.is_some();
                self.usage.told(usage.unwrap_or_default());
                self.end(delta.stop_reason, delta.stop_details);
            }
            Event::MessageStop => return Ok(Step::Done),
            Event::Other => {}
        }
        Ok(Step::Beat)
    }

    fn is_finished(&self) -> bool {
        self.ended.is_some()
    }

    fn complete(self: Box<Self>) -> Option<Completion> {
        let ended = self.ended?;
        let mut content: Vec<Block> = self.blocks.into_values().filter_map(block).collect();
        let finish = finish(&ended.reason);
        if content.is_empty() {
            content.extend(ended.explanation.filter(|_| finish == Finish::Refusal).map(Block::text));
        }
        let usage = self.is_counted.then(|| self.usage.usage());
        Some(Completion { id: self.id, model: self.model, content, finish, usage })
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolUse,
        "pause_turn" => Finish::Pause,
        "refusal" => Finish::Refusal,
        "model_context_window_exceeded" => Finish::ContextFull,
        _ => Finish::Stop,
    }
}

fn block(piece: Piece) -> Option<Block> {
    let signed = |data: String| Signature { by: FAMILY.to_owned(), data, item: None };
    match piece {
        Piece::Text { text } => Some(Block::Text { text }),
        Piece::Thinking { thinking, signature } => {
            let signature = (!signature.is_empty()).then(|| signed(signature));
            Some(Block::Thinking { text: thinking, signature })
        }
        Piece::RedactedThinking { data } => Some(Block::Redacted(signed(data))),
        Piece::ToolUse { id, name, input, partial } => {
            let arguments = if partial.is_empty() { input } else { arguments(partial) };
            Some(Block::ToolCall(ToolCall { id, name, arguments, signature: None }))
        }
        Piece::Other => None,
    }
}
