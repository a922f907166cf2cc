//! A publisher for any platform that takes a post as one HTTP request.
//!
//! Invariant: one call is one request; a failure is [`Landed::No`] only when nothing was sent, or the
//! platform has said in plain words that it refuses the post; and the wire's types stay in this file.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::transport::{self, Body, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use policies::failure::FailureClass;
use policies::span::ByteSize;
use serde::{Deserialize, Serialize};

use super::{Capabilities, Landed, Post, PublishError, Published, Publisher};
use crate::secret::Secret;

/// The longest request.
const REQUEST_MAX: ByteSize = ByteSize(1 << 20);
/// What is read of an answer.
const ANSWER_MAX: ByteSize = ByteSize(64 << 10);
/// What a platform's words may take of a message.
const WORDS_CHARS_MAX: usize = 300;
/// Carries the post's key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One platform.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Where posts are sent, and where it is asked for them.
    pub url: String,
    /// Sent as a bearer token, if there is one.
    pub api_key: Option<Secret>,
    /// It takes a second post with the same `Idempotency-Key` for the first one.
    pub deduplicates: bool,
    /// It answers `GET <url>?key=<key>`.
    pub can_be_asked: bool,
}

impl WebhookOptions {
    /// A platform at `url` that needs no key, and can do nothing about doubt.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), api_key: None, deduplicates: false, can_be_asked: false }
    }
}

/// The publisher; see the module.
pub struct WebhookPublisher {
    options: WebhookOptions,
    authorization: Option<HeaderValue>,
    url: Uri,
    transport: Arc<dyn Transport>,
}

/// Why a publisher cannot be made from its options.
#[derive(Debug, thiserror::Error)]
pub enum WebhookOptionsError {
    /// Not an address that can be posted to.
    #[error("url {url:?} is not an http address; write one such as https://board.example/posts")]
    Url {
        /// What was given.
        url: String,
    },
    /// Not a key that a header can carry.
    #[error("the key for {url} holds a line break or another character that cannot be sent; check how it was copied")]
    ApiKey {
        /// The platform it is for.
        url: String,
    },
}

#[derive(Serialize)]
struct Wire<'a> {
    key: &'a str,
    title: &'a str,
    text: &'a str,
    link: Option<&'a str>,
    /// RFC 3339.
    published: String,
}

/// Platforms add fields of their own, which are left alone.
#[derive(Deserialize)]
struct Taken {
    id: String,
    #[serde(default)]
    url: Option<String>,
}

impl WebhookPublisher {
    /// Makes the publisher; nothing is sent yet.
    ///
    /// # Errors
    /// [`WebhookOptionsError`] when the address or the key cannot be used.
    pub fn new(options: WebhookOptions, transport: Arc<dyn Transport>) -> Result<Self, WebhookOptionsError> {
        let bad_url = || WebhookOptionsError::Url { url: options.url.clone() };
        let url: Uri = options.url.parse().map_err(|_| bad_url())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad_url());
        }
        let authorization = options.api_key.as_ref().map(Secret::bearer).transpose();
        let authorization = authorization.map_err(|_| WebhookOptionsError::ApiKey { url: options.url.clone() })?;
        Ok(Self { options, authorization, url, transport })
    }

    fn post_request(&self, post: &Post) -> Result<Request<Bytes>, PublishError> {
        let unsendable = |class, reason: String| PublishError {
            class,
            landed: Landed::No,
            message: format!("the post {:?} cannot be sent to {}: {reason}", post.title, self.url),
        };
        let wire = Wire {
            key: &post.key,
            title: &post.title,
            text: &post.text,
            link: post.link.as_deref(),
            published: post.published.to_string(),
        };
        let body = serde_json::to_vec(&wire).map_err(|error| unsendable(FailureClass::Bug, error.to_string()))?;
        if body.len() as u64 > REQUEST_MAX.0 {
            return Err(unsendable(FailureClass::Rejected, format!("it takes more than {REQUEST_MAX}; shorten it")));
        }
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, post.key.as_str());
        let request = self.authorized(request).body(Bytes::from(body));
        request.map_err(|error| unsendable(FailureClass::Rejected, error.to_string()))
    }

    fn find_request(&self, key: &str) -> Result<Request<Bytes>, PublishError> {
        let address = format!("{}{}key={}", self.url, if self.url.query().is_some() { '&' } else { '?' }, percent(key));
        self.authorized(Request::get(address))
            .body(Bytes::new())
            .map_err(|error| self.cannot_tell(FailureClass::Rejected, &error.to_string()))
    }

    fn authorized(&self, mut request: http::request::Builder) -> http::request::Builder {
        request = request.header(ACCEPT, "application/json");
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// What an answer says of the post that it names.
    async fn taken(&self, body: Body) -> Result<Published, String> {
        let bytes = transport::collect(body, ANSWER_MAX).await.map_err(|error| error.to_string())?;
        let taken: Taken = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{error}, where an object with `id` and maybe `url` is needed"))?;
        Ok(Published { remote_id: taken.id, url: taken.url })
    }

    fn unreached(&self, error: &TransportError) -> PublishError {
        PublishError {
            class: FailureClass::ProviderDown,
            landed: if error.sent { Landed::Unknown } else { Landed::No },
            message: format!("{} did not answer ({error}); check that the platform is reachable", self.url),
        }
    }

    fn unreadable(&self, status: StatusCode, reason: &str) -> PublishError {
        PublishError {
            class: FailureClass::ProviderDown,
            landed: Landed::Unknown,
            message: format!("{} answered {status}, but not which post it has: {reason}", self.url),
        }
    }

    fn cannot_tell(&self, class: FailureClass, reason: &str) -> PublishError {
        let message = format!("{} does not say whether it has the post: {reason}", self.url);
        PublishError { class, landed: Landed::Unknown, message }
    }
}

#[async_trait]
impl Publisher for WebhookPublisher {
    async fn publish(&self, post: Post) -> Result<Published, PublishError> {
        let request = self.post_request(&post)?;
        let response = self.transport.send(request).await.map_err(|error| self.unreached(&error))?;
        let (head, body) = response.into_parts();
        // A conflict names the post that is there already under this key.
        if head.status.is_success() || head.status == StatusCode::CONFLICT {
            return self.taken(body).await.map_err(|reason| self.unreadable(head.status, &reason));
        }
        let (class, landed) = refusal(head.status);
        let words = words(body).await;
        let message = format!("{} answered {}: {words}{}", self.url, head.status, advice(head.status));
        Err(PublishError { class, landed, message })
    }

    async fn find(&self, key: &str) -> Result<Option<Published>, PublishError> {
        if !self.options.can_be_asked {
            return Err(self.cannot_tell(FailureClass::Rejected, "it is configured as one that cannot be asked"));
        }
        let request = self.find_request(key)?;
        let response = self.transport.send(request).await;
        let response = response.map_err(|error| self.cannot_tell(FailureClass::ProviderDown, &error.to_string()))?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::OK => match self.taken(body).await {
                Ok(published) => Ok(Some(published)),
                Err(reason) => Err(self.cannot_tell(FailureClass::ProviderDown, &reason)),
            },
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let reason = format!("it answered {status}: {}{}", words(body).await, advice(status));
                Err(self.cannot_tell(refusal(status).0, &reason))
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        let WebhookOptions { deduplicates, can_be_asked, .. } = self.options;
        // What was sent may be on its way when its sender has died.
        Capabilities { deduplicates, can_be_asked, lands_late: true }
    }
}

/// What a status that is no success means for the call and for the post. An error reply does not
/// prove that nothing was published; only a plain refusal is taken at its word.
fn refusal(status: StatusCode) -> (FailureClass, Landed) {
    match status.as_u16() {
        429 => (FailureClass::RateLimited, Landed::No),
        408 | 425 => (FailureClass::ProviderDown, Landed::Unknown),
        400..=499 => (FailureClass::Rejected, Landed::No),
        500.. => (FailureClass::ProviderDown, Landed::Unknown),
        // A redirection may well come after the post was taken.
        _ => (FailureClass::Rejected, Landed::Unknown),
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "; set url to the address it points to",
        401 | 403 => "; check the key and what it may do",
        404 | 405 | 410 => "; check url",
        _ => "",
    }
}

/// The beginning of what a platform says; an unreadable body takes nothing from what the status says.
async fn words(body: Body) -> String {
    let bytes = transport::collect(body, ANSWER_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().char_indices().nth(WORDS_CHARS_MAX) {
        None => text.trim().to_owned(),
        Some((end, _)) => format!("{}…", &text.trim()[..end]),
    }
}

/// The text as one value of a query: RFC 3986's unreserved characters stand for themselves.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
