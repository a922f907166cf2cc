//! The transport over the network: reqwest on rustls with ring. Invariant: it follows no redirect,
//! uses no proxy, repeats nothing, and needs no process-wide TLS provider.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use policies::span::ByteSize;

use super::{Body, ConnectTo, Transport, TransportError, TransportErrorKind};

/// Bounds of the network transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long the other side may stay silent, before the response and within it.
    pub silence_max: Duration,
    /// How much of a body is let through.
    pub body_max: ByteSize,
    /// How many idle connections are kept for one host.
    pub idle_per_host_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            silence_max: Duration::from_secs(300),
            body_max: ByteSize(1 << 30),
            idle_per_host_max: 8,
        }
    }
}

/// The HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// rustls refused its settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// reqwest refused its settings.
    #[error("the HTTP client refuses its settings")]
    Client(#[source] reqwest::Error),
}

/// The transport over the network.
///
/// # Errors
/// When TLS or the client cannot be set up. A machine without root certificates is no error here:
/// plain HTTP works, and each HTTPS connection fails with the reason.
pub fn network(options: &Options) -> Result<Arc<dyn Transport>, SetupError> {
    let network = Network { client: client(options, tls()?, None)?, options: options.clone(), tls: tls()? };
    Ok(Arc::new(network))
}

/// A client; with a host and addresses, one that knows that host by no others.
fn client(
    options: &Options,
    tls: rustls::ClientConfig,
    known: Option<(&str, &[SocketAddr])>,
) -> Result<reqwest::Client, SetupError> {
    let mut client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.silence_max)
        .pool_max_idle_per_host(if known.is_some() { 0 } else { options.idle_per_host_max });
    if let Some((host, addresses)) = known {
        client = client.resolve_to_addrs(host, addresses);
    }
    client.build().map_err(SetupError::Client)
}

fn tls() -> Result<rustls::ClientConfig, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate could not be read");
    }
    let mut roots = rustls::RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        tracing::warn!("no root certificates found: HTTPS will fail; install ca-certificates");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

struct Network {
    client: reqwest::Client,
    options: Options,
    tls: rustls::ClientConfig,
}

impl Network {
    /// The client for a request: one that has no connection but to the addresses that it is tied to.
    fn client_for(&self, request: &http::Request<Bytes>) -> Result<reqwest::Client, TransportError> {
        let Some(ConnectTo(addresses)) = request.extensions().get() else { return Ok(self.client.clone()) };
        let host = request.uri().host().unwrap_or_default();
        client(&self.options, self.tls.clone(), Some((host, addresses))).map_err(|error| TransportError {
            kind: TransportErrorKind::Request,
            sent: false,
            message: error.to_string(),
        })
    }
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        let client = self.client_for(&request)?;
        let request = reqwest::Request::try_from(request).map_err(|error| classified(&error))?;
        let response = client.execute(request).await.map_err(|error| classified(&error))?;
        let mut head = http::Response::builder().status(response.status()).version(response.version());
        if let Some(headers) = head.headers_mut() {
            headers.clone_from(response.headers());
        }
        let pieces = response.bytes_stream().map(|piece| piece.map_err(|error| classified(&error)));
        head.body(bounded(pieces.boxed(), self.options.body_max)).map_err(|error| TransportError {
            kind: TransportErrorKind::Reset,
            sent: true,
            message: error.to_string(),
        })
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
        let failed = |kind, message| TransportError { kind, sent: false, message };
        let looked_up = tokio::time::timeout(self.options.connect_timeout, tokio::net::lookup_host((host, port))).await;
        let found =
            looked_up.map_err(|_| failed(TransportErrorKind::Timeout, format!("{host} was not found in time")))?;
        let found = found.map_err(|error| failed(TransportErrorKind::Connect, format!("{host}: {error}")))?;
        Ok(found.collect())
    }
}

/// Ends a body with an error once it is over `max`.
fn bounded(body: Body, max: ByteSize) -> Body {
    let left = Some((body, max.0));
    futures::stream::unfold(left, move |left| async move {
        let (mut body, room) = left?;
        let piece = match body.next().await? {
            Ok(piece) => piece,
            Err(error) => return Some((Err(error), None)),
        };
        match room.checked_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX)) {
            Some(room) => Some((Ok(piece), Some((body, room)))),
            None => Some((Err(too_large(max)), None)),
        }
    })
    .boxed()
}

fn too_large(max: ByteSize) -> TransportError {
    TransportError { kind: TransportErrorKind::TooLarge, sent: true, message: format!("the body is over {max}") }
}

fn classified(error: &reqwest::Error) -> TransportError {
    let kind = if error.is_builder() {
        TransportErrorKind::Request
    } else if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else {
        TransportErrorKind::Reset
    };
    let sent = matches!(kind, TransportErrorKind::Timeout | TransportErrorKind::Reset);
    TransportError { kind, sent, message: chain(error) }
}

/// The whole chain of causes: reqwest's own text alone says little.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
