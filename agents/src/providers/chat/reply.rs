//! A reply of chat completions, whole or in chunks.

use std::collections::BTreeMap;

use policies::money::Money;
use policies::tokens::{Tokens, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::wire::{Broken, Completion, Gather, Step, arguments, null_is_default, unless_told};
use super::Dialect;
use crate::model::{Block, Finish, ToolCall};

/// Tools that one reply may ask for; more are a fault of the server.
const CALLS_MAX: usize = 256;
const NANOS_PER_DOLLAR: f64 = 1e9;

/// What has come of a reply.
#[derive(Debug)]
pub(super) struct Gathered {
    dialect: Dialect,
    id: Option<String>,
    model: Option<String>,
    thought: String,
    text: String,
    refusal: String,
    calls: BTreeMap<usize, Call>,
    finish: Option<String>,
    usage: Option<Counts>,
}

#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

/// A whole reply, or one chunk of a streamed one.
#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// In a whole reply; Sonar repeats all so far in it with each chunk.
    #[serde(default)]
    message: Option<Words>,
    /// In a chunk.
    #[serde(default)]
    delta: Option<Words>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Words {
    #[serde(deserialize_with = "text")]
    content: String,
    #[serde(deserialize_with = "null_is_default")]
    refusal: String,
    /// What vLLM and llama.cpp call it.
    #[serde(deserialize_with = "null_is_default")]
    reasoning_content: String,
    /// What Ollama calls it.
    #[serde(deserialize_with = "null_is_default")]
    reasoning: String,
    #[serde(deserialize_with = "null_is_default")]
    tool_calls: Vec<CallPiece>,
}

#[derive(Debug, Deserialize)]
struct CallPiece {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: FunctionPiece,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionPiece {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(deserialize_with = "null_is_default")]
    prompt_tokens_details: PromptDetails,
    #[serde(deserialize_with = "null_is_default")]
    completion_tokens_details: OutputDetails,
    /// Sonar's.
    reasoning_tokens: Option<u64>,
    num_search_queries: Option<u64>,
    /// Of any shape: only Sonar's is read.
    cost: Value,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    #[serde(deserialize_with = "null_is_default")]
    cached_tokens: u64,
    #[serde(deserialize_with = "null_is_default")]
    cache_write_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "null_is_default")]
    reasoning_tokens: u64,
}

impl Counts {
    /// OpenAI counts what was cached within the prompt; we count each token once.
    fn usage(self, dialect: Dialect) -> Usage {
        let PromptDetails { cached_tokens, cache_write_tokens } = self.prompt_tokens_details;
        let plain = self.prompt_tokens.saturating_sub(cached_tokens).saturating_sub(cache_write_tokens);
        let thought = self.completion_tokens_details.reasoning_tokens.max(self.reasoning_tokens.unwrap_or_default());
        let is_sonar = dialect == Dialect::Sonar;
        // Sonar counts what it thinks beside what it says.
        let output = if is_sonar { self.completion_tokens.saturating_add(thought) } else { self.completion_tokens };
        Usage {
            input: Tokens(plain),
            output: Tokens(output),
            cache_read: Tokens(cached_tokens),
            cache_write: Tokens(cache_write_tokens),
            reasoning: Tokens(thought),
            searches: self.num_search_queries.unwrap_or_default(),
            cost_told: is_sonar.then(|| total_cost(&self.cost)).flatten(),
            ..Usage::default()
        }
    }
}

/// What Perplexity says that a reply costs: dollars, which are rounded up to whole nano-dollars.
pub(in crate::providers) fn total_cost(cost: &Value) -> Option<Money> {
    let dollars = cost.get("total_cost")?.as_f64().filter(|dollars| (0.0..1e9).contains(dollars))?;
    // A decimal is a hair off as a double; what is within a thousandth of a nano-dollar is that nano-dollar.
    let nanos = (dollars * NANOS_PER_DOLLAR - 1e-3).ceil().max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and within the bounds")]
    Some(Money::from_nanos(nanos as u64))
}

impl Gathered {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            id: None,
            model: None,
            thought: String::new(),
            text: String::new(),
            refusal: String::new(),
            calls: BTreeMap::new(),
            finish: None,
            usage: None,
        }
    }

    fn take(&mut self, value: Value, is_chunk: bool) -> Result<Step, Broken> {
        unless_told(&value)?;
        let chunk = Chunk::deserialize(value)?;
        self.id = self.id.take().or(chunk.id);
        self.model = self.model.take().or(chunk.model);
        self.usage = chunk.usage.or(self.usage.take());
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(Step::Beat) };
        self.finish = choice.finish_reason.or(self.finish.take());
        let words = if is_chunk { choice.delta.or(choice.message) } else { choice.message.or(choice.delta) };
        let Some(words) = words else { return Ok(Step::Beat) };
        self.text.push_str(&words.content);
        self.refusal.push_str(&words.refusal);
        self.thought.push_str(&words.reasoning_content);
        self.thought.push_str(&words.reasoning);
        for piece in words.tool_calls {
            self.call(piece)?;
        }
        Ok(Step::Piece)
    }

    fn call(&mut self, piece: CallPiece) -> Result<(), Broken> {
        // Some servers number no calls, and send each in one piece.
        let index = piece.index.unwrap_or(self.calls.len());
        if self.calls.len() >= CALLS_MAX && !self.calls.contains_key(&index) {
            return Err(Broken::Nonsense(format!("it asks for more than {CALLS_MAX} tools")));
        }
        let call = self.calls.entry(index).or_default();
        if let Some(id) = piece.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(name) = piece.function.name {
            call.name.push_str(&name);
        }
        match piece.function.arguments {
            Some(Value::String(text)) => call.arguments.push_str(&text),
            Some(Value::Null) | None => {}
            // Some servers send what they are, not how they are written.
            Some(arguments) => call.arguments.push_str(&arguments.to_string()),
        }
        Ok(())
    }
}

impl Gather for Gathered {
    fn whole(&mut self, body: &[u8]) -> Result<(), Broken> {
        self.take(serde_json::from_slice(body)?, false).map(drop)
    }

    fn event(&mut self, data: &str) -> Result<Step, Broken> {
        self.take(serde_json::from_str(data)?, true)
    }

    fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    fn complete(self: Box<Self>) -> Option<Completion> {
        let mut finish = match self.finish?.as_str() {
            "length" => Finish::Length,
            "tool_calls" | "function_call" => Finish::ToolUse,
            "content_filter" => Finish::ContentFilter,
            _ => Finish::Stop,
        };
        let mut content = Vec::new();
        if !self.thought.is_empty() {
            content.push(Block::Thinking { text: self.thought, signature: None });
        }
        if !self.text.is_empty() || self.calls.is_empty() {
            content.push(Block::Text { text: self.text });
        }
        if !self.refusal.is_empty() {
            finish = Finish::Refusal;
            content = vec![Block::Text { text: self.refusal }];
        }
        if finish == Finish::Stop && !self.calls.is_empty() {
            // Ollama says `stop` then.
            finish = Finish::ToolUse;
        }
        content.extend(self.calls.into_iter().map(|(index, call)| {
            let id = if call.id.is_empty() { format!("call_{index}") } else { call.id };
            let arguments = arguments(call.arguments);
            Block::ToolCall(ToolCall { id, name: call.name, arguments, signature: None })
        }));
        let usage = self.usage.map(|counts| counts.usage(self.dialect));
        Some(Completion { id: self.id, model: self.model, content, finish, usage })
    }
}

/// A text, or the texts among parts, which Sonar may send.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    })
}
