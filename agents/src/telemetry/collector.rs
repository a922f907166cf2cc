//! A collector that takes OTLP over HTTP. Invariant: it is told a bounded time for each answer, and what it
//! answers is believed only as far as its status goes; no error repeats a header.

use std::sync::Arc;
use std::time::Duration;

use actors::transport::{self, Transport};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use policies::span::ByteSize;

use crate::key::Key;
use crate::secret::Secret;

/// The longest answer that is read; there is nothing in it that matters.
const ANSWER_MAX: ByteSize = ByteSize(64 << 10);
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
    /// It may take it later.
    Later(String),
    /// It never will.
    Never(String),
    /// Not as a whole; it may take a part of it.
    Whole(String),
    /// It has no such place.
    Nowhere(String),
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

    pub(super) async fn traces(&self, body: String) -> Result<(), Refusal> {
        self.send(&self.traces, body).await
    }

    pub(super) async fn metrics(&self, body: String) -> Result<(), Refusal> {
        self.send(&self.metrics, body).await
    }

    async fn send(&self, to: &Uri, body: String) -> Result<(), Refusal> {
        let mut request = Request::post(to.clone()).header(CONTENT_TYPE, "application/json");
        let mut shown: Vec<(&Key, Secret)> = Vec::new();
        for (name, header) in &self.headers {
            let value = match header {
                Header::Plain(words) => words.clone(),
                Header::Secret(key) => {
                    let secret = key.current().await.map_err(|error| Refusal::Later(error.to_string()))?;
                    let value = secret.header().map_err(|error| Refusal::Later(error.to_string()))?;
                    shown.push((key, secret));
                    value
                }
            };
            request = request.header(name, value);
        }
        let request = request.body(Bytes::from(body)).map_err(|error| Refusal::Never(error.to_string()))?;
        let answer = async {
            let response = self.transport.send(request).await?;
            let status = response.status();
            // Read, so that the connection can be used again; one that breaks now has still answered.
            let _ = transport::collect(response.into_body(), ANSWER_MAX).await;
            Ok(status)
        };
        let status = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(later(&error)),
            Err(_) => return Err(Refusal::Later(format!("no answer within {:?}", self.timeout))),
        };
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            for (key, secret) in shown {
                // The next sending has it, if it was rotated.
                let _ = key.instead_of(&secret).await;
            }
        }
        judge(status)
    }
}

fn later(error: &transport::TransportError) -> Refusal {
    Refusal::Later(error.to_string())
}

/// What a status means. What is wrong with the address or the key can be mended, and nothing is lost then; what
/// is wrong with what was sent cannot.
fn judge(status: StatusCode) -> Result<(), Refusal> {
    match status.as_u16() {
        200..=299 => Ok(()),
        400 | 413 | 422 => Err(Refusal::Whole(format!("answered {status}"))),
        404 | 405 | 501 => Err(Refusal::Nowhere(format!("answered {status}"))),
        415 => Err(Refusal::Never(format!("answered {status}"))),
        _ => Err(Refusal::Later(format!("answered {status}"))),
    }
}
