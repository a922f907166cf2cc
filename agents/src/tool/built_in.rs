//! The tools that are built in. Invariant: what a schema here lets pass, the code that carries the tool out
//! can read.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AGENT_TOOL, Arguments, Home, RESULT_MAX, Tool};
use crate::workflow::EffectClass;

/// The tool that finds notes.
pub const SEARCH: &str = "context.search";
/// The tool that keeps notes.
pub const REMEMBER: &str = "context.remember";
/// The tool that forgets notes; workflows may name it, and agents that are given it.
const FORGET: &str = "context.forget";
/// The tool that reads a page.
pub const FETCH: &str = "http.fetch";

/// For a call of the context store.
const CONTEXT_TIMEOUT: Duration = Duration::from_secs(60);
/// For reading a page, redirects included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// For an agent that is asked as a tool: its own bounds hold it.
const AGENT_TIMEOUT: Duration = Duration::from_secs(3600);

/// All of them but agents.
pub(super) fn all() -> Vec<Tool> {
    let collection = json!({ "type": "string", "description": "The collection of notes; `main` without it." });
    let filter = json!({
        "type": "object", "additionalProperties": { "type": "string" },
        "description": "Only notes whose fields (run, agent, source, kind) are these.",
    });
    let document = json!({ "anyOf": [
        { "type": "string" },
        {
            "type": "object",
            "properties": { "source": { "type": "string" }, "text": { "type": "string" } },
            "required": ["source", "text"],
        },
    ] });
    let search = object(
        json!({
            "query": { "type": "string", "description": "What the notes shall be about." },
            "collection": collection,
            "limit": { "type": "integer", "minimum": 1, "description": "The most notes; 5 without it." },
            "filter": filter,
        }),
        &["query"],
    );
    let remember = object(
        json!({
            "documents": { "type": "array", "items": document, "description": "The notes: texts, each with its source if it has one." },
            "collection": collection,
            "agent": { "type": "string", "description": "Whose notes they are." },
            "kind": { "type": "string", "description": "What they are; `document` without it." },
        }),
        &["documents"],
    );
    let forget = object(json!({ "collection": collection, "filter": filter }), &["filter"]);
    let fetch = object(
        json!({ "url": { "type": "string", "minLength": 1, "maxLength": 2048, "description": "An http or https address." } }),
        &["url"],
    );
    vec![
        tool(SEARCH, "Finds notes by what they mean.", search, EffectClass::Read, Home::Context),
        tool(REMEMBER, "Keeps notes, to be found again later.", remember, EffectClass::Idempotent, Home::Context),
        tool(FORGET, "Forgets the notes that a filter names.", forget, EffectClass::Idempotent, Home::Context),
        tool(FETCH, "Reads a page of text from the web.", fetch, EffectClass::Read, Home::Web),
    ]
}

/// Another agent as a tool.
pub(super) fn agent(name: &str) -> Tool {
    let task = json!({ "task": { "type": "string", "minLength": 1, "description": "What it is to do, complete: it sees nothing else." } });
    let description = format!("Has the agent `{name}` do a task, and gives its answer.");
    let home = Home::Agent(name.to_owned());
    Tool {
        timeout: AGENT_TIMEOUT,
        ..tool(&format!("{AGENT_TOOL}{name}"), &description, object(task, &["task"]), EffectClass::Model, home)
    }
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn tool(name: &str, description: &str, schema: Value, class: EffectClass, home: Home) -> Tool {
    let timeout = if home == Home::Web { FETCH_TIMEOUT } else { CONTEXT_TIMEOUT };
    Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        arguments: Arguments::of(name, &schema),
        schema,
        class,
        timeout,
        result_max: RESULT_MAX,
        home,
    }
}
