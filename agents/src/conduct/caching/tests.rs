//! The marks of a talk as they go over the wire.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::transport;
use actors::world::World;
use policies::price::PriceTable;
use policies::tokens::Tokens;
use serde_json::{Value, json};

use super::*;
use crate::agent::{AgentHandle, AgentSpec, AgentTerms, Kit};
use crate::conduct::casting::Speaker;
use crate::fixture;
use crate::model::{Block, Message, Model, ModelRequest, Progress, Role, ToolCall, ToolResult};
use crate::providers::{Api, Options, Remote, Version};
use crate::tool::tests::{Web, policy};
use crate::tool::{Permissions, Toolbox};
use crate::workflow::{AgentCall, Talk};

/// Keeps what is sent, and answers nothing.
fn model(name: &str, sent: &Arc<Mutex<Vec<Value>>>) -> Remote {
    let sent = Arc::clone(sent);
    let transport = transport::scripted(move |request| {
        sent.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
        async { Ok(http::Response::builder().status(529).body(transport::body("")).unwrap()) }
    });
    let options = Options::new(Api::Anthropic(Version::default()), "https://api.test/v1", name);
    Remote::new(options, &World::simulated(1, transport::unplugged()), transport).unwrap()
}

fn speaker(model: Arc<dyn Model>, kit: Kit) -> Speaker {
    let agent = AgentHandle::new(AgentSpec {
        name: "writer".to_owned(),
        model,
        guard: "model".to_owned(),
        timeout: Duration::from_secs(60),
        silence_max: None,
        output_max: Tokens(200),
        system: Some("Be brief. ".repeat(400)),
        temperature: 0.0,
        terms: AgentTerms::default(),
        kit,
    });
    let tools = Toolbox::new([], policy(&[], &[]), [], Arc::new(Web::default()));
    let spec = agent.spec();
    let offered = tools.offered("writer", &spec.kit.tools).into();
    Speaker { voice: spec.voice(), agent, spec, borrows: false, pooled: None, offered }
}

/// What is asked after so many turns.
fn call(turns: u32) -> AgentCall {
    let said = (0..turns).flat_map(|turn| {
        let (id, arguments) = (format!("call-{turn}"), json!({ "url": "https://shop.example/" }));
        let name = "http_fetch".to_owned();
        let call = Block::ToolCall(ToolCall { id: id.clone(), name, arguments, signature: None });
        [Message::of(Role::Assistant, vec![call]), Message::results([ToolResult::text(id, "lamps ".repeat(100))])]
    });
    let talk = Box::new(Talk { said: said.collect(), turns, ..Talk::default() });
    AgentCall { talk, ..fixture::call("Announce the lamp.") }
}

fn kit() -> Kit {
    Kit { tools: Permissions::new(["http.fetch"]), turns_max: 4, ..Kit::default() }
}

/// Where marks stand in a body, each with its time.
fn marked(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |name: String, block: &Value| {
        if let Some(mark) = block.get("cache_control") {
            found.push(format!("{name} {}", mark["ttl"].as_str().unwrap()));
        }
    };
    for part in ["tools", "system"] {
        body[part].as_array().into_iter().flatten().for_each(|block| look(part.to_owned(), block));
    }
    for (at, said) in body["messages"].as_array().unwrap().iter().enumerate() {
        said["content"].as_array().unwrap().iter().for_each(|block| look(format!("message {at}"), block));
    }
    found
}

async fn sent(model_name: &str, kit: Kit, turns: u32) -> (Vec<String>, ModelRequest) {
    let sent = Arc::default();
    let model: Arc<dyn Model> = Arc::new(model(model_name, &sent));
    let request = speaker(Arc::clone(&model), kit).request(&call(turns), &PriceTable::builtin().unwrap());
    model.call(request.clone(), &Progress::default()).await.unwrap_err();
    let body = sent.lock().unwrap().remove(0);
    (marked(&body), request)
}

#[tokio::test(start_paused = true)]
async fn each_turn_reads_what_the_one_before_it_wrote_and_the_last_writes_nothing() {
    let sonnet = "claude-sonnet-5-5";
    assert_eq!(sent(sonnet, kit(), 0).await.0, ["system 5m", "message 0 5m"]);
    assert_eq!(sent(sonnet, kit(), 1).await.0, ["system 5m", "message 0 5m", "message 2 5m"]);
    assert_eq!(sent(sonnet, kit(), 2).await.0, ["system 5m", "message 2 5m", "message 4 5m"]);
    assert_eq!(sent(sonnet, kit(), 3).await.0, ["system 5m", "message 4 5m"], "no turn may follow");
}

#[tokio::test(start_paused = true)]
async fn what_would_not_pay_is_not_marked() {
    let sonnet = "claude-sonnet-5-5";
    assert!(sent(sonnet, Kit::default(), 0).await.0.is_empty(), "without tools nothing is sent again");
    assert!(sent(sonnet, Kit { turns_max: 1, ..kit() }, 0).await.0.is_empty(), "nor where no turn may follow");
    assert!(sent("claude-haiku-4-5", kit(), 1).await.0.is_empty(), "it keeps nothing so short");
    assert!(sent("unpriced", kit(), 1).await.0.is_empty());
    // Instructions of some 660 tokens, of which 1,024 would have to be there to be kept; they count once.
    let model: Arc<dyn Model> = Arc::new(model(sonnet, &Arc::default()));
    let short = AgentCall { system: Some("Be brief. ".repeat(200)), ..call(0) };
    let request = speaker(model, kit()).request(&short, &PriceTable::builtin().unwrap());
    assert_eq!(request.cache, CacheMarks::default());
}

#[tokio::test(start_paused = true)]
async fn instructions_that_many_calls_share_are_kept_for_an_hour_and_reserved_for_so() {
    let shared = Kit { reuse: Reuse { within_5m: 0, within_1h: 20 }, ..Kit::default() };
    let (marks, request) = sent("claude-sonnet-5-5", shared, 0).await;
    assert_eq!(marks, ["system 1h"]);
    let model = model("claude-sonnet-5-5", &Arc::default());
    assert!(model.bounds(&request).hour_cache);
    let (_, request) = sent("claude-sonnet-5-5", kit(), 0).await;
    assert!(!model.bounds(&request).hour_cache, "five minutes are in the worst case of every call");
}
