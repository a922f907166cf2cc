//! Plays on a server that is a function, in no time.

use std::sync::{Mutex, PoisonError};

use actors::transport;
use axum::body::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::experiment::read;

/// What a server was asked: method and path.
type Asked = Arc<Mutex<Vec<String>>>;

/// A server that takes every fault, and runs with this status; a run that it has taken has finished.
fn server(runs: u16) -> (World, Asked) {
    let asked = Asked::default();
    let ear = Arc::clone(&asked);
    let finished = json!({ "kind": "run.finished", "payload": { "type": "finished" } });
    let http = transport::scripted(move |request: http::Request<Bytes>| {
        let line = format!("{} {}", request.method(), request.uri().path());
        ear.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        let fault: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let shown = json!({ "id": "a", "fault": fault, "began": 0, "standing": "in_force", "hits": 1 });
        let (status, body) = match line.as_str() {
            "POST /v1/chaos/faults" => (201, shown),
            "GET /v1/chaos/faults" | "DELETE /v1/chaos/faults" => (200, json!({ "faults": [] })),
            "GET /health" => (200, json!({ "guards": {} })),
            "POST /v1/runs" => (runs, json!({ "id": "r" })),
            "GET /v1/runs/r" => (200, json!({ "status": "running" })),
            _ => (404, finished.clone()),
        };
        let response = http::Response::builder().status(status).body(transport::body(body.to_string())).unwrap();
        async move { Ok(response) }
    });
    (World::simulated(1, http), asked)
}

fn experiment(more: &str) -> Experiment {
    let text = format!(
        "[experiment]\nname = 'x'\nmodes = ['live']\nduration = '1m'\nquiet = '1m'\n[workload]\nruns = 2\n\
         arrival = '1/s'\n[[fault]]\nkind = 'provider_reset'\nat = '5s..50s'\n{more}"
    );
    read("x.toml", &text).unwrap()
}

fn options() -> LiveOptions {
    let (url, publisher) = ("http://here".to_owned(), "feed".to_owned());
    LiveOptions { url, token: Secret::new("t"), publisher, seed: 1 }
}

fn last(asked: &Asked) -> String {
    asked.lock().unwrap().last().cloned().unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_aborts_by_itself_and_stops_all_faults() {
    let (world, asked) = server(503);
    let experiment = experiment("[abort]\non = 'error_rate > 0.5'\n");
    let played = play_in(&world, &experiment, &options(), std::future::pending()).await.unwrap();
    let why = played.aborted.unwrap();
    assert!(why.contains("`error_rate` was 1.00, past 0.5"), "{why}");
    assert!(played.history.broken.is_some());
    assert!(world.elapsed() < Duration::from_secs(60));
    assert_eq!(last(&asked), "DELETE /v1/chaos/faults");
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_stops_all_faults() {
    let (world, asked) = server(200);
    let interrupt = tokio::time::sleep(Duration::from_secs(7));
    let error = play_in(&world, &experiment(""), &options(), interrupt).await.unwrap_err();
    assert!(matches!(error, LiveError::Interrupted));
    assert!(asked.lock().unwrap().contains(&"POST /v1/chaos/faults".to_owned()));
    assert_eq!(last(&asked), "DELETE /v1/chaos/faults");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_quiet_time_and_tells_what_has_no_end() {
    let (world, asked) = server(200);
    let played = play_in(&world, &experiment(""), &options(), std::future::pending()).await.unwrap();
    let last_seen = played.history.seen.last().unwrap();
    assert!(matches!(last_seen.what, Seen::Over { unfinished: 2, .. }), "{last_seen:?}");
    assert!(played.history.seen.iter().any(|sighting| matches!(sighting.what, Seen::Ready { .. })));
    assert!(world.elapsed() >= Duration::from_secs(120));
    assert_eq!(last(&asked), "DELETE /v1/chaos/faults");
    let keys: Vec<_> = played.history.plan.workload.arrivals.iter().map(|arrival| &arrival.key).collect();
    assert!(keys.iter().all(|key| key.starts_with("x-1-") && key.len() > "x-1-0-".len()), "{keys:?}");
}
