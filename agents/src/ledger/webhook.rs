//! Alerts to somebody's address. Invariant: what is sent is in the journal; an alert is sent a bounded number
//! of times until it is taken, under one key, and holds nobody up: the ledger does not wait for it. One goes
//! out after the other, and of those that wait there are never more than [`QUEUE_MAX`].

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::transport::Transport;
use actors::world::{Chance, World};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode, Uri};
use policies::budget::AlertEvent;
use policies::failure::FailureClass;
use policies::retry::{RetryDecision, RetryPolicy};
use policies::span::Span;
use tokio::sync::mpsc;

use super::Alerted;
use crate::key::Key;
use crate::tether::Tether;

/// Carries the alert's key, by which whoever takes it knows it again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest wait for an answer.
const ANSWER_WITHIN: Span = Span::from_secs(30);

/// How long an alert is sent while others wait: one try at least has its time.
const TURN_MAX: Span = ANSWER_WITHIN;

/// Alerts that wait to be sent. One that comes while there are so many stays in the journal alone.
pub(super) const QUEUE_MAX: usize = 64;

/// The way of alerts to a hook. The task behind it ends with its ledger.
pub(super) struct Outbox {
    queue: mpsc::Sender<Alerted>,
    dropped: Arc<AtomicU64>,
}

impl Outbox {
    pub(super) fn open(hook: AlertHook, world: &World, tether: &Tether) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let dropped = Arc::<AtomicU64>::default();
        tether.spawn("ledger/webhook", deliver(hook, waiting, Arc::clone(&dropped), world.clone()));
        Self { queue, dropped }
    }

    /// Has it sent when its turn comes. One that finds no room is counted, and told of with the others.
    pub(super) fn post(&self, alerted: Alerted) {
        if self.queue.try_send(alerted).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn deliver(hook: AlertHook, mut waiting: mpsc::Receiver<Alerted>, dropped: Arc<AtomicU64>, world: World) {
    let mut next = waiting.recv().await;
    while let Some(alerted) = next.take() {
        next = hook.send_in_turn(alerted, &mut waiting, &world).await;
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "alerts were not sent: {QUEUE_MAX} waited already; they are in the journal");
        }
        if next.is_none() {
            next = waiting.recv().await;
        }
    }
}

/// Where alerts are sent. Clones share it.
#[derive(Clone)]
pub struct AlertHook(Arc<Inner>);

struct Inner {
    url: Uri,
    key: Option<Key>,
    transport: Arc<dyn Transport>,
}

/// Why alerts cannot be sent there.
#[derive(Debug, thiserror::Error)]
pub enum AlertHookError {
    /// Not an address that can be posted to.
    #[error("url {0:?} is not an http address; write one such as https://ops.example/budgets")]
    Url(String),
}

impl AlertHook {
    /// Alerts are posted to `url` as JSON, with the key as a bearer token.
    ///
    /// # Errors
    /// [`AlertHookError`] when the address cannot be used.
    pub fn new(url: &str, key: Option<Key>, transport: Arc<dyn Transport>) -> Result<Self, AlertHookError> {
        let address: Uri = url.parse().map_err(|_| AlertHookError::Url(url.to_owned()))?;
        if !matches!(address.scheme_str(), Some("http" | "https")) {
            return Err(AlertHookError::Url(url.to_owned()));
        }
        Ok(Self(Arc::new(Inner { url: address, key, transport })))
    }

    /// Sends an alert, and returns the next one if that has waited for the end of it for too long: an address that
    /// does not answer holds up one alert and not all of them.
    async fn send_in_turn(
        &self,
        alerted: Alerted,
        waiting: &mut mpsc::Receiver<Alerted>,
        world: &World,
    ) -> Option<Alerted> {
        let scope = alerted.alert.scope.clone();
        let mut sending = pin!(self.send(alerted, world));
        if tokio::time::timeout(TURN_MAX.duration(), &mut sending).await.is_ok() {
            return None;
        }
        tokio::select! {
            biased;
            () = sending => None,
            next = waiting.recv() => {
                tracing::warn!(%scope, "an alert was not taken within {TURN_MAX}, and others wait; it is in the journal");
                next
            }
        }
    }

    /// Sends an alert until it is taken, or as often as [`RetryPolicy`] says. What is never taken is logged.
    async fn send(&self, alerted: Alerted, world: &World) {
        let (mut chance, retry): (Chance, _) = (world.chance("ledger/webhook"), RetryPolicy::default());
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Err((class, reason)) = self.post(&alerted).await else { return };
            match retry.decide(class, attempt, None, chance.unit()) {
                RetryDecision::After(delay) => tokio::time::sleep(delay).await,
                RetryDecision::GiveUp => {
                    let scope = &alerted.alert.scope;
                    return tracing::warn!(%scope, attempt, reason, "an alert could not be sent; it is in the journal");
                }
            }
        }
    }

    async fn post(&self, alerted: &Alerted) -> Result<(), (FailureClass, String)> {
        let bug = |reason: String| (FailureClass::Bug, reason);
        let body = serde_json::to_vec(&Sent { text: alerted.alert.to_string(), alerted });
        let body = body.map_err(|error| bug(error.to_string()))?;
        let mut request = Request::post(self.0.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, key(alerted));
        let secret = match &self.0.key {
            Some(key) => Some(key.current().await.map_err(|error| (FailureClass::Rejected, error.to_string()))?),
            None => None,
        };
        if let Some(secret) = &secret {
            request = request.header(AUTHORIZATION, secret.bearer().map_err(|error| bug(error.to_string()))?);
        }
        let request = request.body(Bytes::from(body)).map_err(|error| bug(error.to_string()))?;
        let sent = tokio::time::timeout(ANSWER_WITHIN.duration(), self.0.transport.send(request)).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err((FailureClass::ProviderDown, error.to_string())),
            Err(_) => return Err((FailureClass::ProviderDown, format!("no answer within {ANSWER_WITHIN}"))),
        };
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => {
                let is_rotated = match (&self.0.key, &secret) {
                    (Some(key), Some(secret)) => key.instead_of(secret).await.is_some(),
                    _ => false,
                };
                let class = if is_rotated { FailureClass::ProviderDown } else { FailureClass::Rejected };
                Err((class, "answered 401".to_owned()))
            }
            StatusCode::REQUEST_TIMEOUT => Err((FailureClass::ProviderDown, "answered 408".to_owned())),
            StatusCode::TOO_MANY_REQUESTS => Err((FailureClass::RateLimited, "answered 429".to_owned())),
            status if status.is_server_error() => Err((FailureClass::ProviderDown, format!("answered {status}"))),
            status => Err((FailureClass::Rejected, format!("answered {status}"))),
        }
    }
}

/// What is posted: the sentence for people, and what it is made of.
#[derive(serde::Serialize)]
struct Sent<'a> {
    text: String,
    #[serde(flatten)]
    alerted: &'a Alerted,
}

/// The same for the same alert, however often it is sent.
fn key(Alerted { workspace, alert }: &Alerted) -> String {
    let window = alert.window.map_or_else(|| "total".to_owned(), |window| window.to_string());
    let since = alert.since.map_or(0, |since| since.micros());
    // A limit that was raised is told of anew.
    let event = match alert.event {
        AlertEvent::Share(share) => share.to_string(),
        AlertEvent::Refused(_) => "refused".to_owned(),
    };
    let key = format!("{workspace}/{}/{window}/{since}/{event}/{}", alert.scope, alert.limit.nanos());
    blake3::hash(key.as_bytes()).to_hex().to_string()
}
