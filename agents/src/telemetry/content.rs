//! What people and models said, as attributes of spans. Invariant: it is called only where that was asked for,
//! and each text is bounded.

use actors::telemetry::convention::{
    INPUT_MESSAGES, OUTPUT_MESSAGES, SYSTEM_INSTRUCTIONS, TOOL_ARGUMENTS, TOOL_RESULT,
};
use serde_json::{Value, json};

use super::span::Span;
use crate::model::{Block, Message, Role};
use crate::run::EffectOutcome;
use crate::workflow::{Action, AgentCall};

/// The most of one attribute, in bytes.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Adds what was asked and what was answered.
pub(super) fn add(span: &mut Span, request: &Action, outcome: &EffectOutcome) {
    let output = if let EffectOutcome::Ok { output } = outcome { Some(&**output) } else { None };
    match request {
        Action::Agent(call) => asked(span, call, output),
        Action::Tool(call) => {
            span.text(TOOL_ARGUMENTS, bounded(json!(call.with).to_string()));
            if let Some(output) = output {
                span.text(TOOL_RESULT, bounded(output.to_string()));
            }
        }
        Action::Publish(post) => {
            span.text(TOOL_ARGUMENTS, bounded(json!({ "title": post.title, "text": post.text }).to_string()));
        }
        Action::Approve(_) => {}
    }
}

fn asked(span: &mut Span, call: &AgentCall, output: Option<&Value>) {
    if let Some(system) = &call.system {
        span.text(SYSTEM_INSTRUCTIONS, bounded(json!([part(system)]).to_string()));
    }
    let prompt = json!({ "role": "user", "parts": [part(&call.prompt)] });
    let said: Vec<Value> = [prompt].into_iter().chain(call.talk.said.iter().map(turn)).collect();
    span.text(INPUT_MESSAGES, bounded(json!(said).to_string()));
    if let Some(text) = output.and_then(|output| output.get("text")).and_then(Value::as_str) {
        let answer = json!([{ "role": "assistant", "parts": [part(text)] }]);
        span.text(OUTPUT_MESSAGES, bounded(answer.to_string()));
    }
}

fn part(text: &str) -> Value {
    json!({ "type": "text", "content": text })
}

fn turn(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let parts: Vec<Value> = message.content.iter().filter_map(told).collect();
    json!({ "role": role, "parts": parts })
}

fn told(block: &Block) -> Option<Value> {
    match block {
        Block::Text { text } => Some(part(text)),
        Block::ToolCall(call) => {
            Some(json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments }))
        }
        Block::ToolResult(result) => {
            Some(json!({ "type": "tool_call_response", "id": result.id, "response": result.words() }))
        }
        // What was thought is its provider's, and pictures are too large.
        _ => None,
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}
