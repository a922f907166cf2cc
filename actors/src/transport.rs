//! The one way to other machines: one `send`, below retries, breaker and budget.
//! Invariant: an error always says whether any of the request may have been sent, and says so
//! when in doubt.

mod network;
pub mod watched;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use policies::span::ByteSize;

pub use network::{Options, SetupError, network};

/// A response's body as it arrives.
pub type Body = BoxStream<'static, Result<Bytes, TransportError>>;

/// Sends one request and returns the response's head with its body still streaming.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends the request once: no retry, no redirect. Dropping the future or the body aborts it.
    ///
    /// # Errors
    /// [`TransportError`], with `sent` false only when nothing can have left this machine.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError>;

    /// The addresses that a name stands for, all of them, in the order in which they are tried.
    ///
    /// # Errors
    /// [`TransportError`], when the name stands for nothing or this transport knows no names.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
        let message = format!("{host}:{port} stands for nothing: this world knows no names");
        Err(TransportError { kind: TransportErrorKind::Connect, sent: false, message })
    }
}

/// An extension of a request, which is sent to one of these addresses and to no other, whatever its host's name
/// stands for by now. For whoever has checked them.
#[derive(Clone, Debug)]
pub struct ConnectTo(pub Vec<SocketAddr>);

/// A request or its response was cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct TransportError {
    /// What happened.
    pub kind: TransportErrorKind,
    /// Whether any part of the request may have reached the other side.
    pub sent: bool,
    /// What exactly, for a person.
    pub message: String,
}

/// How a request or its response was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportErrorKind {
    /// No connection: refused, no such host, TLS failed.
    Connect,
    /// Nothing arrived within the time allowed.
    Timeout,
    /// The connection broke, before or in the middle of the response.
    Reset,
    /// The body is larger than the caller takes.
    TooLarge,
    /// The request itself cannot be sent: a bad URL or header.
    Request,
}

impl std::fmt::Display for TransportErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Timeout => "timed out",
            Self::Reset => "connection broken",
            Self::TooLarge => "response too large",
            Self::Request => "bad request",
        })
    }
}

/// A body of one piece.
pub fn body(bytes: impl Into<Bytes>) -> Body {
    let bytes = bytes.into();
    Box::pin(futures::stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
}

/// Reads a whole body of at most `max`.
///
/// # Errors
/// Whatever cut the body short, or `TooLarge`.
pub async fn collect(mut body: Body, max: ByteSize) -> Result<Bytes, TransportError> {
    let bytes_max = usize::try_from(max.0).unwrap_or(usize::MAX);
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if whole.len() + piece.len() > bytes_max {
            return Err(TransportError {
                kind: TransportErrorKind::TooLarge,
                sent: true,
                message: format!("the body is over the {max} that are read at most"),
            });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A transport that answers from a function: a scripted server for simulations and tests.
pub fn scripted<F, Answer>(answer: F) -> Arc<dyn Transport>
where
    F: Fn(http::Request<Bytes>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<http::Response<Body>, TransportError>> + Send + 'static,
{
    Arc::new(Scripted(answer))
}

/// A transport that reaches nobody.
pub fn unplugged() -> Arc<dyn Transport> {
    scripted(|request| async move {
        Err(TransportError {
            kind: TransportErrorKind::Connect,
            sent: false,
            message: format!("{} is out of reach: this world has no network", request.uri()),
        })
    })
}

struct Scripted<F>(F);

#[async_trait]
impl<F, Answer> Transport for Scripted<F>
where
    F: Fn(http::Request<Bytes>) -> Answer + Send + Sync,
    Answer: Future<Output = Result<http::Response<Body>, TransportError>> + Send,
{
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        (self.0)(request).await
    }
}
