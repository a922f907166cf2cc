//! The beginning and the end of a reply, what is charged where a server does not say, and what differs
//! from one set-up to another.

use std::sync::Mutex;

use bytes::Bytes;
use http::Request;
use policies::failure::FailureClass;
use policies::tokens::Usage;
use serde_json::Value;

use super::cassette::{Answer, Cassette, broken, load};
use super::*;
use crate::model::Finish;

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// A server that answers everything so, byte by byte.
fn server(kind: &str, body: impl Into<String>, cut: bool) -> Arc<dyn Transport> {
    let headers = [("content-type".to_owned(), kind.to_owned())].into();
    Answer { status: 200, headers, pieces: vec![body.into()], cut }.player(Some(1))
}

async fn call(transport: Arc<dyn Transport>, request: ModelRequest) -> ModelReply {
    remote(options("compatible"), transport).call(request, &Progress::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_whole_reply_is_read_even_if_a_stream_was_asked_for() {
    let Cassette { answer, .. } = load("compatible", "plain").unwrap();
    assert_eq!(call(answer.player(None), asking()).await.text(), SAID);
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_without_usage_is_charged_at_most() {
    let ended = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"},\"finish_reason\":\"stop\"}]}\n\n";
    for cut in [false, true] {
        let reply = call(server(SSE, ended, cut), asking()).await;
        let model = remote(options("compatible"), transport::unplugged());
        assert_eq!((reply.usage.input, reply.usage.output), (model.count(&asking()), Tokens(5)));
    }
    let tool = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"weather\",\
                \"arguments\":{\"city\":\"Rome\"}}}]},\"finish_reason\":\"tool_calls\"}]}\n\n";
    let reply = call(server(SSE, tool, false), asked("tools")).await;
    assert_eq!(reply.usage.output, Tokens(200), "what it wrote of calls is not known");
    assert_eq!(reply.tool_calls().next().unwrap().arguments, json!({ "city": "Rome" }));
}

#[tokio::test(start_paused = true)]
async fn arguments_that_are_no_json_are_handed_on_as_they_are() {
    let tool = json!({ "choices": [{ "finish_reason": "tool_calls", "message": { "tool_calls": [
        { "id": "", "function": { "name": "weather", "arguments": "{\"city\": " } },
        { "id": "b", "function": { "name": "weather", "arguments": "" } },
    ] } }], "usage": Usage::default() });
    let reply = call(server(JSON, tool.to_string(), false), asked("tools")).await;
    let calls: Vec<_> = reply.tool_calls().map(|call| (call.id.as_str(), call.arguments.clone())).collect();
    assert_eq!(calls, [("call_0", json!("{\"city\": ")), ("b", json!({}))]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_ends_at_once() {
    let model = remote(options("responses"), transport::scripted(|_| std::future::pending()));
    let progress = Progress::default();
    let (outcome, ()) = tokio::join!(model.call(asking(), &progress), async { progress.cancel() });
    assert_eq!(outcome.unwrap_err().class, FailureClass::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn the_reply_begins_with_the_prefill_and_ends_before_a_stop_word() {
    for (said, expected) in [("Hi: there END more", "Hi: there "), (" there\nmore", "Hi: there"), ("", "Hi:")] {
        let body = json!({"choices": [{"message": {"content": said}, "finish_reason": "length"}]}).to_string();
        let stop = vec!["END".to_owned(), "\n".to_owned()];
        let reply = call(server(JSON, body, false), ModelRequest { prefill: Some("Hi:".to_owned()), stop, ..asking() });
        let reply = reply.await;
        assert_eq!(reply.text(), expected, "{said}");
        assert_eq!(reply.finish == Finish::Stop, !said.is_empty(), "a stop word was met before the length");
    }
}

/// The request as the provider sees it.
async fn seen(options: Options, request: ModelRequest) -> (Request<Bytes>, Value) {
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    let transport = transport::scripted(move |request| {
        *slot.lock().unwrap() = Some(request);
        async { Err(broken()) }
    });
    remote(options, transport).call(request, &Progress::default()).await.unwrap_err();
    let request = seen.lock().unwrap().take().unwrap();
    let body = serde_json::from_slice(request.body()).unwrap();
    (request, body)
}

#[tokio::test(start_paused = true)]
async fn a_prefill_is_asked_for_or_gone_on_from() {
    let request = ModelRequest { prefill: Some("So".to_owned()), ..asking() };
    for adapter in ADAPTERS {
        let (_, body) = seen(options(adapter), request.clone()).await;
        let body = body.to_string();
        assert!(body.contains("exactly these words, then go on: So"), "{adapter}: {body}");
    }
    for adapter in ["compatible", "anthropic"] {
        let (_, body) = seen(Options { prefill: Prefill::Continue, ..options(adapter) }, request.clone()).await;
        let last = body["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["role"], "assistant", "{adapter}");
        assert!(last["content"] == "So" || last["content"][0]["text"] == "So", "{adapter}: {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_provider_is_sent_no_more_stop_words_than_it_takes() {
    let stop: Vec<String> = ["\n", "a", "b", "c", "d"].map(str::to_owned).into();
    let request = ModelRequest { stop, ..asking() };
    for (adapter, key, count) in [
        ("openai", "stop", Some(4)),
        ("sonar", "stop", None),
        ("responses", "stop", None),
        ("anthropic", "stop_sequences", Some(4)),
    ] {
        let (_, body) = seen(options(adapter), request.clone()).await;
        assert_eq!(body.get(key).map(|words| words.as_array().unwrap().len()), count, "{adapter}");
    }
}

#[tokio::test(start_paused = true)]
async fn sampling_and_the_keys_header_are_set_up() {
    let (http, body) = seen(Options { sampling: Some(false), ..options("openai") }, asking()).await;
    assert!(body.get("temperature").is_none() && body.get("seed").is_none());
    assert_eq!(http.headers()["authorization"], "Bearer test-key");
    let set = Options { sampling: Some(true), auth: Some(Auth::XApiKey), ..options("responses") };
    let (http, body) = seen(set, asking()).await;
    assert_eq!((body["temperature"].as_f64(), &http.headers()["x-api-key"]), (Some(0.4), &"test-key".parse().unwrap()));
    let (http, _) = seen(Options { key: None, ..options("anthropic") }, asking()).await;
    assert!(http.headers().get("x-api-key").is_none());
}

#[tokio::test(start_paused = true)]
async fn thinking_is_asked_for_in_each_providers_words() {
    let thinking = |thinking| ModelRequest { thinking: Some(thinking), output_max: Tokens(9000), ..asking() };
    let (off, budget) = (thinking(Thinking::Off), thinking(Thinking::Budget(Tokens(4096))));
    let (_, body) = seen(options("anthropic"), off.clone()).await;
    assert_eq!(body["thinking"], json!({ "type": "disabled" }));
    let (_, body) = seen(options("anthropic"), budget.clone()).await;
    assert_eq!(body["thinking"], json!({ "type": "enabled", "budget_tokens": 4096 }));
    let (_, body) = seen(options("openai"), budget).await;
    assert_eq!((&body["reasoning_effort"], body.get("temperature")), (&json!("medium"), None));
    let (_, body) = seen(options("openai"), off).await;
    assert!(body["reasoning_effort"] == "none" && body.get("temperature").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_event_may_carry_a_whole_reply_however_long_it_is() {
    let text = "word ".repeat(500_000);
    let content = json!([{ "type": "output_text", "text": text }]);
    let output = json!([{ "type": "message", "content": content }]);
    let usage = json!({ "input_tokens": 7, "output_tokens": 500_000 });
    let response = json!({ "id": "r", "status": "completed", "output": output, "usage": usage });
    let event = json!({ "type": "response.completed", "response": response });
    let headers = [("content-type".to_owned(), SSE.to_owned())].into();
    let answer = Answer { status: 200, headers, pieces: vec![format!("data: {event}\n\n")], cut: false };
    let reply = remote(options("responses"), answer.player(None)).call(asking(), &Progress::default()).await.unwrap();
    assert_eq!((reply.text().len(), reply.usage.output), (text.len(), Tokens(500_000)));
}

#[tokio::test(start_paused = true)]
async fn counts_without_measure_neither_wrap_nor_panic() {
    let most = u64::MAX;
    let calls = json!({ "web_search": { "invocation": most }, "image_search": { "invocation": most } });
    let usage = json!({ "input_tokens": most, "output_tokens": most, "tool_calls_details": calls,
                        "output_tokens_details": { "reasoning_tokens": most } });
    let content = json!([{ "type": "output_text", "text": "Hello." }]);
    let output = json!([{ "type": "message", "content": content }]);
    let body = json!({ "id": "r", "status": "completed", "output": output, "usage": usage }).to_string();
    let server = server(JSON, body, false);
    let reply = remote(options("perplexity"), server).call(asking(), &Progress::default()).await.unwrap();
    assert_eq!((reply.usage.searches, (reply.usage + reply.usage).output), (most, Tokens(most)));
    let usage = json!({ "prompt_tokens": most, "completion_tokens": most, "reasoning_tokens": most,
                        "num_search_queries": most, "cost": { "total_cost": 1e300 } });
    let choices = json!([{ "message": { "content": "Hello." }, "finish_reason": "stop" }]);
    let server = self::server(JSON, json!({ "choices": choices, "usage": usage }).to_string(), false);
    let reply = remote(options("sonar"), server).call(asking(), &Progress::default()).await.unwrap();
    assert_eq!((reply.usage.output, reply.usage.cost_told), (Tokens(most), None));
}
