//! A talk that is begun with one provider and goes on with others: what each is sent of it.

use serde_json::{Value, json};

use super::cassette::{Cassette, load};
use super::*;

/// What a provider answered in a recorded exchange.
fn said(adapter: &str, scene: &str) -> Vec<Block> {
    load::<Cassette>(adapter, scene).unwrap().reply.content
}

/// A turn in which the model of this provider thinks, and then asks for the weather.
fn thinks_and_asks(adapter: &str) -> Message {
    let thoughts = said(adapter, "thinking").into_iter();
    let thoughts = thoughts.filter(|block| matches!(block, Block::Thinking { .. } | Block::Redacted(_)));
    Message::of(Role::Assistant, thoughts.chain(said(adapter, "tools")).collect())
}

/// What the tool has answered to all that a turn asked for.
fn answered(turn: &Message, words: &str) -> Message {
    let calls =
        turn.content.iter().filter_map(|block| if let Block::ToolCall(call) = block { Some(call) } else { None });
    Message::results(calls.map(|call| ToolResult::text(&call.id, words)))
}

/// A talk in which each of these has had its turn, and its tools have answered.
fn talk(adapters: &[&str]) -> Vec<Message> {
    let mut messages = asking().messages;
    for (nth, adapter) in adapters.iter().enumerate() {
        let turn = thinks_and_asks(adapter);
        let results = answered(&turn, &format!("rain {nth}"));
        messages.extend([turn, results]);
    }
    messages
}

fn asked_of(adapter: &str, messages: Vec<Message>) -> Value {
    sent(adapter, &ModelRequest { messages, tools: vec![weather()], ..asking() })
}

const CITY: &str = "{\"city\":\"Paris\"}";

#[tokio::test(start_paused = true)]
async fn from_anthropic_to_chat_completions() {
    let function = json!({ "name": "weather", "arguments": CITY });
    let calls = json!([{ "id": "toolu_1", "type": "function", "function": function }]);
    assert_eq!(
        asked_of("openai", talk(&["anthropic"]))["messages"],
        json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Announce the lamp." },
            { "role": "assistant", "content": "I will look.", "tool_calls": calls },
            { "role": "tool", "tool_call_id": "toolu_1", "content": "rain 0" },
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn from_anthropic_over_chat_completions_to_responses() {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "weather", "arguments": CITY });
    let output = |id: &str, output: &str| json!({ "type": "function_call_output", "call_id": id, "output": output });
    let body = asked_of("responses", talk(&["anthropic", "openai"]));
    assert_eq!(body["instructions"], "Be brief.");
    assert_eq!(
        body["input"],
        json!([
            { "type": "message", "role": "user", "content": "Announce the lamp." },
            { "type": "message", "role": "assistant", "content": "I will look." },
            call("toolu_1"),
            output("toolu_1", "rain 0"),
            { "type": "message", "role": "assistant", "content": "I will look." },
            call("call_1"),
            output("call_1", "rain 1"),
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn and_back_to_anthropic_whose_own_thoughts_are_still_there() {
    // Two of the providers gave their calls the same id.
    let messages = talk(&["anthropic", "openai", "responses"]);
    let body = asked_of("anthropic", messages.clone());
    assert_eq!(body["system"], json!([{ "type": "text", "text": "Be brief." }]));
    let third = body["messages"][5]["content"][1]["id"].as_str().unwrap().to_owned();
    assert!(third.starts_with("call_") && third != "call_1", "{third}");
    let text = |text: &str| json!({ "type": "text", "text": text });
    let turn = |id: &str| {
        let call = json!({ "type": "tool_use", "id": id, "name": "weather", "input": { "city": "Paris" } });
        json!({ "role": "assistant", "content": [text("I will look."), call] })
    };
    let results = |id: &str, words: &str| {
        let result = json!({ "type": "tool_result", "tool_use_id": id, "content": [text(words)], "is_error": false });
        json!({ "role": "user", "content": [result] })
    };
    let mut first = turn("toolu_1");
    let thoughts = [
        json!({ "type": "thinking", "thinking": "Short words will do.", "signature": "EqQBsig==" }),
        json!({ "type": "redacted_thinking", "data": "hidden==" }),
    ];
    first["content"].as_array_mut().unwrap().splice(0..0, thoughts);
    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": [text("Announce the lamp.")] },
            first,
            results("toolu_1", "rain 0"),
            turn("call_1"),
            results("call_1", "rain 1"),
            turn(&third),
            results(&third, "rain 2"),
        ])
    );
    // The next turn has the same ids, so that what was kept of the talk still counts.
    let longer = [messages, vec![Message::assistant("Rain."), Message::user("Again.")]].concat();
    let again = asked_of("anthropic", longer);
    let kept = body["messages"].as_array().unwrap();
    assert!(again["messages"].as_array().unwrap().starts_with(kept));
}

#[tokio::test(start_paused = true)]
async fn and_back_to_responses_whose_own_thoughts_are_still_there() {
    let body = asked_of("responses", talk(&["responses", "anthropic"]));
    let kinds: Vec<&str> =
        body["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    let turn = ["message", "function_call", "function_call_output"];
    assert_eq!(kinds, [&["message", "reasoning"], &turn[..], &turn[..]].concat());
    let thought = &body["input"][1];
    assert_eq!((&thought["id"], &thought["encrypted_content"]), (&json!("rs_1"), &json!("enc==")));
    assert!(!body.to_string().contains("EqQBsig==") && !body.to_string().contains("hidden=="), "{body}");
}

#[tokio::test(start_paused = true)]
async fn every_adapter_goes_on_with_the_talk_of_every_other() {
    let speakers = ["anthropic", "openai", "compatible", "responses", "perplexity"];
    for from in speakers {
        for to in speakers {
            let body = asked_of(to, talk(&[from])).to_string();
            for part in ["I will look.", "rain 0", "Paris", "Announce the lamp."] {
                assert!(body.contains(part), "{from} to {to}: {part} is missing: {body}");
            }
            for (family, secret) in [("anthropic", "EqQBsig=="), ("responses", "enc=="), ("perplexity", "\"ts==\"")] {
                assert!(from == to || !body.contains(secret), "{from} to {to}: {family}'s own was sent: {body}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_nothing_but_another_ones_thoughts_is_left_out() {
    let thoughts = said("anthropic", "thinking").into_iter().take(2).collect();
    let messages = [asking().messages, vec![Message::of(Role::Assistant, thoughts), Message::user("Go on.")]].concat();
    for (adapter, key) in [("openai", "messages"), ("responses", "input"), ("compatible", "messages")] {
        let body = asked_of(adapter, messages.clone());
        let roles: Vec<_> = body[key].as_array().unwrap().iter().map(|turn| turn["role"].clone()).collect();
        assert!(!roles.contains(&json!("assistant")), "{adapter}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_thought_waits_where_another_asked_for_the_tools() {
    let thinking = |messages: Vec<Message>, thinking| {
        let request = ModelRequest { messages, tools: vec![weather()], thinking: Some(thinking), ..asking() };
        sent("anthropic", &request)["thinking"]["type"].clone()
    };
    let budget = Thinking::Budget(Tokens(100));
    assert_eq!(thinking(talk(&["openai"]), budget), "disabled", "its turn would have to begin with a thought");
    assert_eq!(thinking(talk(&["openai"]), Thinking::Effort(Effort::Low)), "adaptive");
    assert_eq!(thinking(talk(&["anthropic"]), budget), "enabled");
    assert_eq!(thinking(asking().messages, budget), "enabled");
    let over = [talk(&["openai"]), vec![Message::assistant("Rain."), Message::user("Again.")]].concat();
    assert_eq!(thinking(over, budget), "enabled", "the next turn of the user begins anew");
}
