//! Keys are shown to their provider and to nobody else, and may be rotated under way.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use policies::failure::FailureClass;

use super::cassette::{Answer, Cassette, load};
use super::*;
use crate::key::SecretSource;
use crate::model::Billed;

/// Words that a test changes.
#[derive(Clone)]
struct Place(Arc<Mutex<&'static str>>);

#[async_trait]
impl SecretSource for Place {
    async fn read(&self) -> Result<Secret, String> {
        match *self.0.lock().unwrap() {
            "" => Err("the file is gone".to_owned()),
            words => Ok(Secret::new(words)),
        }
    }
}

/// A provider that takes one key, and what it was shown.
fn provider(taken: &'static str) -> (Arc<dyn Transport>, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let slot = Arc::clone(&shown);
    let cassette: Cassette = load("compatible", "plain").unwrap();
    let transport = transport::scripted(move |request: Request<Bytes>| {
        let key = request.headers()["authorization"].to_str().unwrap().to_owned();
        assert!(!format!("{request:?}").contains(&key), "a key is shown by its header's debug form");
        let mut response = cassette.answer.response(None);
        if key != format!("Bearer {taken}") {
            *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        }
        slot.lock().unwrap().push(key);
        async move { Ok(response) }
    });
    (transport, shown)
}

fn model(place: &Place, transport: Arc<dyn Transport>) -> Remote {
    let key = Key::read_from(place.clone(), world(), Duration::from_secs(3600));
    remote(Options { key: Some(key), ..options("compatible") }, transport)
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_rotated_is_read_again_when_the_old_one_is_refused() {
    let place = Place(Arc::new(Mutex::new("old")));
    let (transport, shown) = provider("new");
    let model = model(&place, transport);
    let error = model.call(asking(), &Progress::default()).await.unwrap_err();
    assert_eq!((error.class, &error.billed), (FailureClass::Rejected, &Billed::No));
    assert!(error.message.contains("check the key"), "{error}");
    *place.0.lock().unwrap() = "new";
    for _ in 0..2 {
        model.call(asking(), &Progress::default()).await.unwrap();
    }
    assert_eq!(*shown.lock().unwrap(), ["Bearer old", "Bearer old", "Bearer new", "Bearer new"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_is_an_error_that_costs_nothing() {
    let place = Place(Arc::new(Mutex::new("")));
    let (transport, shown) = provider("new");
    let error = model(&place, transport).call(asking(), &Progress::default()).await.unwrap_err();
    assert_eq!((error.class, &error.billed), (FailureClass::Rejected, &Billed::No));
    assert!(error.message.contains("the file is gone") && shown.lock().unwrap().is_empty(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn options_do_not_show_the_key_and_a_bad_address_is_refused() {
    let told = format!("{:?}", options("anthropic"));
    assert!(!told.contains("test-key"), "{told}");
    for url in ["host:1", "ftp://host", ""] {
        let made = Remote::new(Options::compatible(url, "m"), &world(), transport::unplugged());
        assert!(matches!(made.err(), Some(OptionsError::BaseUrl { .. })), "{url}");
    }
}

/// A key as providers give them.
const KEY: &str = "sk-test-0123456789abcdef";

fn with_key(adapter: &str, answer: Answer) -> Remote {
    let key = Some(Key::fixed(Secret::new(KEY)));
    remote(Options { key, ..options(adapter) }, answer.player(None))
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_the_key_again_is_told_of_without_it() {
    for adapter in ADAPTERS {
        for (status, before, said) in [
            (401, 0, json!({ "error": { "message": format!("Incorrect API key provided: {KEY}.") } }).to_string()),
            (401, 280, json!({ "error": { "message": format!("{}{KEY}", "a ".repeat(145)) } }).to_string()),
            (503, 0, format!("no room for {KEY}")),
            (200, 0, json!({ "error": { "message": format!("{KEY} ran out") } }).to_string()),
            (200, 0, json!({ "id": { KEY: 7 }, "content": KEY, "choices": KEY, "output": KEY }).to_string()),
        ] {
            let headers = [("x-request-id".to_owned(), format!("of {KEY}"))].into();
            let answer = Answer { status, headers, pieces: vec![said.clone()], cut: false };
            let error = with_key(adapter, answer).call(asking(), &Progress::default()).await.unwrap_err();
            assert!(!error.message.contains("sk-"), "{adapter} {status} {said}: {error}");
            assert!(before > 0 || status == 200 || error.message.contains("[redacted]"), "{adapter}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_says_the_key_again_is_kept_without_it() {
    let call = json!({ "id": KEY, "function": { "name": KEY, "arguments": json!({ "city": KEY }).to_string() } });
    let message = json!({ "content": format!("It is {KEY}."), "reasoning": KEY, "tool_calls": [call] });
    let choice = json!({ "message": message, "finish_reason": "stop" });
    let body = json!({ "id": KEY, "model": KEY, "choices": [choice] }).to_string();
    let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    let answer = Answer { status: 200, headers, pieces: vec![body], cut: false };
    let reply = with_key("compatible", answer).call(asked("tools"), &Progress::default()).await.unwrap();
    assert_eq!(reply.text(), "It is [redacted].");
    assert_eq!((reply.remote_id.as_deref(), reply.model.as_deref()), (Some("[redacted]"), Some("[redacted]")));
    assert!(!serde_json::to_string(&reply.content).unwrap().contains(KEY), "{:?}", reply.content);
}
