//! The simulated platform that is posted to. Invariant: its books hold each post that it took, once,
//! at the time it took it; a careful one takes no key twice, a careless one takes whatever comes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::transport::{self, Body};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::model::{Answer, reset};
use super::scene::Scene;
use super::weather::Weather;
use crate::fault::{PlatformEffect, Point};
use crate::history::Seen;
use crate::plan::Platform;

/// Until it has taken a post.
const TAKES: Duration = Duration::from_millis(120);

/// The platform; its books outlive each process that posts there.
pub(super) struct Board {
    scene: Scene,
    kind: Platform,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// The posts by key: the platform's names for them.
    posts: BTreeMap<String, Vec<String>>,
    /// Posts on their way in, whose connection is gone already.
    late: Vec<(Duration, Post)>,
    next: u64,
}

#[derive(Clone)]
struct Post {
    key: String,
    content: String,
}

impl Board {
    pub(super) fn new(scene: Scene, kind: Platform) -> Self {
        Self { scene, kind, books: Mutex::default() }
    }

    pub(super) async fn serve(&self, request: Request<bytes::Bytes>) -> Answer {
        if request.method() == Method::GET {
            return self.tells(request.uri().query().unwrap_or_default()).await;
        }
        self.scene.pass(Point::PostBeforeSend);
        self.scene.hold_if_dead().await;
        let asked: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let post = Post {
            key: asked["key"].as_str().unwrap_or_default().to_owned(),
            content: blake3::hash(format!("{}\0{}", asked["title"], asked["text"]).as_bytes()).to_hex()[..16]
                .to_owned(),
        };
        match self.scene.strike(Weather::platform) {
            Some(PlatformEffect::Status { status }) => {
                tokio::time::sleep(TAKES).await;
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Ok(answer(status, &json!({ "error": "not now" })));
            }
            Some(PlatformEffect::Reset) => {
                tokio::time::sleep(TAKES).await;
                return Err(reset());
            }
            Some(PlatformEffect::Late { by_ms }) => {
                let due = self.scene.now() + Duration::from_millis(by_ms);
                self.books().late.push((due, post));
                tokio::time::sleep(TAKES).await;
                return Err(reset());
            }
            Some(PlatformEffect::Lost) => {
                tokio::time::sleep(TAKES).await;
                self.take(&post);
                return Err(reset());
            }
            Some(PlatformEffect::Slow { by_ms }) => tokio::time::sleep(Duration::from_millis(by_ms)).await,
            None => {}
        }
        tokio::time::sleep(TAKES).await;
        let name = self.take(&post);
        self.scene.pass(Point::PostAfterSend);
        self.scene.hold_if_dead().await;
        Ok(answer(StatusCode::CREATED, &named(&name)))
    }

    /// Answers the question for a key.
    async fn tells(&self, query: &str) -> Answer {
        tokio::time::sleep(TAKES).await;
        if self.kind == Platform::Careless {
            return Ok(answer(StatusCode::NOT_FOUND, &json!({ "error": "nobody can ask here" })));
        }
        let key = query.strip_prefix("key=").map(decoded).unwrap_or_default();
        let name = self.find(&key);
        self.scene.see(Seen::LookedUp { key, found: name.is_some() });
        Ok(match name {
            Some(name) => answer(StatusCode::OK, &named(&name)),
            None => answer(StatusCode::NOT_FOUND, &json!({ "error": "there is no such post" })),
        })
    }

    /// The platform's name for the post of a key, as somebody who looks at the platform sees it.
    pub(super) fn find(&self, key: &str) -> Option<String> {
        self.settle_late();
        self.books().posts.get(key).and_then(|names| names.first().cloned())
    }

    /// The key of the post with this name.
    pub(super) fn key_of(&self, name: &str) -> Option<String> {
        let books = self.books();
        let found = books.posts.iter().find(|(_, names)| names.iter().any(|known| known == name));
        found.map(|(key, _)| key.clone())
    }

    fn take(&self, post: &Post) -> String {
        self.settle_late();
        self.take_at(self.scene.now(), post)
    }

    fn take_at(&self, at: Duration, post: &Post) -> String {
        let mut books = self.books();
        if self.kind == Platform::Careful
            && let Some(name) = books.posts.get(&post.key).and_then(|names| names.first())
        {
            let name = name.clone();
            drop(books);
            self.scene.saw(at, Seen::Repeated { key: post.key.clone() });
            return name;
        }
        books.next += 1;
        let name = format!("post-{}", books.next);
        books.posts.entry(post.key.clone()).or_default().push(name.clone());
        drop(books);
        let run = post.key.split('/').next().unwrap_or_default().to_owned();
        self.scene.saw(at, Seen::Posted { key: post.key.clone(), content: post.content.clone(), run });
        name
    }

    /// Takes what has arrived late by now.
    pub(super) fn settle_late(&self) {
        let now = self.scene.now();
        loop {
            let mut books = self.books();
            let Some(place) = books.late.iter().position(|(due, _)| *due <= now) else { return };
            let (due, post) = books.late.remove(place);
            drop(books);
            self.take_at(due, &post);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(name: &str) -> Value {
    json!({ "id": name, "url": format!("https://platform.test/{name}") })
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(transport::body(body.to_string()));
    *response.status_mut() = status;
    response
}

/// A query's value: percent-encoded UTF-8.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match byte {
            b'%' => bytes.push(digit(rest.next()).unwrap_or(0) << 4 | digit(rest.next()).unwrap_or(0)),
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
