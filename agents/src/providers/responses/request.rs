//! A request as responses take it.

use serde_json::{Map, Value, json};

use super::super::chat::effort;
use super::super::wire::{Asked, image_url, own, written};
use super::{Dialect, Responses};
use crate::model::{Block, Image, Message, OutputSchema, Part, Role, ToolChoice, ToolResult, ToolSpec};
use crate::schema::is_strict;

/// What stands for the pictures of an answer where an answer takes none.
const UNSEEN: &str = "\n[Here are pictures, which you cannot see.]";

pub(super) fn body(wire: &Responses, asked: &Asked<'_>) -> Value {
    let Responses(dialect) = *wire;
    let request = asked.request;
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("model", json!(asked.options.model));
    set("input", asked.messages.iter().flat_map(|message| items(message, dialect)).collect());
    set("max_output_tokens", json!(request.output_max.0));
    set("stream", json!(asked.stream));
    // What is remembered is remembered here.
    set("store", json!(false));
    let system = asked.system();
    if !system.is_empty() {
        set("instructions", json!(system));
    }
    if let Some(temperature) = asked.temperature(wire).filter(|_| dialect == Dialect::OpenAi) {
        set("temperature", temperature);
    }
    if !request.tools.is_empty() {
        set("tools", request.tools.iter().map(tool).collect());
        if request.tool_choice != ToolChoice::Auto {
            set("tool_choice", choice(&request.tool_choice));
        }
    }
    if let Some(output) = &request.output_schema {
        let (key, value) = format(output, dialect);
        set(key, value);
    }
    if let Some(thinking) = request.thinking {
        set("reasoning", json!({ "effort": effort(thinking) }));
    }
    if dialect == Dialect::OpenAi {
        // Without it a thought that is not stored there cannot be sent back.
        set("include", json!(["reasoning.encrypted_content"]));
    }
    Value::Object(body)
}

fn format(output: &OutputSchema, dialect: Dialect) -> (&'static str, Value) {
    let OutputSchema { name, schema } = output;
    match dialect {
        Dialect::OpenAi => {
            let format = json!({ "type": "json_schema", "name": name, "schema": schema, "strict": is_strict(schema) });
            ("text", json!({ "format": format }))
        }
        Dialect::Perplexity => {
            let format = json!({ "name": name, "schema": schema });
            ("response_format", json!({ "type": "json_schema", "json_schema": format }))
        }
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function", "name": tool.name, "description": tool.description, "parameters": tool.schema,
        "strict": false,
    })
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Any => json!("required"),
        ToolChoice::None => json!("none"),
        ToolChoice::Named(name) => json!({ "type": "function", "name": name }),
    }
}

/// One turn, as the items that it takes, in order. The system's have a place of their own.
fn items(message: &Message, dialect: Dialect) -> Vec<Value> {
    let role = match message.role {
        Role::System => return Vec::new(),
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let mut items = Vec::new();
    let mut said: Vec<Value> = Vec::new();
    let flush = |said: &mut Vec<Value>, items: &mut Vec<Value>| {
        if !said.is_empty() {
            items.push(json!({ "type": "message", "role": role, "content": content(std::mem::take(said)) }));
        }
    };
    for block in &message.content {
        match block {
            Block::Text { text } if text.is_empty() => {}
            Block::Text { text } => said.push(words(text)),
            Block::Image(image) => said.push(picture(image)),
            other => {
                flush(&mut said, &mut items);
                items.extend(item(other, dialect));
            }
        }
    }
    flush(&mut said, &mut items);
    items
}

/// What is said: one text as that text, which both roles may say, or else parts.
fn content(said: Vec<Value>) -> Value {
    let texts: Option<String> = said.iter().map(|part| part["text"].as_str()).collect();
    texts.map_or(Value::Array(said), Value::String)
}

fn item(block: &Block, dialect: Dialect) -> Option<Value> {
    match block {
        Block::ToolCall(call) => {
            let arguments = written(&call.arguments);
            let mut item =
                json!({ "type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments });
            if let Some(signature) = own(call.signature.as_ref(), dialect.family()) {
                item["thought_signature"] = json!(signature.data);
            }
            Some(item)
        }
        Block::ToolResult(result) => {
            Some(json!({ "type": "function_call_output", "call_id": result.id, "output": answer(result, dialect) }))
        }
        Block::Thinking { text, signature } => {
            let signature = own(signature.as_ref(), dialect.family())?;
            let summary = if text.is_empty() { json!([]) } else { json!([{ "type": "summary_text", "text": text }]) };
            Some(json!({
                "type": "reasoning", "id": signature.item, "summary": summary, "encrypted_content": signature.data,
            }))
        }
        Block::Redacted(_) | Block::Text { .. } | Block::Image(_) => None,
    }
}

/// Perplexity takes words alone.
fn answer(result: &ToolResult, dialect: Dialect) -> Value {
    if result.images().next().is_none() {
        return json!(result.words());
    }
    if dialect == Dialect::Perplexity {
        return json!(format!("{}{UNSEEN}", result.words()));
    }
    let part = |part: &Part| match part {
        Part::Text { text } => words(text),
        Part::Image(image) => picture(image),
    };
    result.content.iter().map(part).collect()
}

fn words(text: &str) -> Value {
    json!({ "type": "input_text", "text": text })
}

fn picture(image: &Image) -> Value {
    json!({ "type": "input_image", "image_url": image_url(image), "detail": "auto" })
}
