//! A publisher for any platform that takes a post as one HTTP request.
//!
//! Invariant: one call is one post; a failure is [`Landed::No`] only when nothing was sent, or the
//! platform has said in plain words that it refuses the post, or its key, which is then read again and shown once
//! more if it is another; nothing that the platform says is passed on with the key; and the wire's types stay in
//! this file.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::transport::{self, Body, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, StatusCode, Uri};
use policies::failure::FailureClass;
use policies::span::ByteSize;
use serde::{Deserialize, Serialize};

use super::{Capabilities, Landed, Post, PublishError, Published, Publisher};
use crate::key::{Key, KeyError};
use crate::secret::{Confided, Secret};

/// The longest request.
const REQUEST_MAX: ByteSize = ByteSize(1 << 20);
/// What is read of an answer.
const ANSWER_MAX: ByteSize = ByteSize(64 << 10);
/// What a platform's words may take of a message.
const WORDS_CHARS_MAX: usize = 300;
const JSON: &str = "application/json";
/// Carries the post's key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One platform.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Where posts are sent, and where it is asked for them.
    pub url: String,
    /// Sent as a bearer token, if there is one.
    pub api_key: Option<Key>,
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

/// Why there is no answer.
enum Unanswered {
    /// There is no key that can be sent, so nothing was.
    Keyless(KeyError),
    /// The connection did not come to it.
    Cut(TransportError),
}

impl From<KeyError> for Unanswered {
    fn from(error: KeyError) -> Self {
        Self::Keyless(error)
    }
}

impl From<TransportError> for Unanswered {
    fn from(error: TransportError) -> Self {
        Self::Cut(error)
    }
}

/// The request with this key.
fn authorized(mut request: Request<Bytes>, key: &Secret) -> Result<Request<Bytes>, KeyError> {
    let value = key.bearer().map_err(|_| KeyError::Unsendable)?;
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(request)
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
    /// [`WebhookOptionsError`] when the address cannot be used.
    pub fn new(options: WebhookOptions, transport: Arc<dyn Transport>) -> Result<Self, WebhookOptionsError> {
        let bad_url = || WebhookOptionsError::Url { url: options.url.clone() };
        let url: Uri = options.url.parse().map_err(|_| bad_url())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad_url());
        }
        Ok(Self { options, url, transport })
    }

    fn post_request(&self, post: &Post) -> Result<Request<Bytes>, PublishError> {
        let unsendable = |class, reason| self.unsendable(post, class, reason);
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
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .header(IDEMPOTENCY_KEY, post.key.as_str());
        request.body(Bytes::from(body)).map_err(|error| unsendable(FailureClass::Rejected, error.to_string()))
    }

    fn find_request(&self, key: &str) -> Result<Request<Bytes>, PublishError> {
        let address = format!("{}{}key={}", self.url, if self.url.query().is_some() { '&' } else { '?' }, percent(key));
        Request::get(address)
            .header(ACCEPT, JSON)
            .body(Bytes::new())
            .map_err(|error| self.cannot_tell(FailureClass::Rejected, &error.to_string()))
    }

    fn unsendable(&self, post: &Post, class: FailureClass, reason: String) -> PublishError {
        let message = format!("the post {:?} cannot be sent to {}: {reason}", post.title, self.url);
        PublishError { class, landed: Landed::No, message }
    }

    /// The answer, by a key that the platform takes, if there is one. One that refuses the key has not looked at
    /// the post.
    async fn answer(&self, request: Request<Bytes>) -> Result<Response<Body>, Unanswered> {
        let Some(key) = &self.options.api_key else { return Ok(self.transport.send(request).await?) };
        let secret = key.current().await?;
        let response = self.transport.send(authorized(request.clone(), &secret)?).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(other) = key.instead_of(&secret).await
        {
            return Ok(self.transport.send(authorized(request, &other)?).await?);
        }
        Ok(response)
    }

    /// What the platform was sent that it must not say again.
    fn confided(&self) -> Confided {
        self.options.api_key.as_ref().map(Key::confided).unwrap_or_default()
    }

    /// The beginning of what a platform says; an unreadable body takes nothing from what the status says.
    async fn words(&self, body: Body) -> String {
        let bytes = transport::collect(body, ANSWER_MAX).await.unwrap_or_default();
        self.confided().excerpt(String::from_utf8_lossy(&bytes).trim(), WORDS_CHARS_MAX)
    }

    /// What an answer says of the post that it names.
    async fn taken(&self, body: Body) -> Result<Published, String> {
        let bytes = transport::collect(body, ANSWER_MAX).await.map_err(|error| error.to_string())?;
        let taken: Taken = serde_json::from_slice(&bytes).map_err(|error| {
            // It may repeat what is in the answer.
            let error = self.confided().excerpt(&error.to_string(), WORDS_CHARS_MAX);
            format!("{error}, where an object with `id` and maybe `url` is needed")
        })?;
        let mut published = Published { remote_id: taken.id, url: taken.url };
        let keys = self.confided().keys();
        keys.blot_text(&mut published.remote_id);
        published.url.iter_mut().for_each(|url| keys.blot_text(url));
        Ok(published)
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
        let response = self.answer(request).await.map_err(|unanswered| match unanswered {
            Unanswered::Keyless(error) => self.unsendable(&post, FailureClass::Rejected, error.to_string()),
            Unanswered::Cut(error) => self.unreached(&error),
        })?;
        let (head, body) = response.into_parts();
        // A conflict names the post that is there already under this key.
        if head.status.is_success() || head.status == StatusCode::CONFLICT {
            return self.taken(body).await.map_err(|reason| self.unreadable(head.status, &reason));
        }
        let (class, landed) = refusal(head.status);
        let words = self.words(body).await;
        let message = format!("{} answered {}: {words}{}", self.url, head.status, advice(head.status));
        Err(PublishError { class, landed, message })
    }

    async fn find(&self, key: &str) -> Result<Option<Published>, PublishError> {
        if !self.options.can_be_asked {
            return Err(self.cannot_tell(FailureClass::Rejected, "it is configured as one that cannot be asked"));
        }
        let request = self.find_request(key)?;
        let response = self.answer(request).await.map_err(|unanswered| match unanswered {
            Unanswered::Keyless(error) => self.cannot_tell(FailureClass::Rejected, &error.to_string()),
            Unanswered::Cut(error) => self.cannot_tell(FailureClass::ProviderDown, &error.to_string()),
        })?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::OK => match self.taken(body).await {
                Ok(published) => Ok(Some(published)),
                Err(reason) => Err(self.cannot_tell(FailureClass::ProviderDown, &reason)),
            },
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let reason = format!("it answered {status}: {}{}", self.words(body).await, advice(status));
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
