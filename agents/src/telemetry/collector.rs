//! A collector that takes OTLP over HTTP. Invariant: it is told a bounded time for each answer, and what it
//! answers is believed only as far as its status goes, and where it says that it has taken a part; nothing that it
//! says is passed on with a secret of a header.

use std::sync::Arc;
use std::time::Duration;

use actors::transport::{self, Transport};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use policies::instant::Timestamp;
use policies::span::ByteSize;
use serde_json::Value;

use crate::key::Key;
use crate::providers::retry_after;
use crate::secret::{Confided, Secret};

/// The longest answer that is read.
const ANSWER_MAX: ByteSize = ByteSize(64 << 10);
/// What its words may take of a message.
const WORDS_CHARS_MAX: usize = 300;
/// The longest that it may ask to be left alone.
const RETRY_AFTER_MAX: Duration = policies::retry::HOLD_MAX;
/// Where spans and metrics go, after the address.
pub(super) const TRACES: &str = "/v1/traces";
pub(super) const METRICS: &str = "/v1/metrics";

/// Where telemetry is sent.
pub struct Collector {
    traces: Uri,
    metrics: Uri,
    headers: Vec<(HeaderName, Header)>,
    timeout: Duration,
    transport: Arc<dyn Transport>,
}

/// What a header says.
#[derive(Clone, Debug)]
pub enum Header {
    /// Words.
    Plain(HeaderValue),
    /// A secret, which may be rotated.
    Secret(Key),
}

/// Why telemetry cannot be sent there.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// Not an address that can be posted to.
    #[error("url {0:?} is not an http address; write one such as http://127.0.0.1:4318")]
    Url(String),
    /// Not a header's name.
    #[error("no header can be called {0:?}; write a name such as \"authorization\"")]
    Header(String),
}

/// Why the collector has not taken what it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may take it later, after so long if it says so.
    Later(String, Option<Duration>),
    /// It never will.
    Never(String),
    /// Not as a whole; it may take a part of it.
    Whole(String),
    /// It has no such place.
    Nowhere(String),
}

/// What it has not taken of what it took, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) count: usize,
    pub(super) why: String,
}

impl Collector {
    /// The collector at `url`, without `/v1/traces`.
    ///
    /// # Errors
    /// [`CollectorError`] when it cannot be sent anything.
    pub fn new(
        url: &str,
        headers: impl IntoIterator<Item = (String, Header)>,
        timeout: Duration,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, CollectorError> {
        let at = |path: &str| -> Result<Uri, CollectorError> {
            let address: Option<Uri> = format!("{}{path}", url.trim_end_matches('/')).parse().ok();
            let address = address.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
            address.ok_or_else(|| CollectorError::Url(url.to_owned()))
        };
        let named = |(name, header): (String, Header)| match name.parse() {
            Ok(parsed) => Ok((parsed, header)),
            Err(_) => Err(CollectorError::Header(name)),
        };
        let headers: Result<_, _> = headers.into_iter().map(named).collect();
        Ok(Self { traces: at(TRACES)?, metrics: at(METRICS)?, headers: headers?, timeout, transport })
    }

    pub(super) async fn traces(&self, body: String, now: Timestamp) -> Result<Rejected, Refusal> {
        self.send(&self.traces, body, now).await
    }

    pub(super) async fn metrics(&self, body: String, now: Timestamp) -> Result<Rejected, Refusal> {
        self.send(&self.metrics, body, now).await
    }

    async fn send(&self, to: &Uri, body: String, now: Timestamp) -> Result<Rejected, Refusal> {
        let mut request = Request::post(to.clone()).header(CONTENT_TYPE, "application/json");
        let mut shown: Vec<(&Key, Secret)> = Vec::new();
        for (name, header) in &self.headers {
            let value = match header {
                Header::Plain(words) => words.clone(),
                Header::Secret(key) => {
                    let secret = key.current().await.map_err(|error| later(&error))?;
                    let value = secret.header().map_err(|error| later(&error))?;
                    shown.push((key, secret));
                    value
                }
            };
            request = request.header(name, value);
        }
        let request = request.body(Bytes::from(body)).map_err(|error| Refusal::Never(error.to_string()))?;
        let answer = async {
            let response = self.transport.send(request).await?;
            let (head, body) = response.into_parts();
            // Read also so that the connection can be used again; one that breaks now has still answered.
            Ok((head, transport::collect(body, ANSWER_MAX).await.unwrap_or_default()))
        };
        let (head, body) = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(later::<transport::TransportError>(&error)),
            Err(_) => return Err(later(&format_args!("no answer within {:?}", self.timeout))),
        };
        if matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            for (key, secret) in shown {
                // The next sending has it, if it was rotated.
                let _ = key.instead_of(&secret).await;
            }
        }
        let wait = retry_after(&head.headers, now).map(|wait| wait.min(RETRY_AFTER_MAX));
        judge(head.status, wait).map(|()| self.rejected(&body))
    }

    /// What it says that it has not taken. It is not to be sent again, as OTLP has it.
    fn rejected(&self, body: &[u8]) -> Rejected {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let partial = &answer["partialSuccess"];
        // OTLP's JSON writes such a number as a text, and allows for it as a number.
        let number = |key: &str| match &partial[key] {
            Value::String(digits) => digits.parse().ok(),
            other => other.as_u64(),
        };
        let count = ["rejectedSpans", "rejectedDataPoints"].into_iter().find_map(number).unwrap_or_default();
        let keys = self
            .headers
            .iter()
            .filter_map(|(_, header)| if let Header::Secret(key) = header { Some(key) } else { None });
        let confided = Confided::all(keys.map(Key::confided));
        let why = confided.excerpt(partial["errorMessage"].as_str().unwrap_or_default(), WORDS_CHARS_MAX);
        Rejected { count: usize::try_from(count).unwrap_or(usize::MAX), why }
    }
}

fn later<E: std::fmt::Display + ?Sized>(error: &E) -> Refusal {
    Refusal::Later(error.to_string(), None)
}

/// What a status means. What is wrong with the address or the key can be mended, and nothing is lost then; what
/// is wrong with what was sent cannot.
fn judge(status: StatusCode, wait: Option<Duration>) -> Result<(), Refusal> {
    match status.as_u16() {
        200..=299 => Ok(()),
        400 | 413 | 422 => Err(Refusal::Whole(format!("answered {status}"))),
        404 | 405 | 501 => Err(Refusal::Nowhere(format!("answered {status}"))),
        415 => Err(Refusal::Never(format!("answered {status}"))),
        _ => Err(Refusal::Later(format!("answered {status}"), wait)),
    }
}
