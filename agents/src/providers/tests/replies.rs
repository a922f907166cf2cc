//! What each provider answers, as the reply that it is.

use policies::failure::FailureClass;

use super::cassette::{Cassette, load, scenes};
use super::*;
use crate::agent::{Job, JobOutcome};
use crate::model::{Billed, Finish};
use crate::workflow::AgentCall;

#[tokio::test(start_paused = true)]
async fn each_exchange_is_asked_as_it_was_and_becomes_its_reply_however_it_is_cut() {
    for adapter in ADAPTERS {
        for scene in scenes(adapter) {
            for size in [None, Some(1), Some(7)] {
                let cassette: Cassette = load(adapter, &scene).unwrap();
                let wanted = cassette.reply.clone();
                let model = remote(options(adapter), cassette.player(size));
                let progress = Progress::default();
                let reply = model.call(asked(&scene), &progress).await;
                let reply = reply.unwrap_or_else(|error| panic!("{adapter} {scene}: {error}"));
                assert_eq!(reply.content, wanted.content, "{adapter} {scene}");
                assert_eq!((reply.finish, reply.usage), (wanted.finish, wanted.usage), "{adapter} {scene}");
                assert_eq!(reply.remote_id.as_deref(), Some(&*wanted.remote_id), "{adapter} {scene}");
                assert_eq!(reply.model.as_deref(), Some(&*wanted.model), "{adapter} {scene}");
                assert!(progress.beats() > 0, "{adapter} {scene}");
            }
        }
    }
}

/// A reply without what each provider names in its own way, and without what only some show.
fn bare(content: Vec<Block>) -> Vec<Block> {
    let said = content.into_iter().filter(|block| !matches!(block, Block::Thinking { .. } | Block::Redacted(_)));
    said.map(|block| match block {
        Block::ToolCall(call) => Block::ToolCall(ToolCall { id: String::new(), signature: None, ..call }),
        other => other,
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_request_has_the_same_reply_from_each() {
    const SCENES: [&str; 10] =
        ["plain", "stream", "tools", "parallel", "results", "image", "schema", "thinking", "refusal", "length"];
    for scene in SCENES {
        let mut replies: Vec<(&str, Vec<Block>, Finish)> = Vec::new();
        for adapter in ADAPTERS.into_iter().filter(|adapter| *adapter != "anthropic-2023") {
            let request = asked(scene);
            let Some(cassette) = load::<Cassette>(adapter, scene) else {
                let model = remote(options(adapter), transport::unplugged());
                let cannot = request.check(&model.abilities(), &model.id()).is_err();
                // Not every provider documents how it refuses, or that it stops at a length.
                assert!(cannot || matches!(scene, "refusal" | "length"), "{adapter} has no {scene}");
                continue;
            };
            let reply = remote(options(adapter), cassette.player(None)).call(request, &Progress::default()).await;
            let reply = reply.unwrap();
            replies.push((adapter, bare(reply.content), reply.finish));
        }
        let (_, content, finish) = &replies[0];
        for (adapter, other, ended) in &replies {
            assert_eq!((other, ended), (content, finish), "{scene}: {adapter}");
        }
        assert!(replies.len() >= 2, "{scene}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_agent_runs_unchanged_with_each() {
    for adapter in ADAPTERS {
        for (scene, stream) in [("stream", true), ("plain", false)] {
            let Some(cassette) = load::<Cassette>(adapter, scene) else { continue };
            let world = world();
            let model = remote(Options { stream, ..options(adapter) }, cassette.player(None));
            let agent = agent(&world, model, None).await;
            let call = AgentCall {
                agent: "writer".to_owned(),
                prompt: "Announce the lamp.".to_owned(),
                output_max: Tokens(1000),
                seed: 6,
                ..AgentCall::default()
            };
            let request = agent.spec().request(&call);
            let job =
                Job { run: "a".into(), path: "write".into(), key: "k".into(), request, instead: None, until: None };
            let place = agent.front().enter().await.unwrap();
            let done = agent.perform(job, fixture::permit(&world), place, Progress::default()).await;
            let JobOutcome::Done(Ok(reply)) = done else { panic!("{adapter}: {done:?}") };
            assert_eq!(reply.text(), SAID, "{adapter}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_cannot_do_is_refused_before_it_is_asked() {
    for (adapter, scene) in [("sonar", "tools"), ("perplexity", "parallel")] {
        let error = remote(options(adapter), transport::unplugged()).call(asked(scene), &Progress::default()).await;
        let error = error.unwrap_err();
        assert_eq!((error.class, &error.billed), (FailureClass::Rejected, &Billed::No), "{error}");
    }
    let without = Options { without: vec![Ability::Images], ..options("compatible") };
    let error = remote(without, transport::unplugged()).call(asked("image"), &Progress::default()).await;
    assert!(error.unwrap_err().message.contains("qwen2.5:7b cannot see images"));
}

/// What an adapter sends of a conversation.
fn body(adapter: &str, messages: Vec<Message>) -> serde_json::Value {
    sent(adapter, &ModelRequest { messages, ..asking() })
}

#[tokio::test(start_paused = true)]
async fn what_one_provider_thought_is_not_sent_to_another() {
    let anthropic: Cassette = load("anthropic", "thinking").unwrap();
    let thought = Message::of(Role::Assistant, anthropic.reply.content);
    let messages = [asking().messages, vec![thought, Message::user("Again.")]].concat();
    for adapter in ADAPTERS {
        let body = body(adapter, messages.clone()).to_string();
        assert_eq!(body.contains("EqQBsig=="), adapter.starts_with("anthropic"), "{adapter}: {body}");
        assert_eq!(body.contains("hidden=="), adapter.starts_with("anthropic"), "{adapter}: {body}");
        assert!(body.contains("The lamp shines"), "{adapter}: {body}");
    }
    let own: Cassette = load("responses", "thinking").unwrap();
    let item = &body("responses", vec![Message::of(Role::Assistant, own.reply.content)])["input"][0];
    assert_eq!((&item["type"], &item["id"]), (&json!("reasoning"), &json!("rs_1")));
    assert_eq!(item["encrypted_content"], "enc==", "its own goes back as it came");
    let own: Cassette = load("perplexity", "tools").unwrap();
    let item = &body("perplexity", vec![Message::of(Role::Assistant, own.reply.content)])["input"][1];
    assert_eq!(item["thought_signature"], "ts==");
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_a_tool_found_reaches_every_model_that_sees() {
    let found = ToolResult {
        content: vec![crate::model::Part::Image(Image::Url("https://pics.example/a.png".to_owned()))],
        ..ToolResult::text("call_a", "")
    };
    for adapter in ADAPTERS.into_iter().filter(|adapter| *adapter != "perplexity") {
        let body = body(adapter, vec![Message::results([found.clone()])]).to_string();
        assert!(body.contains("https://pics.example/a.png"), "{adapter}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_one_hour_cache_is_reserved_for_where_it_is_asked_for() {
    let bounds = |adapter: &str, scene: &str| remote(options(adapter), transport::unplugged()).bounds(&asked(scene));
    assert!(bounds("anthropic", "cache").hour_cache && !bounds("anthropic", "plain").hour_cache);
    assert!(!bounds("openai", "cache").hour_cache, "it takes no marks");
}
