//! Reading a page. Invariant: a connection is made only to an address that was checked, of a host that is
//! allowed, for the first address as for each that it redirects to; and what is read is bounded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actors::transport::{ConnectTo, Transport, TransportError};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use policies::span::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::is_public;
use super::url::{HostPattern, Place};

/// The most redirections that are followed.
const REDIRECTS_MAX: usize = 5;
/// What is read of a page where nothing else is said.
const PAGE_MAX: ByteSize = ByteSize(24 << 10);
/// What text is sent as, beside `text/…`.
const TEXTS: [&str; 6] = [
    "application/json",
    "application/xml",
    "application/xhtml+xml",
    "application/javascript",
    "application/yaml",
    "application/x-ndjson",
];

/// What may be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchPolicy {
    /// The hosts that pages may be read from; none without it.
    pub allow: Vec<HostPattern>,
    /// Those that may have private addresses, each by its own name.
    pub private: Vec<HostPattern>,
    /// The most that is read of a page.
    pub bytes_max: ByteSize,
}

impl Default for FetchPolicy {
    fn default() -> Self {
        Self { allow: Vec::new(), private: Vec::new(), bytes_max: PAGE_MAX }
    }
}

/// Why a page could not be read; written for the model that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It may not be.
    #[error("{0}")]
    Refused(String),
    /// Its host does not answer.
    #[error("{url} cannot be read: {error}")]
    Unreached {
        /// The address.
        url: String,
        /// Why.
        error: TransportError,
    },
}

/// Reads pages; see the module.
pub struct Fetcher {
    policy: FetchPolicy,
    transport: Arc<dyn Transport>,
}

impl Fetcher {
    /// One that reads what this policy allows.
    pub fn new(policy: FetchPolicy, transport: Arc<dyn Transport>) -> Self {
        Self { policy, transport }
    }

    /// The page at an address: `{"url", "status", "type", "text"}`, and `"cut": true` where it goes on.
    ///
    /// # Errors
    /// [`FetchError`]; nothing was sent to a host that is not allowed.
    pub async fn fetch(&self, address: &str) -> Result<Value, FetchError> {
        let mut place = Place::of(address).map_err(FetchError::Refused)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.get(&place).await?;
            let (head, body) = response.into_parts();
            let location = head.headers.get(LOCATION).filter(|_| head.status.is_redirection());
            let Some(location) = location else { return self.page(&place, head.status, &head.headers, body).await };
            let location = location.to_str().map_err(|_| refused(&place, "it redirects to what is no address"))?;
            place = place.join(location).map_err(|reason| refused(&place, &reason))?;
        }
        Err(refused(&place, &format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    async fn get(&self, place: &Place) -> Result<http::Response<actors::transport::Body>, FetchError> {
        if !self.policy.allow.iter().chain(&self.policy.private).any(|pattern| pattern.covers(place)) {
            let reason = format!("the host `{}` (port {}) is not among those that may be read", place.host, place.port);
            return Err(refused(place, &reason));
        }
        let addresses = self.addresses(place).await?;
        let request = Request::get(place.url.as_str())
            .header(ACCEPT, "text/*, application/json, application/xml;q=0.9")
            .header(USER_AGENT, "callboard")
            .extension(ConnectTo(addresses))
            .body(Bytes::new())
            .map_err(|error| refused(place, &error.to_string()))?;
        self.transport.send(request).await.map_err(|error| unreached(place, error))
    }

    /// The addresses of a place, each of which may be connected to. One that may not refuses them all: the
    /// name is not what it seems.
    async fn addresses(&self, place: &Place) -> Result<Vec<SocketAddr>, FetchError> {
        let found = match place.literal {
            Some(address) => vec![SocketAddr::new(address, place.port)],
            None => self.transport.resolve(&place.host, place.port).await.map_err(|error| unreached(place, error))?,
        };
        let may_be_private = self.policy.private.iter().any(|pattern| pattern.names(place));
        let bad: Option<IpAddr> =
            found.iter().map(SocketAddr::ip).find(|address| !may_be_private && !is_public(*address));
        match bad {
            Some(address) => {
                let reason = format!("`{}` is {address}, which is not a public address", place.host);
                Err(refused(place, &format!("{reason}{}", self.port_missing(place))))
            }
            None if found.is_empty() => Err(refused(place, "its host has no address")),
            None => Ok(found),
        }
    }

    /// What to do where the host may have a private address, and only at other ports.
    fn port_missing(&self, place: &Place) -> String {
        if !self.policy.private.iter().any(|pattern| pattern.names_host(place)) {
            return String::new();
        }
        let Place { host, port, .. } = place;
        format!("; `private` names its host, but not its port {port}: write \"{host}:{port}\" there")
    }

    async fn page(
        &self,
        place: &Place,
        status: StatusCode,
        headers: &HeaderMap,
        body: actors::transport::Body,
    ) -> Result<Value, FetchError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("text/plain");
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_text = essence.starts_with("text/")
            || TEXTS.contains(&essence.as_str())
            || essence.ends_with("+json")
            || essence.ends_with("+xml");
        if !is_text {
            return Err(refused(place, &format!("it is {essence:?}, and only text is read")));
        }
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(refused(place, "it is compressed, though that was not asked for"));
        }
        let (bytes, cut) = self.read(body).await.map_err(|error| unreached(place, error))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut page = json!({ "url": place.url.as_str(), "status": status.as_u16(), "type": essence, "text": text });
        if cut {
            page["cut"] = Value::Bool(true);
        }
        Ok(page)
    }

    /// As much of a body as is read, and whether it goes on.
    async fn read(&self, mut body: actors::transport::Body) -> Result<(Bytes, bool), TransportError> {
        let bytes_max = usize::try_from(self.policy.bytes_max.0).unwrap_or(usize::MAX);
        let mut read = BytesMut::new();
        while let Some(piece) = body.next().await {
            let piece = piece?;
            let room = bytes_max.saturating_sub(read.len());
            read.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                return Ok((read.freeze(), true));
            }
        }
        Ok((read.freeze(), false))
    }
}

fn refused(place: &Place, reason: &str) -> FetchError {
    FetchError::Refused(format!("{} is not read: {reason}", place.url))
}

fn unreached(place: &Place, error: TransportError) -> FetchError {
    FetchError::Unreached { url: place.url.to_string(), error }
}
