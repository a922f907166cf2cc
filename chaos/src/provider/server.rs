//! The scripted model as an HTTP server in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::anthropic;
use super::script::{Reply, reply};
use super::storm::{Storm, Weather};
use crate::fault::ProviderEffect;
use crate::forecast::Forecast;
use crate::ledger::{self, Ledger, LedgerError};

/// The status of a provider that has too much to do; it has no name of its own.
const OVERLOADED: u16 = 529;
/// How much of the end of a wrong key is hidden where it is said again, as real providers do.
const MASKED_CHARS: usize = 4;

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long it thinks before it answers.
    pub think: Duration,
    /// Every n-th call is answered 429 with `Retry-After: 0`; 0 for none.
    pub refuse_every: u64,
    /// Every call is answered 503 while this file is there.
    pub down_while: Option<PathBuf>,
    /// Every call is answered 401 that does not show the key that this file holds at that moment. The answer says
    /// most of the wrong key again.
    pub key_file: Option<PathBuf>,
    /// What becomes of calls beside that.
    pub storm: Option<Storm>,
    /// The faults of a plan.
    pub forecast: Option<Forecast>,
    /// What tokens cost.
    pub prices: Prices,
}

/// What tokens cost, in nano-dollars each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prices {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
}

/// How a caller wants to be spoken to.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Chat,
    Messages,
}

impl Shape {
    fn error(self, kind: &str, message: &str) -> axum::Json<Value> {
        axum::Json(match self {
            Self::Chat => json!({ "error": { "message": message, "type": kind, "param": null, "code": null }}),
            Self::Messages => anthropic::error(kind, message),
        })
    }

    fn whole(self, reply: &Reply) -> Value {
        match self {
            Self::Chat => reply.whole(),
            Self::Messages => anthropic::whole(reply),
        }
    }

    fn events(self, reply: &Reply) -> Vec<String> {
        match self {
            Self::Chat => reply.events(),
            Self::Messages => anthropic::events(reply),
        }
    }
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
        /// What it is billed at, in nano-dollars; all of it, however much of the reply arrives.
        #[serde(default)]
        billed: u64,
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
        /// With which status; 0 when the connection was broken instead.
        #[serde(default)]
        status: u16,
    },
    /// What was on its way was no answer to anything.
    Spoiled {
        /// The server's number for the call.
        call: u64,
    },
    /// A fault of the plan hit a call.
    Struck {
        /// Its number in the plan.
        number: u32,
    },
    /// Half a reply is on its way, and no more will be.
    Halved {
        /// The server's number for the call.
        call: u64,
        /// Whether the connection breaks; silence follows else.
        cut: bool,
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
    fn refusal(&self, call: u64, weather: Weather, headers: &HeaderMap, shape: Shape) -> Option<Response> {
        let error = |message: &str, kind: &str| shape.error(kind, message);
        if self.options.down_while.as_ref().is_some_and(|file| file.exists()) {
            let body = error("down for maintenance", "server_error");
            return Some((StatusCode::SERVICE_UNAVAILABLE, body).into_response());
        }
        let shown = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = shown("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let keys = [bearer, shown("x-api-key")];
        let taken = self.options.key_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if taken.is_some_and(|key| !keys.contains(&Some(key.trim()))) {
            let shown = keys.into_iter().flatten().next().unwrap_or_default();
            let body = error(&format!("Incorrect API key provided: {}", masked(shown)), "invalid_api_key");
            return Some((StatusCode::UNAUTHORIZED, body).into_response());
        }
        let every = self.options.refuse_every;
        if weather == Weather::Overloaded {
            let status = StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return Some((status, error("overloaded", "overloaded_error")).into_response());
        }
        (weather == Weather::Limited || (every > 0 && call.is_multiple_of(every))).then(|| {
            let body = error("slow down", "rate_limit_error");
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")], body).into_response()
        })
    }

    /// What a fault of the plan does to a call instead of serving it; the fault, where it serves it.
    fn foreseen(&self, call: u64, id: &str, shape: Shape) -> Result<Foreseen, LedgerError> {
        let Some((number, effect)) = self.options.forecast.as_ref().and_then(Forecast::provider) else {
            return Ok(Foreseen::Served(None));
        };
        self.ledger.write(Entry::Struck { number })?;
        let refused = |status| self.ledger.write(Entry::Refused { call, id: id.to_owned(), status });
        match effect {
            ProviderEffect::Status { status, retry_after_ms } => {
                refused(status)?;
                Ok(Foreseen::Refused(refusal(status, retry_after_ms, shape)))
            }
            ProviderEffect::Reset => {
                refused(0)?;
                break_off()
            }
            effect => Ok(Foreseen::Served(Some(effect))),
        }
    }

    async fn answer(&self, headers: &HeaderMap, body: &Bytes, shape: Shape) -> Result<Response, LedgerError> {
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let mut weather = self.options.storm.map_or(Weather::Fine, |storm| storm.over(call));
        let reply = reply(body);
        if let Some(refusal) = self.refusal(call, weather, headers, shape) {
            self.ledger.write(Entry::Refused { call, id: reply.id, status: refusal.status().as_u16() })?;
            return Ok(refusal);
        }
        let effect = match self.foreseen(call, &reply.id, shape)? {
            Foreseen::Refused(refusal) => return Ok(refusal),
            Foreseen::Served(effect) => effect,
        };
        match effect {
            Some(ProviderEffect::Stall) => weather = Weather::Stalled,
            Some(ProviderEffect::Cut) => weather = Weather::Cut,
            _ => {}
        }
        let Prices { input, output } = self.options.prices;
        self.ledger.write(Entry::Served {
            call,
            id: reply.id.clone(),
            prompt_tokens: reply.prompt_tokens,
            completion_tokens: reply.completion_tokens,
            billed: reply.prompt_tokens * input + reply.completion_tokens * output,
        })?;
        let later = if let Some(ProviderEffect::Slow { by_ms }) = effect { by_ms } else { 0 };
        tokio::time::sleep(self.options.think + Duration::from_millis(later)).await;
        // It is dropped at the sleep above when whoever asked has gone.
        if matches!(weather, Weather::Stalled | Weather::Cut) {
            let cut = weather == Weather::Cut;
            self.ledger.write(Entry::Halved { call, cut })?;
            return Ok(halved(shape.events(&reply), cut));
        }
        let said = match effect {
            Some(ProviderEffect::Lost) => std::future::pending().await,
            Some(ProviderEffect::Garbage) => {
                self.ledger.write(Entry::Spoiled { call })?;
                return Ok("<html>it is not what you asked for</html>".into_response());
            }
            Some(ProviderEffect::Wrong) => Reply { text: "I cannot say.".to_owned(), ..reply },
            _ => reply,
        };
        self.ledger.write(Entry::Answered { call })?;
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let is_streamed = request["stream"] == json!(true);
        Ok(if is_streamed { streamed(shape.events(&said)) } else { axum::Json(shape.whole(&said)).into_response() })
    }
}

/// What the plan has for a call.
enum Foreseen {
    /// It is answered with this, and costs nothing.
    Refused(Response),
    /// It is served, well or not.
    Served(Option<ProviderEffect>),
}

/// Ends the connection before anything of an answer is written.
fn break_off<T>() -> T {
    std::panic::resume_unwind(Box::new("the connection is dropped"))
}

fn refusal(status: u16, retry_after_ms: Option<u64>, shape: Shape) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, shape.error("refused", "not now")).into_response();
    if let Some(ms) = retry_after_ms {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    response
}

/// A key that was refused, as it is said again.
fn masked(key: &str) -> String {
    let shown = key.chars().count().saturating_sub(MASKED_CHARS);
    key.chars().take(shown).chain(std::iter::repeat_n('*', MASKED_CHARS)).collect()
}

/// The server's routes.
pub fn app(options: Options, ledger: Ledger) -> Router {
    let server = Arc::new(Server { options, ledger, calls: 0.into() });
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/messages", post(message))
        .route("/v1/models", get(models))
        .with_state(server)
}

async fn models() -> axum::Json<Value> {
    axum::Json(json!({
        "object": "list",
        "data": [{ "id": "scripted", "object": "model", "created": 0, "owned_by": "callboard" }],
    }))
}

async fn complete(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    server.answer(&headers, &body, Shape::Chat).await.unwrap_or_else(|error| unwritten(&error))
}

async fn message(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    server.answer(&headers, &body, Shape::Messages).await.unwrap_or_else(|error| unwritten(&error))
}

fn unwritten(error: &LedgerError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

/// What comes of an event of a stream: itself, or a broken connection.
type Piece = Result<String, std::io::Error>;

fn streamed(events: Vec<String>) -> Response {
    events_of(futures::stream::iter(events).map(Ok))
}

/// The first half of a reply, and then a broken connection or silence.
fn halved(mut events: Vec<String>, cut: bool) -> Response {
    events.truncate(events.len() / 2);
    let half = futures::stream::iter(events).map(Ok);
    if cut {
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut off on purpose");
        events_of(half.chain(futures::stream::iter([Err(broken)])))
    } else {
        events_of(half.chain(futures::stream::pending()))
    }
}

fn events_of(events: impl Stream<Item = Piece> + Send + 'static) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(events)).into_response()
}
