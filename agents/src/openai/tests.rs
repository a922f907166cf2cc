use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::transport::{self, Body, Transport, TransportError, TransportErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use policies::failure::FailureClass;
use policies::tokens::{Tokens, Usage};

use super::{Dialect, OpenAi, Options, OptionsError, Prefill};
use crate::model::{Billed, Finish, Message, Model, ModelError, ModelReply, ModelRequest, Progress};
use crate::secret::Secret;

const SSE: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

fn request() -> ModelRequest {
    let messages = vec![Message::system("Be brief."), Message::user("Say hello.")];
    ModelRequest { seed: 7, ..ModelRequest::asking(messages, Tokens(20)) }
}

fn reset() -> TransportError {
    TransportError { kind: TransportErrorKind::Reset, sent: true, message: "cut".to_owned() }
}

/// A server that answers everything so, byte by byte, and then maybe breaks off.
fn server(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    broken: bool,
) -> Arc<dyn Transport> {
    transport::scripted(move |_| async move {
        let bytes = body.as_bytes().chunks(1).map(|byte| Ok(Bytes::from_static(byte)));
        let pieces: Vec<_> = bytes.chain(broken.then(|| Err(reset()))).collect();
        let body: Body = futures::stream::iter(pieces).boxed();
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Ok(response.body(body).unwrap())
    })
}

async fn call(transport: Arc<dyn Transport>, request: ModelRequest) -> Result<ModelReply, ModelError> {
    let model = OpenAi::new(Options::new("http://host/v1/", "m"), transport).unwrap();
    model.call(request, &Progress::default()).await
}

async fn fails(transport: Arc<dyn Transport>) -> (FailureClass, Billed, Option<Duration>) {
    let error = call(transport, request()).await.unwrap_err();
    (error.class, error.billed, error.retry_after)
}

#[tokio::test(start_paused = true)]
async fn reads_a_stream_with_its_usage() {
    let stream = concat!(
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        ": still here\n\n",
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"length\"}],\"usage\":null}\n\n",
        "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,\"total_tokens\":12,",
        "\"prompt_tokens_details\":{\"cached_tokens\":4,\"cache_write_tokens\":null}}}\n\n",
        "data: [DONE]\n\n",
    );
    let reply = call(server(200, &[("content-type", SSE)], stream, false), request()).await.unwrap();
    assert_eq!((&*reply.text(), reply.finish, reply.remote_id.as_deref()), ("Hello", Finish::Length, Some("c1")));
    assert_eq!(reply.usage, Usage { input: Tokens(6), cache_read: Tokens(4), output: Tokens(2), ..Usage::default() });
}

#[tokio::test(start_paused = true)]
async fn reads_a_whole_reply_even_if_a_stream_was_asked_for() {
    let body = r#"{"id":"c2","object":"chat.completion","extra":1,"choices":[{"message":{"role":"assistant","content":"Hello","refusal":null},
        "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
    let reply = call(server(200, &[("content-type", JSON)], body, false), request()).await.unwrap();
    assert_eq!((&*reply.text(), reply.finish, reply.usage.input), ("Hello", Finish::Stop, Tokens(3)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_early_may_have_been_billed() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    for broken in [false, true] {
        assert_eq!(
            fails(server(200, &[("content-type", SSE)], begun, broken)).await,
            (FailureClass::ProviderDown, Billed::Unknown, None)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_without_usage_is_charged_at_most() {
    let ended = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"},\"finish_reason\":\"stop\"}]}\n\n";
    for broken in [false, true] {
        let reply = call(server(200, &[("content-type", SSE)], ended, broken), request()).await.unwrap();
        let model = OpenAi::new(Options::new("http://h", "m"), transport::unplugged()).unwrap();
        assert_eq!((reply.usage.input, reply.usage.output), (model.count(&request()), Tokens(5)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_middle_of_a_stream_is_classified() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    for (error, class) in [
        (
            "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
            FailureClass::ProviderDown,
        ),
        (
            "data: {\"error\":{\"message\":\"x\",\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\"}}\n\n",
            FailureClass::Rejected,
        ),
        ("data: {\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}\n\n", FailureClass::RateLimited),
        ("data: {\"error\":{\"message\":\"x\",\"type\":\"BadRequest\",\"code\":400}}\n\n", FailureClass::Rejected),
        ("{\"error\":\"model runner has stopped\"}\n", FailureClass::ProviderDown),
    ] {
        let body: &'static str = Box::leak(format!("{begun}{error}").into_boxed_str());
        assert_eq!(
            fails(server(200, &[("content-type", SSE)], body, false)).await,
            (class, Billed::Unknown, None),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_say_class_wait_and_bill() {
    const QUOTA: &str = r#"{"error":{"message":"You exceeded your quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (status, headers, body, expected) in [
        (429, &[("retry-after", "7")][..], "{}", (FailureClass::RateLimited, Billed::No, seconds(7))),
        (
            429,
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1m3s"),
                ("x-ratelimit-remaining-tokens", "5"),
                ("x-ratelimit-reset-tokens", "9h"),
            ],
            "",
            (FailureClass::RateLimited, Billed::No, seconds(63)),
        ),
        (429, &[("retry-after", "7")], QUOTA, (FailureClass::Rejected, Billed::No, None)),
        (401, &[], r#"{"error":"bad key"}"#, (FailureClass::Rejected, Billed::No, None)),
        (400, &[], "<html>", (FailureClass::Rejected, Billed::No, None)),
        (302, &[], "", (FailureClass::Rejected, Billed::No, None)),
        (500, &[], "", (FailureClass::ProviderDown, Billed::Unknown, None)),
        (503, &[("retry-after", "2")], "", (FailureClass::ProviderDown, Billed::No, seconds(2))),
        (504, &[], "", (FailureClass::ProviderDown, Billed::Unknown, None)),
    ] {
        assert_eq!(fails(server(status, headers, body, false)).await, expected, "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_not_billed() {
    for (sent, billed) in [(false, Billed::No), (true, Billed::Unknown)] {
        let transport = transport::scripted(move |_| async move { Err(TransportError { sent, ..reset() }) });
        assert_eq!(fails(transport).await, (FailureClass::ProviderDown, billed, None));
    }
}

#[tokio::test(start_paused = true)]
async fn nonsense_under_200_is_an_error() {
    for (kind, body) in
        [(JSON, "<html>"), (JSON, "{}"), (JSON, "[]"), (SSE, "data: nope\n\n"), (SSE, ""), (SSE, "data: [DONE]\n\n")]
    {
        let headers: &'static [_] = if kind == JSON { &[("content-type", JSON)] } else { &[("content-type", SSE)] };
        assert_eq!(fails(server(200, headers, body, false)).await.0, FailureClass::ProviderDown, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_model_is_an_error() {
    let body = r#"{"choices":[{"message":{"content":null,"refusal":"I cannot"},"finish_reason":"stop"}]}"#;
    assert_eq!(
        fails(server(200, &[("content-type", JSON)], body, false)).await,
        (FailureClass::Rejected, Billed::Unknown, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_ends_at_once() {
    let transport = transport::scripted(|_| std::future::pending());
    let model = OpenAi::new(Options::new("http://h/v1", "m"), transport).unwrap();
    let progress = Progress::default();
    let (outcome, ()) = tokio::join!(model.call(request(), &progress), async { progress.cancel() });
    assert_eq!(outcome.unwrap_err().class, FailureClass::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn the_reply_begins_with_the_prefill_and_ends_before_a_stop_word() {
    for (said, expected) in [("Hi: there END more", "Hi: there "), (" there\nmore", "Hi: there"), ("", "Hi:")] {
        let body =
            serde_json::json!({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}).to_string();
        let body: &'static str = Box::leak(body.into_boxed_str());
        let asked = ModelRequest {
            prefill: Some("Hi:".to_owned()),
            stop: vec!["END".to_owned(), "\n".to_owned()],
            ..request()
        };
        let reply = call(server(200, &[("content-type", JSON)], body, false), asked).await.unwrap();
        assert_eq!(reply.text(), expected, "{said}");
    }
}

/// The request as the server sees it.
async fn seen(options: Options, request: ModelRequest) -> (Request<Bytes>, serde_json::Value) {
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    let transport = transport::scripted(move |request| {
        *slot.lock().unwrap() = Some(request);
        async { Err(reset()) }
    });
    let model = OpenAi::new(options, transport).unwrap();
    model.call(request, &Progress::default()).await.unwrap_err();
    let request = seen.lock().unwrap().take().unwrap();
    let body = serde_json::from_slice(request.body()).unwrap();
    (request, body)
}

#[tokio::test(start_paused = true)]
async fn sends_what_each_dialect_knows() {
    let asked = ModelRequest { prefill: Some("So".to_owned()), stop: vec!["x".to_owned(); 6], ..request() };
    let options =
        Options { api_key: Some(Secret::new("sk-1")), prefill: Prefill::Continue, ..Options::new("http://h/v1", "m") };
    let (http, body) = seen(options, asked.clone()).await;
    assert_eq!(http.uri(), "http://h/v1/chat/completions");
    assert_eq!(http.headers()["authorization"], "Bearer sk-1");
    assert!(!format!("{http:?}").contains("sk-1"));
    assert_eq!(
        (&body["model"], &body["max_tokens"], &body["stream_options"]["include_usage"]),
        (&"m".into(), &20.into(), &true.into())
    );
    assert_eq!(body["stop"].as_array().unwrap().len(), 4);
    assert_eq!(body["messages"][2], serde_json::json!({"role": "assistant", "content": "So"}));

    let options = Options { dialect: Dialect::OpenAi, stream: false, ..Options::new("https://h/v1", "m") };
    let (http, body) = seen(options, asked).await;
    assert!(http.headers().get("authorization").is_none());
    assert_eq!((&body["max_completion_tokens"], &body["stream"]), (&20.into(), &false.into()));
    assert!(body.get("max_tokens").is_none() && body.get("stream_options").is_none());
    assert!(body["messages"][1]["content"].as_str().unwrap().ends_with("So"));
}

#[test]
fn bad_options_are_refused_and_never_show_the_key() {
    let make = |options| OpenAi::new(options, transport::unplugged()).err();
    assert!(matches!(make(Options::new("host:1", "m")), Some(OptionsError::BaseUrl { .. })));
    assert!(matches!(make(Options::new("ftp://host", "m")), Some(OptionsError::BaseUrl { .. })));
    let options = Options { api_key: Some(Secret::new("s3cr3t\n")), ..Options::new("http://h", "m") };
    assert!(!format!("{options:?}").contains("s3cr3t"));
    let error = make(options).unwrap();
    assert!(matches!(error, OptionsError::ApiKey { .. }) && !error.to_string().contains("s3cr3t"));
}

#[test]
fn counts_never_less_than_a_token_for_each_byte() {
    let model = OpenAi::new(Options::new("http://h", "m"), transport::unplugged()).unwrap();
    let bytes: usize = request().messages.iter().map(|message| message.text().len()).sum();
    assert!(model.count(&request()).0 >= bytes as u64);
}
