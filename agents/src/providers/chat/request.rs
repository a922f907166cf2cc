//! A request as chat completions take it.

use serde_json::{Map, Value, json};

use super::super::wire::{Asked, image_url, written};
use super::{Chat, Dialect};
use crate::model::{Block, Effort, Image, Message, Role, Thinking, ToolChoice, ToolSpec};
use crate::schema::is_strict;

/// OpenAI takes no more stop words than this; the rest are cut on our side.
const STOP_WORDS_MAX: usize = 4;

pub(super) fn body(wire: &Chat, asked: &Asked<'_>) -> Value {
    let Chat(dialect) = wire;
    let request = asked.request;
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("model", json!(asked.options.model));
    set("messages", asked.messages.iter().flat_map(turns).collect());
    let output_max = match dialect {
        Dialect::OpenAi => "max_completion_tokens",
        Dialect::Compatible | Dialect::Sonar => "max_tokens",
    };
    set(output_max, json!(request.output_max.0));
    if let Some(temperature) = asked.temperature(wire) {
        set("temperature", temperature);
        if *dialect != Dialect::Sonar {
            // Seeds are signed on the wire; the sign is of no use to anyone.
            set("seed", json!(request.seed >> 1));
        }
    }
    let stop = &request.stop[..request.stop.len().min(STOP_WORDS_MAX)];
    if !stop.is_empty() && *dialect != Dialect::Sonar {
        set("stop", json!(stop));
    }
    set("stream", json!(asked.stream));
    if asked.stream && *dialect != Dialect::Sonar {
        set("stream_options", json!({ "include_usage": true }));
    }
    if !request.tools.is_empty() {
        set("tools", request.tools.iter().map(tool).collect());
        // Not all servers know the word, and it is their default.
        if request.tool_choice != ToolChoice::Auto {
            set("tool_choice", choice(&request.tool_choice));
        }
    }
    if let Some(output) = &request.output_schema {
        let format = json!({ "name": output.name, "schema": output.schema, "strict": is_strict(&output.schema) });
        set("response_format", json!({ "type": "json_schema", "json_schema": format }));
    }
    if let Some(thinking) = request.thinking {
        set("reasoning_effort", json!(effort(thinking)));
    }
    Value::Object(body)
}

/// The word for how much is thought; a number of tokens becomes the nearest.
pub(in crate::providers) fn effort(thinking: Thinking) -> &'static str {
    match thinking {
        Thinking::Off => "none",
        Thinking::Effort(effort) => effort.as_str(),
        Thinking::Budget(tokens) => match tokens.0 {
            0..=2_048 => Effort::Low.as_str(),
            2_049..=8_192 => Effort::Medium.as_str(),
            _ => Effort::High.as_str(),
        },
    }
}

fn tool(tool: &ToolSpec) -> Value {
    let function = json!({ "name": tool.name, "description": tool.description, "parameters": tool.schema });
    json!({ "type": "function", "function": function })
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Any => json!("required"),
        ToolChoice::None => json!("none"),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}

/// One turn, as the turns that it takes: each answer of a tool is one of its own.
fn turns(message: &Message) -> Vec<Value> {
    match message.role {
        Role::System => vec![json!({ "role": "system", "content": message.text() })],
        Role::Assistant => of_model(message).into_iter().collect(),
        Role::User => {
            let results = message.content.iter().filter_map(|block| match block {
                Block::ToolResult(result) => Some(result),
                _ => None,
            });
            let answers = results
                .clone()
                .map(|result| json!({ "role": "tool", "tool_call_id": result.id, "content": result.words() }));
            // An answer of a tool holds no pictures there, so they follow in the user's words.
            let seen = results.flat_map(|result| result.images()).map(picture);
            let own = message.content.iter().filter_map(|block| match block {
                Block::Text { text } => Some(json!({ "type": "text", "text": text })),
                Block::Image(image) => Some(picture(image)),
                _ => None,
            });
            let parts: Vec<Value> = seen.chain(own).collect();
            let is_text = parts.iter().all(|part| part["type"] == "text");
            let content = if is_text { json!(message.text()) } else { json!(parts) };
            let said = (!parts.is_empty()).then(|| json!({ "role": "user", "content": content }));
            answers.chain(said).collect()
        }
    }
}

/// A turn of the model; none for one that says nothing. What it thought stays out: no server of this kind
/// takes it back.
fn of_model(message: &Message) -> Option<Value> {
    let calls = message.content.iter().filter_map(|block| match block {
        Block::ToolCall(call) => {
            let function = json!({ "name": call.name, "arguments": written(&call.arguments) });
            Some(json!({ "id": call.id, "type": "function", "function": function }))
        }
        _ => None,
    });
    let calls: Vec<Value> = calls.collect();
    let text = message.text();
    let content = (!text.is_empty()).then_some(text);
    if calls.is_empty() {
        return content.map(|content| json!({ "role": "assistant", "content": content }));
    }
    Some(json!({ "role": "assistant", "content": content, "tool_calls": calls }))
}

fn picture(image: &Image) -> Value {
    json!({ "type": "image_url", "image_url": { "url": image_url(image) } })
}
