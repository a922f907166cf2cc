//! The adapters against recorded exchanges, and where those do not reach.
//!
//! The exchanges are in `agents/cassettes`, a folder for each adapter: what must have been sent, the answer
//! with the pieces that it came in, and the reply or the error that it is.

mod batches;
mod cassette;
mod edges;
mod errors;
mod keys;
mod moving;
mod network;
mod replies;
mod stalls;

use std::sync::Arc;
use std::time::Duration;

use actors::transport::{self, Transport};
use actors::world::World;
use policies::tokens::Tokens;
use serde_json::json;

use super::*;
use crate::agent::{AgentActor, AgentHandle, AgentSpec, AgentTerms};
use crate::fixture;
use crate::model::{
    Block, CacheMarks, Effort, Image, Message, OutputSchema, Role, Thinking, ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use crate::secret::Secret;

/// The adapters that have cassettes.
const ADAPTERS: [&str; 7] = ["anthropic", "anthropic-2023", "openai", "compatible", "sonar", "responses", "perplexity"];
/// What they all say of the lamp.
const SAID: &str = "The lamp shines all night – wherever you hang it.";
/// An agent's time-out.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How each is set up.
fn options(adapter: &str) -> Options {
    let (api, url, model) = match adapter {
        "anthropic" => (Api::Anthropic(Version::V2026_10_21), "https://api.test/v1", "claude-haiku-5-5"),
        "anthropic-2023" => (Api::Anthropic(Version::V2023_06_01), "https://api.test/v1/", "claude-haiku-5-5"),
        "openai" => (Api::Chat(ChatDialect::OpenAi), "https://api.test/v1", "gpt-6-luna"),
        "compatible" => (Api::Chat(ChatDialect::Compatible), "http://server.test/v1", "qwen2.5:7b"),
        "sonar" => (Api::Chat(ChatDialect::Sonar), "https://api.test", "sonar-pro"),
        "responses" => (Api::Responses(ResponsesDialect::OpenAi), "https://api.test/v1", "gpt-6-luna"),
        "perplexity" => (Api::Responses(ResponsesDialect::Perplexity), "https://api.test/v1", "perplexity/sonar"),
        other => panic!("{other}"),
    };
    let auth = (adapter == "anthropic-2023").then_some(Auth::Bearer);
    Options { key: Some(Key::fixed(Secret::new("test-key"))), auth, ..Options::new(api, url, model) }
}

fn world() -> World {
    World::simulated(1, transport::unplugged())
}

fn remote(options: Options, transport: Arc<dyn Transport>) -> Remote {
    Remote::new(options, &world(), transport).unwrap()
}

/// A running agent that speaks with this model.
async fn agent(world: &World, model: Remote, silence_max: Option<Duration>) -> AgentHandle {
    let agent = AgentHandle::new(AgentSpec {
        name: "writer".to_owned(),
        model: Arc::new(model),
        guard: "model".to_owned(),
        timeout: TIMEOUT,
        silence_max,
        output_max: Tokens(200),
        system: Some("Be brief.".to_owned()),
        temperature: 0.4,
        terms: AgentTerms::default(),
        kit: crate::agent::Kit::default(),
    });
    fixture::start(agent.front(), AgentActor::new(world.clone()), agent.spec()).await;
    agent
}

/// What an adapter sends of a request.
fn sent(adapter: &str, request: &ModelRequest) -> serde_json::Value {
    let model = remote(options(adapter), transport::unplugged());
    let messages = ids::fitted(opening::opened(model.options.prefill, request));
    model.wire.body(&wire::Asked { options: &model.options, request, messages: &messages, stream: true })
}

fn asking() -> ModelRequest {
    let messages = vec![Message::system("Be brief."), Message::user("Announce the lamp.")];
    ModelRequest { temperature: 0.4, seed: 6, ..ModelRequest::asking(messages, Tokens(200)) }
}

fn weather() -> ToolSpec {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
                         "additionalProperties": false });
    ToolSpec { name: "weather".to_owned(), description: "Tells the weather.".to_owned(), schema }
}

/// A conversation in which tools were asked for and have answered.
fn with_results() -> Vec<Message> {
    let call = |id: &str, city: &str| {
        let (id, name, arguments) = (id.to_owned(), "weather".to_owned(), json!({ "city": city }));
        Block::ToolCall(ToolCall { id, name, arguments, signature: None })
    };
    let calls = Message::of(Role::Assistant, vec![call("call_a", "Paris"), call("call_b", "Oslo")]);
    let mut results =
        Message::results([ToolResult::text("call_a", "rain"), ToolResult::error("call_b", "no such city")]);
    results.content.push(Block::text("Go on."));
    [asking().messages, vec![calls, results]].concat()
}

/// What is asked in each scene, of every adapter alike.
fn asked(scene: &str) -> ModelRequest {
    let tools = vec![weather()];
    match scene {
        "plain" | "parts" => ModelRequest { stream: Some(false), ..asking() },
        "tools" => ModelRequest { tools, ..asking() },
        "parallel" => ModelRequest { tools, tool_choice: ToolChoice::Any, ..asking() },
        "results" => ModelRequest { messages: with_results(), tools, stream: Some(false), ..asking() },
        "image" => {
            let bytes = Image::Bytes { media_type: "image/png".to_owned(), base64: "iVBORw0KGgo=".to_owned() };
            let url = Image::Url("https://pics.example/a.png".to_owned());
            let content = vec![Block::text("What is this?"), Block::Image(bytes), Block::Image(url)];
            ModelRequest { messages: vec![Message::of(Role::User, content)], ..asking() }
        }
        "schema" => {
            let tags = json!({ "type": "array", "items": { "type": "string" } });
            let schema = json!({ "type": "object", "required": ["title", "tags"], "additionalProperties": false,
                                 "properties": { "title": { "type": "string" }, "tags": tags } });
            ModelRequest { output_schema: Some(OutputSchema { name: "post".to_owned(), schema }), ..asking() }
        }
        "thinking" => ModelRequest { thinking: Some(Thinking::Effort(Effort::Low)), ..asking() },
        "cache" => {
            let (system, messages) = (Some(CacheTtl::Hour), Some(CacheTtl::FiveMinutes));
            let marks = CacheMarks { system, messages, ..CacheMarks::default() };
            ModelRequest { cache: marks, ..asking() }
        }
        _ => asking(),
    }
}
