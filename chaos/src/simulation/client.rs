//! The client: asks for runs, answers their questions, looks at what becomes of them. Invariant: it
//! speaks HTTP only, remembers what it was told over all lives of the server, and asks again with the
//! same key when it was told nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::board::Board;
use super::parts::{brief_about, product};
use super::scene::Scene;
use crate::fault::Point;
use crate::history::Seen;
use crate::plan::{Approval, Plan};

/// Between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// The shortest and the longest time that a person thinks about a question.
const THINK_MS: (u64, u64) = (200, 12_000);
/// Between two tries after a refusal.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long a doubtful post is left before somebody looks at the platform: longer than any request
/// takes to land.
const LOOK_AT_PLATFORM: Duration = Duration::from_secs(150);

/// How long somebody looks at a dead letter before it is replayed.
const LOOK_AT_LETTER: Duration = Duration::from_secs(20);

/// What the client knows; it outlives the server.
pub(super) struct Client {
    scene: Scene,
    board: Arc<Board>,
    plan: Plan,
    known: Mutex<BTreeMap<String, Known>>,
}

/// What it knows of one order.
#[derive(Clone, Default)]
struct Known {
    run: Option<String>,
    /// What the run was when it was last shown, and by which tag.
    shown: Option<(HeaderValue, Arc<Shown>)>,
    /// It needs no more looking after.
    over: bool,
    /// When it first saw what waits for it: questions by their paths, doubts by their keys, letters.
    noticed: BTreeMap<String, Duration>,
}

/// An answer of the server.
struct Answer {
    status: StatusCode,
    tag: Option<HeaderValue>,
    body: Bytes,
}

/// A request to the server.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    header: Option<(HeaderName, HeaderValue)>,
    body: &'a str,
}

impl<'a> Ask<'a> {
    fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, header: None, body: "" }
    }

    fn post(path: &'a str, body: &'a str) -> Self {
        Self { method: Method::POST, path, header: None, body }
    }

    fn with(self, name: &'static str, value: Option<HeaderValue>) -> Self {
        Self { header: value.map(|value| (HeaderName::from_static(name), value)), ..self }
    }
}

/// What it reads of a run; all else is passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shown {
    id: Option<String>,
    status: String,
    approvals: Vec<Asked>,
    parked: Vec<Held>,
    dead_commands: Vec<String>,
    outputs: Value,
    failure: Option<String>,
}

/// A question to it.
#[derive(Deserialize)]
struct Asked {
    path: String,
}

/// A step that is held: a post in doubt, or a dead letter.
#[derive(Deserialize)]
struct Held {
    key: String,
    hold: Value,
}

impl Answer {
    /// The run that it shows; nothing is known of one that does not read.
    fn shown(&self) -> Shown {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    pub(super) fn new(scene: Scene, board: Arc<Board>, plan: &Plan) -> Self {
        Self { scene, board, plan: plan.clone(), known: Mutex::default() }
    }

    /// Looks after all orders until each is over.
    pub(super) async fn attend(&self, server: &Router) {
        let all = self.plan.workload.arrivals.iter().map(|arrival| async {
            let wait = Duration::from_millis(arrival.at_ms).saturating_sub(self.scene.now());
            self.scene.sleep(wait).await;
            self.look_after(server, &arrival.key).await;
        });
        futures::future::join_all(all).await;
    }

    /// Looks once more at every run whose end it knows: a result that changed would show, and one that was
    /// undone, in a play too in which the process never dies.
    pub(super) async fn look_back(&self, server: &Router) {
        for arrival in &self.plan.workload.arrivals {
            let Known { run: Some(run), over: true, .. } = self.order(&arrival.key) else { continue };
            // In full, not as the one that was shown before.
            self.tell(&arrival.key, |known| known.shown = None);
            self.look(server, &arrival.key, &run).await;
        }
    }

    /// Orders whose end it does not know.
    pub(super) fn unfinished(&self) -> u64 {
        let known = self.known();
        let open = |key: &str| !known.get(key).is_some_and(|known| known.over);
        self.plan.workload.arrivals.iter().filter(|arrival| open(&arrival.key)).count() as u64
    }

    /// Follows an order to its end. One whose end is known is followed once more after a restart: what was
    /// reported is reported again, in full, so that a result that changed would show.
    async fn look_after(&self, server: &Router, key: &str) {
        let known = self.order(key);
        let run = if known.over { known.run } else { self.ask(server, key).await };
        self.tell(key, |known| known.shown = None);
        if let Some(run) = run {
            while !self.look(server, key, &run).await {
                self.scene.sleep(LOOK_EVERY).await;
            }
        }
        self.tell(key, |known| known.over = true);
    }

    /// Asks until the run is acknowledged; nothing when it is refused for good. A run that is known
    /// already is asked for once more, with the same key.
    async fn ask(&self, server: &Router, key: &str) -> Option<String> {
        let order = self.order_text(key);
        let hash = blake3::hash(order.as_bytes()).to_hex()[..16].to_owned();
        loop {
            self.scene.see(Seen::Asked { key: key.to_owned(), order: hash.clone() });
            let ask = Ask::post("/v1/runs", &order).with("idempotency-key", HeaderValue::from_str(key).ok());
            let answer = self.send(server, ask).await;
            let taken = if answer.status.is_success() { answer.shown().id } else { None };
            match (answer.status.as_u16(), taken) {
                (200 | 201, Some(run)) => {
                    self.scene.see(Seen::Acknowledged { key: key.to_owned(), run: run.clone() });
                    self.tell(key, |known| known.run = Some(run.clone()));
                    return Some(run);
                }
                (status, _) => {
                    self.scene.see(Seen::Refused { key: key.to_owned(), status });
                    if status < 500 && status != 429 {
                        return None;
                    }
                }
            }
            self.scene.sleep(ASK_AGAIN).await;
        }
    }

    /// Looks at a run, answers what it asks, and says whether it has ended.
    async fn look(&self, server: &Router, key: &str, run: &str) -> bool {
        let Some(shown) = self.show(server, key, run).await else { return false };
        let Shown { status, approvals, parked, dead_commands, outputs, failure, .. } = &*shown;
        for asked in approvals {
            self.approve(server, key, run, &asked.path).await;
        }
        for held in parked {
            let poison = &held.hold["poison"];
            match poison["letter"].as_str().filter(|_| poison["in_doubt"] == false) {
                Some(letter) => self.replay(server, key, run, letter).await,
                None => self.settle(server, key, run, &held.key).await,
            }
        }
        for letter in dead_commands {
            self.replay(server, key, run, letter).await;
        }
        let ended = matches!(status.as_str(), "finished" | "failed" | "cancelled" | "rejected");
        if ended {
            let (status, posts) = (status.clone(), self.posts(outputs));
            let outputs = blake3::hash(outputs.to_string().as_bytes()).to_hex()[..16].to_owned();
            let spent = failure.as_ref().is_some_and(|failure| failure.contains("raise the budget"));
            self.scene.see(Seen::Reported { run: run.to_owned(), status, outputs, posts, spent });
        } else if self.order(key).over {
            self.tell(key, |known| known.over = false);
            self.scene.see(Seen::Undone { run: run.to_owned(), status: status.clone() });
        }
        ended
    }

    /// The run as it is: as it was shown before, when the server says that it has not changed.
    async fn show(&self, server: &Router, key: &str, run: &str) -> Option<Arc<Shown>> {
        let before = self.order(key).shown;
        let tag = before.as_ref().map(|(tag, _)| tag.clone());
        let path = format!("/v1/runs/{run}");
        let answer = self.send(server, Ask::get(&path).with("if-none-match", tag)).await;
        match answer.status {
            StatusCode::OK => {
                let shown = Arc::new(answer.shown());
                let kept = answer.tag.map(|tag| (tag, Arc::clone(&shown)));
                self.tell(key, |known| known.shown = kept);
                Some(shown)
            }
            StatusCode::NOT_MODIFIED => before.map(|(_, shown)| shown),
            StatusCode::NOT_FOUND => {
                // It was acknowledged: that it is not there is for the checkers to judge.
                self.scene.see(Seen::Refused { key: key.to_owned(), status: 404 });
                None
            }
            _ => None,
        }
    }

    /// The keys of the posts that a run says it has made, read off the platform by their addresses.
    fn posts(&self, outputs: &Value) -> Vec<String> {
        let posts = outputs["posts"].as_array().into_iter().flatten();
        let names = posts.filter_map(|post| post["url"].as_str()?.rsplit('/').next().map(str::to_owned));
        names.map(|name| self.board.key_of(&name).unwrap_or(name)).collect()
    }

    /// When something of an order was first seen to wait: now, if it is new.
    fn notice(&self, key: &str, what: &str, seen: Seen) -> Duration {
        let mut noticed = self.order(key).noticed;
        let since = *noticed.entry(what.to_owned()).or_insert_with(|| {
            self.scene.see(seen);
            self.scene.now()
        });
        self.tell(key, |order| order.noticed = noticed);
        since
    }

    /// Says yes, once it has thought about it.
    async fn approve(&self, server: &Router, key: &str, run: &str, path: &str) {
        let noticed = self.notice(key, path, Seen::Questioned { run: run.to_owned(), path: path.to_owned() });
        let (least, most) = THINK_MS;
        let spread = run.bytes().chain(path.bytes()).fold(0_u64, |sum, byte| sum.rotate_left(9) ^ u64::from(byte));
        if self.scene.now() < noticed + Duration::from_millis(least + spread % (most - least)) {
            return;
        }
        let body = json!({ "path": path, "approved": true }).to_string();
        // Noted before it is sent: it may be acted on before it is acknowledged.
        self.scene.see(Seen::Approved { run: run.to_owned(), path: path.to_owned() });
        self.send(server, Ask::post(&format!("/v1/runs/{run}/approvals"), &body)).await;
    }

    /// Looks at the platform for a post in doubt, once it has had its time to land.
    async fn settle(&self, server: &Router, key: &str, run: &str, effect: &str) {
        let noticed = self.notice(key, effect, Seen::Held { run: run.to_owned(), key: effect.to_owned() });
        if self.scene.now() < noticed + LOOK_AT_PLATFORM {
            return;
        }
        let name = self.board.find(effect);
        let body = match &name {
            Some(name) => {
                json!({ "key": effect, "done": true, "id": name, "url": format!("https://platform.test/{name}") })
            }
            None => json!({ "key": effect, "done": false }),
        };
        // As with a yes: it may be acted on before it is acknowledged.
        self.scene.see(Seen::Settled { run: run.to_owned(), key: effect.to_owned() });
        self.send(server, Ask::post(&format!("/v1/runs/{run}/settlements"), &body.to_string())).await;
        // What is in doubt after this is a new post with the same key, and has its own time to land.
        self.tell(key, |order| {
            order.noticed.remove(effect);
        });
    }

    /// Replays a dead letter, once it has thought about it.
    async fn replay(&self, server: &Router, key: &str, run: &str, letter: &str) {
        let noticed = self.notice(key, letter, Seen::DeadLettered { run: run.to_owned(), letter: letter.to_owned() });
        if self.scene.now() < noticed + LOOK_AT_LETTER {
            return;
        }
        let path = format!("/v1/letters/{letter}/replay");
        if self.send(server, Ask::post(&path, "")).await.status.is_success() {
            self.scene.see(Seen::Replayed { letter: letter.to_owned() });
        }
    }

    /// Sends so many requests at once to a run that it cannot take them all.
    pub(super) async fn flood(&self, server: &Router, run: &str, messages: u32) {
        let body = json!({ "path": "nowhere", "approved": true }).to_string();
        let path = format!("/v1/runs/{run}/approvals");
        let requests = (0..messages).map(|_| self.send(server, Ask::post(&path, &body)));
        futures::future::join_all(requests).await;
    }

    /// A run that it knows and that has not ended.
    pub(super) fn some_run(&self, nth: u64) -> Option<String> {
        let known = self.known();
        let open: Vec<_> = known.values().filter(|known| !known.over).filter_map(|known| known.run.clone()).collect();
        let place = usize::try_from(nth).ok()?.checked_rem(open.len())?;
        open.get(place).cloned()
    }

    fn order_text(&self, key: &str) -> String {
        let approval = match self.plan.workload.approval {
            Approval::Automatic => "automatic",
            Approval::Ask => "ask",
        };
        let nth = self.plan.workload.arrivals.iter().position(|arrival| arrival.key == key).unwrap_or(0);
        let inputs = brief_about(&product(nth));
        let mut order = json!({ "workflow": "announce", "approval": approval, "inputs": inputs });
        if let Some(max) = self.plan.workload.cost_max {
            order["cost_max"] = json!(max.to_string());
        }
        order.to_string()
    }

    async fn send(&self, server: &Router, ask: Ask<'_>) -> Answer {
        let changes = ask.method == Method::POST;
        let mut request = Request::builder().method(ask.method).uri(ask.path);
        if let Some((name, value)) = ask.header {
            request = request.header(name, value);
        }
        let none = || Answer { status: StatusCode::BAD_GATEWAY, tag: None, body: Bytes::new() };
        let Ok(request) = request.body(Body::from(ask.body.to_owned())) else { return none() };
        let Ok(response) = server.clone().oneshot(request).await;
        self.scene.count();
        if changes {
            self.scene.pass(Point::AckBefore);
        }
        self.scene.hold_if_dead().await;
        let (status, tag) = (response.status(), response.headers().get(header::ETAG).cloned());
        let Ok(body) = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await else { return none() };
        if changes {
            self.scene.pass(Point::AckAfter);
        }
        Answer { status, tag, body }
    }

    fn order(&self, key: &str) -> Known {
        self.known().get(key).cloned().unwrap_or_default()
    }

    fn tell(&self, key: &str, change: impl FnOnce(&mut Known)) {
        change(self.known().entry(key.to_owned()).or_default());
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
