//! The scripted model as an HTTP server in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::script::{Reply, reply};

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long it thinks before it answers.
    pub think: Duration,
    /// Every n-th call is answered 429 with `Retry-After: 0`; 0 for none.
    pub refuse_every: u64,
}

/// One line of the ledger: a call that was served, and so would be billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The request's name: the same for the same body.
    pub id: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// The ledger could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("the provider's ledger {path} cannot be used")]
pub struct LedgerError {
    /// Its file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// The server's own book, on disk.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Mutex<std::fs::File>,
}

impl Ledger {
    /// Opens the book at `path`, and goes on where it ends.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| LedgerError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    fn write(&self, served: &Served) -> Result<(), LedgerError> {
        let mut line = json!(served).to_string();
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|source| LedgerError { path: self.path.clone(), source })
    }
}

/// How often each request was served.
///
/// # Errors
/// [`LedgerError`] when the book cannot be read.
pub fn read(path: &Path) -> Result<BTreeMap<String, u64>, LedgerError> {
    let fail = |source| LedgerError { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut calls = BTreeMap::new();
    for line in std::io::BufReader::new(file).lines() {
        let served: Served = serde_json::from_str(&line.map_err(fail)?).map_err(|e| fail(e.into()))?;
        *calls.entry(served.id).or_default() += 1;
    }
    Ok(calls)
}

struct Server {
    options: Options,
    ledger: Ledger,
    calls: std::sync::atomic::AtomicU64,
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

async fn complete(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    let call = server.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    let every = server.options.refuse_every;
    if every > 0 && call.is_multiple_of(every) {
        let refusal = json!({ "error": {
            "message": "slow down", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded",
        }});
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")], axum::Json(refusal)).into_response();
    }
    let reply = reply(&body);
    let served =
        Served { id: reply.id.clone(), prompt_tokens: reply.prompt_tokens, completion_tokens: reply.completion_tokens };
    if let Err(error) = server.ledger.write(&served) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    tokio::time::sleep(server.options.think).await;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if request["stream"] == json!(true) { streamed(&reply) } else { axum::Json(reply.whole()).into_response() }
}

fn streamed(reply: &Reply) -> Response {
    let events = futures::stream::iter(reply.events()).map(Ok::<_, std::convert::Infallible>);
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(events)).into_response()
}
