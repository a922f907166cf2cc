//! What each provider's errors mean: one table for each, in its cassettes.

use std::collections::BTreeSet;
use std::sync::Mutex;

use actors::transport::TransportError;
use policies::failure::FailureClass;
use serde::Deserialize;

use super::super::fault::{On, SPENT, Told};
use super::cassette::{Answer, broken, load};
use super::*;
use crate::model::{Billed, RateNews};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    answer: Answer,
    error: Meant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meant {
    class: FailureClass,
    billed: Billed,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

#[tokio::test(start_paused = true)]
async fn each_error_has_its_class_its_wait_and_its_bill() {
    for adapter in ADAPTERS.into_iter().filter(|adapter| *adapter != "anthropic-2023") {
        for Case { name, answer, error: meant } in load::<Vec<Case>>(adapter, "errors").unwrap() {
            for size in [None, Some(1)] {
                let model = remote(options(adapter), answer.clone().player(size));
                let outcome = model.call(asking(), &Progress::default()).await;
                let error = outcome.err().unwrap_or_else(|| panic!("{adapter} {name} is no error"));
                let wanted = (meant.class, &meant.billed, meant.retry_after_ms.map(Duration::from_millis));
                assert_eq!((error.class, &error.billed, error.retry_after), wanted, "{adapter} {name}: {error}");
                assert!(!error.message.contains("test-key"), "{error}");
            }
        }
    }
}

#[test]
fn no_money_left_is_never_tried_again_whatever_the_headers_say() {
    let mut headers = http::HeaderMap::new();
    headers.insert("x-should-retry", "true".parse().unwrap());
    headers.insert("retry-after", "1".parse().unwrap());
    for api in [Api::Anthropic(Version::default()), Api::Chat(ChatDialect::OpenAi)] {
        let faults = remote(Options::new(api, "http://a", "m"), transport::unplugged()).faults();
        let rules = faults.table.0;
        let spent: Vec<_> = rules.iter().filter(|rule| rule.advice == SPENT).collect();
        assert!(spent.len() >= 5, "{api:?}");
        for rule in spent {
            let On::Kind(kind) = rule.on else { panic!("{:?}", rule.on) };
            let body = json!({ "error": { "type": kind, "message": "no" } }).to_string();
            for status in [400, 402, 429, 500] {
                let status = http::StatusCode::from_u16(status).unwrap();
                let error = faults.refused(&"http://a".parse().unwrap(), status, &headers, body.as_bytes());
                assert_eq!((error.class, &error.billed), (FailureClass::Rejected, &Billed::No), "{kind} {status}");
            }
        }
        headers.insert("request-id", "req_7".parse().unwrap());
        let error = faults.refused(&"http://a".parse().unwrap(), http::StatusCode::CONFLICT, &headers, b"{}");
        assert!(error.message.ends_with("(request req_7)"), "{error}");
        let kinds: Vec<_> = rules.iter().map(|rule| format!("{:?}", rule.on)).collect();
        assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len(), "{api:?}: a kind has two rules");
    }
}

#[test]
fn a_status_that_refuses_costs_nothing_whatever_its_words_and_a_reply_that_broke_off_is_in_doubt() {
    let url: http::Uri = "http://a".parse().unwrap();
    for adapter in ADAPTERS {
        let faults = remote(options(adapter), transport::unplugged()).faults();
        for kind in ["server_error", "internal_server_error", "api_error", "timeout_error"] {
            let told = json!({ "error": { "type": kind, "message": "no" } });
            let body = told.to_string();
            for (status, billed) in [
                (429, Billed::No),
                (501, Billed::No),
                (503, Billed::No),
                (529, Billed::No),
                (500, Billed::Unknown),
                (504, Billed::Unknown),
            ] {
                let code = http::StatusCode::from_u16(status).unwrap();
                let error = faults.refused(&url, code, &http::HeaderMap::new(), body.as_bytes());
                assert_eq!(error.billed, billed, "{adapter} {status} {kind}: {error}");
            }
            assert_eq!(faults.told(&url, &Told::of(&told)).billed, Billed::Unknown, "{adapter} {kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_not_billed() {
    for (sent, billed) in [(false, Billed::No), (true, Billed::Unknown)] {
        let transport = transport::scripted(move |_| async move { Err(TransportError { sent, ..broken() }) });
        let error = remote(options("anthropic"), transport).call(asking(), &Progress::default()).await.unwrap_err();
        assert_eq!((error.class, error.billed), (FailureClass::ProviderDown, billed));
    }
}

/// What the adapter passes on of an answer's head.
async fn news(adapter: &str, status: u16, pairs: &[(&str, &str)]) -> RateNews {
    let headers = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let answer = Answer { status, headers, pieces: Vec::new(), cut: false };
    let told = Arc::new(Mutex::new(None));
    let progress = Progress::default();
    let slot = Arc::clone(&told);
    progress.on_news(move |news| *slot.lock().unwrap() = Some(news));
    let _ = remote(options(adapter), answer.player(None)).call(asking(), &progress).await;
    let news = told.lock().unwrap().take();
    news.unwrap()
}

#[tokio::test(start_paused = true)]
async fn limits_are_passed_on_from_good_answers_and_bad_ones() {
    let used_up = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "12ms")];
    assert_eq!(news("openai", 200, &used_up).await.hold(), Some(Duration::from_millis(12)));
    let refused = [("retry-after", "9")];
    assert_eq!(news("openai", 429, &refused).await.hold(), Some(Duration::from_secs(9)));
    assert_eq!(news("openai", 503, &refused).await.hold(), None, "that is the breaker's");
    let moment = [
        ("date", "Wed, 25 Nov 2026 19:00:00 GMT"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-11-25T19:00:20Z"),
    ];
    assert_eq!(news("anthropic", 200, &moment).await.hold(), Some(Duration::from_secs(20)));
}
