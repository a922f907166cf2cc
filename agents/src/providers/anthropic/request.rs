//! A request as Messages take it.

use serde_json::{Map, Value, json};

use super::super::wire::{Asked, own};
use super::{Anthropic, FAMILY};
use crate::model::{
    Block, CacheTtl, Effort, Image, Message, OutputSchema, Part, Role, THINKING_TOKENS_MIN, Thinking, ToolChoice,
    ToolResult, ToolSpec,
};

pub(super) fn body(wire: &Anthropic, asked: &Asked<'_>) -> Value {
    let request = asked.request;
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("model", json!(asked.options.model));
    set("max_tokens", json!(request.output_max.0));
    set("stream", json!(asked.stream));
    let mut messages: Vec<Value> = asked.messages.iter().filter_map(turn).collect();
    if let Some(ttl) = request.cache.messages {
        mark(end_of(messages.last_mut()), ttl);
    }
    if let Some(ttl) = request.cache.earlier {
        let latest = messages.iter().rposition(|said| said["role"] == "assistant");
        mark(end_of(latest.and_then(|at| messages.get_mut(at.checked_sub(1)?))), ttl);
    }
    let system = asked.system();
    let mut system: Vec<Value> =
        (!system.is_empty()).then(|| json!({ "type": "text", "text": system })).into_iter().collect();
    let mut tools: Vec<Value> = request.tools.iter().map(tool).collect();
    if let Some(ttl) = request.cache.system {
        // What is marked is kept with all before it, and tools stand before the instructions.
        mark(system.last_mut().or(tools.last_mut()), ttl);
    }
    if !system.is_empty() {
        set("system", json!(system));
    }
    if !tools.is_empty() {
        set("tools", json!(tools));
        set("tool_choice", choice(&request.tool_choice));
    }
    // The provider refuses those of white space alone; they are met on our side.
    let stop: Vec<&String> = request.stop.iter().filter(|word| !word.trim().is_empty()).collect();
    if !stop.is_empty() {
        set("stop_sequences", json!(stop));
    }
    if let Some(temperature) = asked.temperature(wire) {
        set("temperature", temperature);
    }
    if let Some(thinking) = request.thinking {
        // A budget is refused where the turn that tools have answered does not begin with a thought of its own.
        let is_free = !matches!(thinking, Thinking::Budget(_)) || begins_with_a_thought(&messages);
        set("thinking", thoughts(if is_free { thinking } else { Thinking::Off }));
    }
    set("messages", json!(messages));
    let output = output(request.thinking, request.output_schema.as_ref());
    if !output.is_empty() {
        set("output_config", Value::Object(output));
    }
    Value::Object(body)
}

/// The last block of a turn.
fn end_of(turn: Option<&mut Value>) -> Option<&mut Value> {
    turn?["content"].as_array_mut()?.last_mut()
}

fn mark(block: Option<&mut Value>, ttl: CacheTtl) {
    if let Some(block) = block {
        block["cache_control"] = json!({ "type": "ephemeral", "ttl": ttl });
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({ "name": tool.name, "description": tool.description, "input_schema": tool.schema })
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({ "type": "auto" }),
        ToolChoice::Any => json!({ "type": "any" }),
        ToolChoice::None => json!({ "type": "none" }),
        ToolChoice::Named(name) => json!({ "type": "tool", "name": name }),
    }
}

/// Whether the model's turn that tools have just answered, if there is one, begins with what it thought.
fn begins_with_a_thought(messages: &[Value]) -> bool {
    let [.., turn, answers] = messages else { return true };
    let first = |message: &Value| message["content"][0]["type"].as_str().unwrap_or_default().to_owned();
    first(answers) != "tool_result" || matches!(first(turn).as_str(), "thinking" | "redacted_thinking")
}

fn thoughts(thinking: Thinking) -> Value {
    match thinking {
        Thinking::Off => json!({ "type": "disabled" }),
        Thinking::Effort(_) => json!({ "type": "adaptive" }),
        Thinking::Budget(tokens) => {
            json!({ "type": "enabled", "budget_tokens": tokens.0.max(THINKING_TOKENS_MIN.into()) })
        }
    }
}

fn output(thinking: Option<Thinking>, schema: Option<&OutputSchema>) -> Map<String, Value> {
    let mut output = Map::new();
    if let Some(Thinking::Effort(effort)) = thinking {
        // The least that it has a word for.
        output.insert("effort".to_owned(), json!(effort.max(Effort::Low).as_str()));
    }
    if let Some(schema) = schema {
        output.insert("format".to_owned(), json!({ "type": "json_schema", "schema": schema.schema }));
    }
    output
}

/// One turn; none for the system's, which have a place of their own, and for one that says nothing.
fn turn(message: &Message) -> Option<Value> {
    let role = match message.role {
        Role::System => return None,
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    // What tools found has to come first.
    let (results, others): (Vec<_>, Vec<_>) =
        message.content.iter().partition(|block| matches!(block, Block::ToolResult(_)));
    let content: Vec<Value> = results.into_iter().chain(others).filter_map(block).collect();
    (!content.is_empty()).then(|| json!({ "role": role, "content": content }))
}

fn block(block: &Block) -> Option<Value> {
    match block {
        Block::Text { text } => words(text),
        Block::Image(image) => Some(picture(image)),
        Block::ToolCall(call) => {
            // Its own input is an object; what was no JSON goes back as what it was.
            let input = if call.arguments.is_object() { call.arguments.clone() } else { json!({ "": call.arguments }) };
            Some(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }))
        }
        Block::ToolResult(result) => Some(answer(result)),
        Block::Thinking { text, signature } => {
            let signature = own(signature.as_ref(), FAMILY)?;
            Some(json!({ "type": "thinking", "thinking": text, "signature": signature.data }))
        }
        Block::Redacted(signature) => {
            let signature = own(Some(signature), FAMILY)?;
            Some(json!({ "type": "redacted_thinking", "data": signature.data }))
        }
    }
}

/// A text, which the provider refuses when it is empty.
fn words(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn picture(image: &Image) -> Value {
    let source = match image {
        Image::Bytes { media_type, base64 } => json!({ "type": "base64", "media_type": media_type, "data": base64 }),
        Image::Url(url) => json!({ "type": "url", "url": url }),
    };
    json!({ "type": "image", "source": source })
}

fn answer(result: &ToolResult) -> Value {
    let part = |part: &Part| match part {
        Part::Text { text } => words(text),
        Part::Image(image) => Some(picture(image)),
    };
    let content: Vec<Value> = result.content.iter().filter_map(part).collect();
    json!({ "type": "tool_result", "tool_use_id": result.id, "content": content, "is_error": result.is_error })
}
