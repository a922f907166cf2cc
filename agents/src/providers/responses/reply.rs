//! A reply of responses, whole or in events.

use policies::tokens::{Tokens, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::super::chat::total_cost;
use super::super::wire::{Broken, Completion, Gather, Step, arguments, null_is_default, unless_told};
use super::Dialect;
use crate::model::{Block, Finish, Signature, ToolCall};

/// Items that one reply may have; more are a fault of the server.
const ITEMS_MAX: usize = 4096;

/// What has come of a reply.
#[derive(Debug)]
pub(super) struct Gathered {
    dialect: Dialect,
    /// Items that were told to be whole, before the end.
    items: Vec<Item>,
    response: Option<Response>,
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    output: Vec<Item>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        #[serde(default)]
        content: Vec<Part>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        #[serde(default)]
        arguments: String,
        #[serde(default)]
        thought_signature: Option<String>,
    },
    Reasoning {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        summary: Vec<Summary>,
        #[serde(default)]
        encrypted_content: Option<String>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText {
        #[serde(default)]
        text: String,
    },
    Refusal {
        #[serde(default)]
        refusal: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Summary {
    #[serde(default)]
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    #[serde(deserialize_with = "null_is_default")]
    input_tokens_details: InputDetails,
    #[serde(deserialize_with = "null_is_default")]
    output_tokens_details: OutputDetails,
    /// Perplexity's.
    tool_calls_details: Option<std::collections::BTreeMap<String, Invocations>>,
    cost: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    /// Perplexity's words for the same.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Invocations {
    invocation: Option<u64>,
}

impl Counts {
    /// What was cached is counted within the input; we count each token once.
    fn usage(self, dialect: Dialect) -> Usage {
        let details = self.input_tokens_details;
        let read = details.cached_tokens.or(details.cache_read_input_tokens).unwrap_or_default();
        let write = details.cache_write_tokens.or(details.cache_creation_input_tokens).unwrap_or_default();
        let tools = self.tool_calls_details.unwrap_or_default();
        let searches = tools.iter().filter(|(tool, _)| tool.contains("search"));
        Usage {
            input: Tokens(self.input_tokens.saturating_sub(read).saturating_sub(write)),
            output: Tokens(self.output_tokens),
            cache_read: Tokens(read),
            cache_write: Tokens(write),
            reasoning: Tokens(self.output_tokens_details.reasoning_tokens),
            // The provider's numbers, whatever they are.
            searches: searches.filter_map(|(_, calls)| calls.invocation).fold(0, u64::saturating_add),
            cost_told: (dialect == Dialect::Perplexity).then(|| total_cost(&self.cost)).flatten(),
            ..Usage::default()
        }
    }
}

impl Gathered {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, items: Vec::new(), response: None }
    }

    fn end(&mut self, response: &Value) -> Result<(), Broken> {
        unless_told(response)?;
        if response["status"] == "failed" {
            return Err(Broken::told(response));
        }
        let response = Response::deserialize(response)?;
        // A whole body of one that is still at work is no reply.
        if matches!(response.status.as_str(), "completed" | "incomplete" | "requires_action") {
            self.response = Some(response);
        }
        Ok(())
    }

    fn block(&self, item: Item, content: &mut Vec<Block>, refused: &mut bool) {
        let signed = |data, item| Signature { by: self.dialect.family().to_owned(), data, item };
        match item {
            Item::Message { content: parts } => {
                for part in parts {
                    match part {
                        Part::OutputText { text } => content.push(Block::Text { text }),
                        Part::Refusal { refusal } => {
                            *refused = true;
                            content.push(Block::Text { text: refusal });
                        }
                        Part::Other => {}
                    }
                }
            }
            Item::FunctionCall { call_id, name, arguments: text, thought_signature } => {
                let signature = thought_signature.map(|data| signed(data, None));
                content.push(Block::ToolCall(ToolCall { id: call_id, name, arguments: arguments(text), signature }));
            }
            Item::Reasoning { id, summary, encrypted_content } => {
                let text = summary.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n\n");
                let signature = encrypted_content.map(|data| signed(data, id));
                if signature.is_some() || !text.is_empty() {
                    content.push(Block::Thinking { text, signature });
                }
            }
            Item::Other => {}
        }
    }
}

impl Gather for Gathered {
    fn whole(&mut self, body: &[u8]) -> Result<(), Broken> {
        self.end(&serde_json::from_slice(body)?)
    }

    fn event(&mut self, data: &str) -> Result<Step, Broken> {
        let value: Value = serde_json::from_str(data)?;
        let kind = value["type"].as_str().unwrap_or_default();
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = value.get("response").unwrap_or(&value);
                if kind == "response.failed" {
                    return Err(Broken::told(response));
                }
                self.end(response)?;
                Ok(Step::Done)
            }
            "response.output_item.done" => {
                if self.items.len() >= ITEMS_MAX {
                    return Err(Broken::Nonsense(format!("it has more than {ITEMS_MAX} items")));
                }
                self.items.push(Item::deserialize(&value["item"])?);
                Ok(Step::Beat)
            }
            "error" => Err(Broken::told(&value)),
            other => {
                unless_told(&value)?;
                Ok(if other.ends_with(".delta") { Step::Piece } else { Step::Beat })
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.response.is_some()
    }

    fn complete(mut self: Box<Self>) -> Option<Completion> {
        let mut response = self.response.take()?;
        let told = std::mem::take(&mut response.output);
        let items = if told.is_empty() { std::mem::take(&mut self.items) } else { told };
        let (mut content, mut refused) = (Vec::new(), false);
        for item in items {
            self.block(item, &mut content, &mut refused);
        }
        let calls = content.iter().any(|block| matches!(block, Block::ToolCall(_)));
        let reason = response.incomplete_details.and_then(|details| details.reason);
        let finish = match (response.status.as_str(), reason.as_deref()) {
            (_, Some("content_filter")) => Finish::ContentFilter,
            ("incomplete", _) => Finish::Length,
            _ if refused => Finish::Refusal,
            _ if calls => Finish::ToolUse,
            _ => Finish::Stop,
        };
        let usage = response.usage.map(|counts| counts.usage(self.dialect));
        Some(Completion { id: response.id, model: response.model, content, finish, usage })
    }
}
