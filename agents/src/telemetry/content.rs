//! What people and models said, as attributes of spans. Invariant: it is called only where that was asked for,
//! and each text is bounded.

use actors::telemetry::convention::{
    INPUT_MESSAGES, OUTPUT_MESSAGES, SYSTEM_INSTRUCTIONS, TOOL_ARGUMENTS, TOOL_RESULT,
};
use serde_json::{Value, json};

use super::span::{Span, TEXT_BYTES_MAX, clip};
use crate::model::Block;
use crate::run::EffectOutcome;
use crate::workflow::{Action, AgentCall, Turn};

/// Words so short are never cut.
const WORD_BYTES: usize = 32;

/// Adds what was asked and what was answered.
pub(super) fn add(span: &mut Span, request: &Action, outcome: &EffectOutcome) {
    let output = if let EffectOutcome::Ok { output } = outcome { Some(&**output) } else { None };
    match request {
        Action::Agent(call) => asked(span, call, output),
        Action::Tool(call) => {
            span.text(TOOL_ARGUMENTS, bounded(&json!(call.with)));
            if let Some(output) = output {
                span.text(TOOL_RESULT, bounded(output));
            }
        }
        Action::Publish(post) => {
            span.text(TOOL_ARGUMENTS, bounded(&json!({ "title": post.title, "text": post.text })));
        }
        Action::Approve(_) => {}
    }
}

/// A later turn hears what was said before it too. That is in the spans of those turns and their tools already,
/// so it is not told again with each turn.
fn asked(span: &mut Span, call: &AgentCall, output: Option<&Value>) {
    if let Some(system) = &call.system {
        span.text(SYSTEM_INSTRUCTIONS, bounded(&json!([part(system)])));
    }
    span.text(INPUT_MESSAGES, bounded(&json!([{ "role": "user", "parts": [part(&call.prompt)] }])));
    if let Some(parts) = output.and_then(answered) {
        span.text(OUTPUT_MESSAGES, bounded(&json!([{ "role": "assistant", "parts": parts }])));
    }
}

/// What a model said: as its turn has it where the talk goes on, as its text where that is all.
fn answered(output: &Value) -> Option<Vec<Value>> {
    let turn = Turn::of(output).ok().flatten().unwrap_or_default();
    let parts: Vec<Value> = turn.content.iter().filter_map(told).collect();
    if parts.is_empty() {
        return output.get("text").and_then(Value::as_str).map(|text| vec![part(text)]);
    }
    Some(parts)
}

fn part(text: &str) -> Value {
    json!({ "type": "text", "content": text })
}

fn told(block: &Block) -> Option<Value> {
    match block {
        Block::Text { text } => Some(part(text)),
        Block::ToolCall(call) => {
            Some(json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments }))
        }
        // What was thought is its provider's, pictures are too large, and results are in the spans of their tools.
        _ => None,
    }
}

/// A value as JSON of [`TEXT_BYTES_MAX`] at most: what is in it is cut, and not its encoding.
fn bounded(value: &Value) -> String {
    let (mut text, mut most) = (value.to_string(), TEXT_BYTES_MAX);
    while text.len() > TEXT_BYTES_MAX && most > 0 {
        most /= 2;
        text = shortened(value, most).to_string();
    }
    text
}

/// A value with at most so many bytes in each text and so many items in each list.
fn shortened(value: &Value, most: usize) -> Value {
    match value {
        Value::String(text) => Value::String(clip(text, most.max(WORD_BYTES))),
        Value::Array(items) => items.iter().take(most).map(|item| shortened(item, most)).collect(),
        Value::Object(fields) => {
            let short = |(name, field): (&String, &Value)| (clip(name, most.max(WORD_BYTES)), shortened(field, most));
            Value::Object(fields.iter().take(most).map(short).collect())
        }
        other => other.clone(),
    }
}
