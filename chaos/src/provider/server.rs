//! The scripted model as an HTTP server in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::script::{Reply, reply};
use crate::ledger::{self, Ledger, LedgerError};

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long it thinks before it answers.
    pub think: Duration,
    /// Every n-th call is answered 429 with `Retry-After: 0`; 0 for none.
    pub refuse_every: u64,
    /// Every call is answered 503 while this file is there.
    pub down_while: Option<PathBuf>,
    /// Every call is answered 401 that does not show the key that this file holds at that moment.
    pub key_file: Option<PathBuf>,
}

/// One line of the provider's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Entry {
    /// A call was served, and so would be billed. Written before the reply begins.
    Served {
        /// The server's number for the call.
        call: u64,
        /// The request's name: the same for the same body.
        id: String,
        /// Tokens read.
        prompt_tokens: u64,
        /// Tokens written.
        completion_tokens: u64,
    },
    /// A reply is on its way, whole; whoever asked was still there.
    Answered {
        /// The server's number for the call.
        call: u64,
    },
    /// A call was refused, and costs nothing.
    Refused {
        /// The server's number for the call.
        call: u64,
        /// The request's name.
        id: String,
    },
}

/// How often each request was served.
///
/// # Errors
/// [`LedgerError`] when the book cannot be read.
pub fn read(path: &Path) -> Result<BTreeMap<String, u64>, LedgerError> {
    let mut calls = BTreeMap::new();
    for line in ledger::read(path)? {
        if let Entry::Served { id, .. } = line.entry {
            *calls.entry(id).or_default() += 1;
        }
    }
    Ok(calls)
}

struct Server {
    options: Options,
    ledger: Ledger,
    calls: std::sync::atomic::AtomicU64,
}

impl Server {
    /// What a call is answered that is not served.
    fn refusal(&self, call: u64, headers: &HeaderMap) -> Option<Response> {
        let error = |message: &str, kind: &str| {
            axum::Json(json!({ "error": { "message": message, "type": kind, "param": null, "code": null }}))
        };
        if self.options.down_while.as_ref().is_some_and(|file| file.exists()) {
            let body = error("down for maintenance", "server_error");
            return Some((StatusCode::SERVICE_UNAVAILABLE, body).into_response());
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let taken = self.options.key_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if taken.is_some_and(|key| shown != Some(&format!("Bearer {}", key.trim()))) {
            let body = error("incorrect key", "invalid_api_key");
            return Some((StatusCode::UNAUTHORIZED, body).into_response());
        }
        let every = self.options.refuse_every;
        (every > 0 && call.is_multiple_of(every)).then(|| {
            let body = error("slow down", "rate_limit_error");
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")], body).into_response()
        })
    }
}

/// The server's routes.
pub fn app(options: Options, ledger: Ledger) -> Router {
    let server = Arc::new(Server { options, ledger, calls: 0.into() });
    Router::new().route("/v1/chat/completions", post(complete)).route("/v1/models", get(models)).with_state(server)
}

async fn models() -> axum::Json<Value> {
    axum::Json(json!({
        "object": "list",
        "data": [{ "id": "scripted", "object": "model", "created": 0, "owned_by": "callboard" }],
    }))
}

async fn complete(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let call = server.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    let reply = reply(&body);
    if let Some(refusal) = server.refusal(call, &headers) {
        let written = server.ledger.write(Entry::Refused { call, id: reply.id });
        return written.err().map_or(refusal, |error| unwritten(&error));
    }
    let served = Entry::Served {
        call,
        id: reply.id.clone(),
        prompt_tokens: reply.prompt_tokens,
        completion_tokens: reply.completion_tokens,
    };
    if let Err(error) = server.ledger.write(served) {
        return unwritten(&error);
    }
    tokio::time::sleep(server.options.think).await;
    // It is dropped at the sleep above when whoever asked has gone.
    if let Err(error) = server.ledger.write(Entry::Answered { call }) {
        return unwritten(&error);
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if request["stream"] == json!(true) { streamed(&reply) } else { axum::Json(reply.whole()).into_response() }
}

fn unwritten(error: &LedgerError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

fn streamed(reply: &Reply) -> Response {
    let events = futures::stream::iter(reply.events()).map(Ok::<_, std::convert::Infallible>);
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(events)).into_response()
}
