//! The platform's routes: `POST /posts`, and `GET /posts?key=` where it can be asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::world::World;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault::PlatformEffect;
use crate::forecast::Forecast;
use crate::ledger::{self, Ledger, LedgerError};
use crate::plan::Platform;

/// Digits of a content's hash.
const HASH_DIGITS: usize = 16;

/// How the platform behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What it can do about doubt.
    pub kind: Platform,
    /// How long it takes over a post: half of it before the post is taken, half after.
    pub think: Duration,
    /// Every n-th post is taken, and its connection dropped without an answer; 0 for none.
    pub lose_every: u64,
    /// Every n-th post is answered 503, and not taken; 0 for none.
    pub refuse_every: u64,
    /// The faults of a plan.
    pub forecast: Option<Forecast>,
}

/// One line of the platform's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Entry {
    /// A post was taken: it is out.
    Posted {
        /// The key that it came with.
        key: String,
        /// The hash of its content.
        content: String,
        /// The platform's name for it.
        id: String,
    },
    /// A post came again with a key that is out, and was taken for the first.
    Repeated {
        /// The key.
        key: String,
    },
    /// A post is on its way and lands later, whatever becomes of its sender.
    Coming {
        /// The key that it comes with.
        key: String,
    },
    /// A fault of the plan hit a post.
    Struck {
        /// Its number in the plan.
        number: u32,
    },
    /// Somebody asked for a key.
    LookedUp {
        /// The key.
        key: String,
        /// Whether it was there.
        found: bool,
    },
}

/// A post as it is sent. What is not known here is left alone.
#[derive(Debug, Deserialize)]
struct Sent {
    title: String,
    text: String,
    #[serde(default)]
    link: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    key: String,
}

#[derive(Clone)]
struct Board(Arc<Inner>);

struct Inner {
    options: Options,
    ledger: Ledger,
    world: World,
    /// Requests to post so far.
    requests: AtomicU64,
    shelf: Mutex<Shelf>,
}

/// What is out.
#[derive(Default)]
struct Shelf {
    posts: u64,
    /// The first post of each key.
    by_key: BTreeMap<String, String>,
}

impl Shelf {
    fn put(&mut self, key: String, id: String) {
        self.posts += 1;
        self.by_key.entry(key).or_insert(id);
    }
}

/// The platform's routes, over the ledger at `path`, which it goes on with.
///
/// # Errors
/// [`LedgerError`] when the ledger cannot be used.
pub fn app(options: Options, path: &Path, world: World) -> Result<Router, LedgerError> {
    let mut shelf = Shelf::default();
    for line in ledger::read(path)? {
        if let Entry::Posted { key, id, .. } = line.entry {
            shelf.put(key, id);
        }
    }
    let careful = options.kind == Platform::Careful;
    let board = Board(Arc::new(Inner {
        options,
        ledger: Ledger::open(path, world.clone())?,
        world,
        requests: AtomicU64::new(0),
        shelf: Mutex::new(shelf),
    }));
    let posts = if careful { post(publish).get(find) } else { post(publish) };
    Ok(Router::new().route("/posts", posts).with_state(board))
}

async fn publish(State(board): State<Board>, headers: HeaderMap, body: Bytes) -> Response {
    let request = board.0.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let is_nth = |every: u64| every > 0 && request.is_multiple_of(every);
    if is_nth(board.0.options.refuse_every) {
        return (StatusCode::SERVICE_UNAVAILABLE, "come back later").into_response();
    }
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned) else {
        return (StatusCode::BAD_REQUEST, "a post needs an Idempotency-Key").into_response();
    };
    let sent: Sent = match serde_json::from_slice(&body) {
        Ok(sent) => sent,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let effect = match board.struck(&key) {
        Ok(effect) => effect,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let later = match effect {
        Some(PlatformEffect::Status { status }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return (status, "not now").into_response();
        }
        Some(PlatformEffect::Reset) => break_off(),
        Some(PlatformEffect::Slow { by_ms } | PlatformEffect::Late { by_ms }) => Duration::from_millis(by_ms),
        Some(PlatformEffect::Lost) | None => Duration::ZERO,
    };
    // In a task of its own: a post that is on its way lands, though its sender has died.
    let taker = board.clone();
    let taking = board.0.world.spawn("platform.take", async move {
        tokio::time::sleep(taker.0.options.think / 2 + later).await;
        taker.take(key, &sent)
    });
    if matches!(effect, Some(PlatformEffect::Late { .. })) {
        break_off()
    }
    let taken = taking.await;
    if is_nth(board.0.options.lose_every) || effect == Some(PlatformEffect::Lost) {
        break_off()
    }
    tokio::time::sleep(board.0.options.think / 2).await;
    match taken {
        Ok(Ok((status, id))) => (status, Json(json!({ "id": id }))).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Ends the connection before anything of an answer is written.
fn break_off<T>() -> T {
    std::panic::resume_unwind(Box::new("the connection is dropped"))
}

impl Board {
    /// What the plan has for the post of this key, taken down.
    fn struck(&self, key: &str) -> Result<Option<PlatformEffect>, LedgerError> {
        let Some((number, effect)) = self.0.options.forecast.as_ref().and_then(Forecast::platform) else {
            return Ok(None);
        };
        self.0.ledger.write(Entry::Struck { number })?;
        // A slow one too: its sender may die while it is on its way.
        if matches!(effect, PlatformEffect::Late { .. } | PlatformEffect::Slow { .. }) {
            self.0.ledger.write(Entry::Coming { key: key.to_owned() })?;
        }
        Ok(Some(effect))
    }

    /// Takes the post, or finds that it is there already.
    fn take(&self, key: String, sent: &Sent) -> Result<(StatusCode, String), LedgerError> {
        let mut shelf = self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.options.kind == Platform::Careful
            && let Some(id) = shelf.by_key.get(&key)
        {
            self.0.ledger.write(Entry::Repeated { key: key.clone() })?;
            return Ok((StatusCode::CONFLICT, id.clone()));
        }
        let id = format!("post-{}", shelf.posts + 1);
        let entry = Entry::Posted { key: key.clone(), content: fingerprint(sent), id: id.clone() };
        self.0.ledger.write(entry)?;
        shelf.put(key, id.clone());
        Ok((StatusCode::CREATED, id))
    }
}

async fn find(State(board): State<Board>, Query(Asked { key }): Query<Asked>) -> Response {
    let id = board.0.shelf.lock().unwrap_or_else(PoisonError::into_inner).by_key.get(&key).cloned();
    if let Err(error) = board.0.ledger.write(Entry::LookedUp { key, found: id.is_some() }) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    match id {
        Some(id) => Json(json!({ "id": id })).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such post").into_response(),
    }
}

/// The hash of what readers see of a post.
fn fingerprint(sent: &Sent) -> String {
    let content = json!([sent.title, sent.text, sent.link]).to_string();
    let hex = blake3::hash(content.as_bytes()).to_hex();
    hex.get(..HASH_DIGITS).unwrap_or_default().to_owned()
}
