//! A server's list of tools as tools. Invariant: what does not fit the bounds, or has no usable name, is left out
//! and told; a hint of a server is believed only where its operator says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmcp::model::ToolAnnotations;
use serde_json::{Value, json};

use super::{MCP_TOOL, McpTerms};
use crate::tool::{Arguments, Home, Tool, clip};
use crate::workflow::EffectClass;

/// The most tools of one server.
pub(super) const TOOLS_MAX: usize = 128;
/// The longest name of a tool.
const NAME_CHARS_MAX: usize = 128;
/// The longest description that is kept, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2048;
/// The longest schema, in bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 32 << 10;

/// The tools among what a server has listed.
pub(super) fn tools(server: &str, terms: &McpTerms, listed: Vec<rmcp::model::Tool>) -> Vec<Arc<Tool>> {
    let mut tools: Vec<Arc<Tool>> = Vec::new();
    for listed in listed.into_iter().take(TOOLS_MAX) {
        match listed_tool(server, terms, &listed) {
            Ok(tool) if tools.iter().all(|known| known.name != tool.name) => tools.push(Arc::new(tool)),
            Ok(tool) => tracing::warn!(server, tool = tool.name, "a tool is listed twice; the first one counts"),
            Err(reason) => tracing::warn!(server, tool = clip(&listed.name), reason, "a tool is left out"),
        }
    }
    tools
}

/// What is written of tools that are not among these.
pub(super) fn missing(terms: &McpTerms, tools: &[Arc<Tool>]) -> Vec<String> {
    let written: BTreeSet<&String> = terms.classes.keys().chain(&terms.named).collect();
    let is_listed = |own: &String| tools.iter().any(|tool| matches!(&tool.home, Home::Mcp { tool, .. } if tool == own));
    written.into_iter().filter(|own| !is_listed(own)).cloned().collect()
}

/// A tool of a server that has yet to list its tools, with all that is known of it: its terms.
pub(super) fn unlisted(server: &str, terms: &McpTerms, own: &str) -> Result<Tool, &'static str> {
    let class = class(terms, own, None);
    tool(server, terms, own, Told { class, description: String::new(), schema: json!({ "type": "object" }) })
}

/// What a server tells of a tool beside its name.
struct Told {
    class: EffectClass,
    description: String,
    schema: Value,
}

fn listed_tool(server: &str, terms: &McpTerms, listed: &rmcp::model::Tool) -> Result<Tool, &'static str> {
    let schema = Value::Object((*listed.input_schema).clone());
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err("its schema is too large");
    }
    let mut description = listed.description.as_deref().unwrap_or_default().to_owned();
    description.truncate(description.floor_char_boundary(DESCRIPTION_BYTES_MAX));
    let class = class(terms, &listed.name, listed.annotations.as_ref());
    tool(server, terms, &listed.name, Told { class, description, schema })
}

fn tool(server: &str, terms: &McpTerms, own: &str, told: Told) -> Result<Tool, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if own.is_empty() || own.len() > NAME_CHARS_MAX || !own.chars().all(fits) {
        return Err("its name is not made of letters, digits, `_`, `-`, `.` and `/`, or is too long");
    }
    let Told { class, description, schema } = told;
    let name = format!("{MCP_TOOL}{server}.{own}");
    Ok(Tool {
        arguments: Arguments::of(&name, &schema),
        class,
        timeout: terms.timeout,
        result_max: terms.result_max,
        home: Home::Mcp { server: server.to_owned(), tool: own.to_owned() },
        name,
        description,
        schema,
    })
}

fn class(terms: &McpTerms, own: &str, hints: Option<&ToolAnnotations>) -> EffectClass {
    if let Some(class) = terms.classes.get(own) {
        return *class;
    }
    match hints.filter(|_| terms.trust_hints) {
        Some(hints) if hints.read_only_hint == Some(true) => EffectClass::Read,
        Some(hints) if hints.idempotent_hint == Some(true) => EffectClass::Idempotent,
        _ => EffectClass::Once,
    }
}
