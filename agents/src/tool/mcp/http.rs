//! Streamable HTTP over the world's transport. Invariant: every request goes through the one seam, follows no
//! redirection, and what is read of an answer, or of one event of a stream, is bounded. A secret that is refused
//! is read again, and if it is another by then, the request is sent once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use actors::transport::{self, Body, Transport, TransportError, TransportErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use policies::span::ByteSize;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::{Error as SseError, Sse, SseStream};

use super::words::Word;
use crate::secret::Secret;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// The most of an answer, and of one event.
const ANSWER_MAX: ByteSize = ByteSize(4 << 20);

type Failed = StreamableHttpError<TransportError>;

/// The way to a server. Its secrets are read, so that a connection begins with those of now.
pub(super) async fn way(
    url: &str,
    headers: &BTreeMap<String, Word>,
    transport: Arc<dyn Transport>,
) -> Result<StreamableHttpClientTransport<OverTransport>, String> {
    let unusable =
        |name: &str| format!("the header `{name}` cannot be sent; check its name and how its value was copied");
    let mut words = Vec::new();
    for (name, word) in headers {
        let value = word.afresh().await.map_err(|error| format!("the header `{name}` cannot be sent: {error}"))?;
        value.header().map_err(|_| unusable(name))?;
        words.push((HeaderName::try_from(name).map_err(|_| unusable(name))?, word.clone()));
    }
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let over = OverTransport { transport, words: words.into() };
    Ok(StreamableHttpClientTransport::with_client(over, config))
}

/// rmcp's HTTP client, over the world's transport.
#[derive(Clone)]
pub(super) struct OverTransport {
    transport: Arc<dyn Transport>,
    /// What the configuration has each request carry.
    words: Arc<[(HeaderName, Word)]>,
}

/// What every request of a connection carries.
struct Carried {
    session: Option<Arc<str>>,
    auth: Option<String>,
    headers: HashMap<HeaderName, HeaderValue>,
}

impl OverTransport {
    async fn send(
        &self,
        method: Method,
        uri: &str,
        carried: Carried,
        more: Vec<(HeaderName, String)>,
        body: Bytes,
    ) -> Result<Response<Body>, Failed> {
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, format!("{JSON}, {EVENTS}"));
        let session = carried.session.map(|session| (SESSION, session.to_string()));
        let auth = carried.auth.map(|auth| (AUTHORIZATION, format!("Bearer {auth}")));
        for (name, value) in more.into_iter().chain(session).chain(auth) {
            request = request.header(name, value);
        }
        for (name, value) in carried.headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|error| unsendable(&error.to_string()))?;
        let (response, shown) = self.shown(request.clone()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            for ((_, word), refused) in self.words.iter().zip(&shown) {
                if word.has_other(refused).await {
                    return self.shown(request).await.map(|(response, _)| response);
                }
            }
        }
        Ok(response)
    }

    /// Sends a request with the words of now, and tells those.
    async fn shown(&self, mut request: Request<Bytes>) -> Result<(Response<Body>, Vec<Secret>), Failed> {
        let mut shown = Vec::new();
        for (name, word) in self.words.iter() {
            let words = word.current().await.map_err(|error| unsendable(&error.to_string()))?;
            let value = words.header().map_err(|error| unsendable(&error.to_string()))?;
            request.headers_mut().insert(name.clone(), value);
            shown.push(words);
        }
        let response = self.transport.send(request).await.map_err(StreamableHttpError::Client)?;
        Ok((response, shown))
    }
}

impl StreamableHttpClient for OverTransport {
    type Error = TransportError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let had_session = session_id.is_some();
        let carried = Carried { session: session_id, auth: auth_header, headers: custom_headers };
        let body = serde_json::to_vec(&message)?;
        let kind = vec![(CONTENT_TYPE, JSON.to_owned())];
        let response = self.send(Method::POST, &uri, carried, kind, body.into()).await?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => return Ok(StreamableHttpPostResponse::Accepted),
            StatusCode::NOT_FOUND if had_session => return Err(StreamableHttpError::SessionExpired),
            _ => {}
        }
        let text = |name: &HeaderName| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let session = text(&SESSION);
        let kind = text(&CONTENT_TYPE).unwrap_or_default();
        if head.status.is_success() && kind.starts_with(EVENTS) {
            return Ok(StreamableHttpPostResponse::Sse(events(body), session));
        }
        let bytes = transport::collect(body, ANSWER_MAX).await.map_err(StreamableHttpError::Client)?;
        let awaits = matches!(message, ClientJsonRpcMessage::Request(_));
        if head.status.is_success() && bytes.is_empty() && !awaits {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        // A refusal may carry an answer, which says more than its status.
        match serde_json::from_slice::<ServerJsonRpcMessage>(&bytes) {
            Ok(message) if kind.starts_with(JSON) => Ok(StreamableHttpPostResponse::Json(message, session)),
            _ if head.status.is_success() => Err(StreamableHttpError::UnexpectedContentType(Some(kind))),
            _ => Err(StreamableHttpError::UnexpectedServerResponse(format!("HTTP {}", head.status).into())),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let carried = Carried { session: Some(session_id), auth: auth_header, headers: custom_headers };
        self.send(Method::DELETE, &uri, carried, Vec::new(), Bytes::new()).await.map(|_| ())
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        let carried = Carried { session: session_id, auth: auth_header, headers: custom_headers };
        let more = last_event_id.map(|id| (LAST_EVENT, id)).into_iter().collect();
        let (head, body) = self.send(Method::GET, &uri, carried, more, Bytes::new()).await?.into_parts();
        let is_stream =
            head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes()));
        match head.status {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => Err(StreamableHttpError::ServerDoesNotSupportSse),
            status if status.is_success() && is_stream => Ok(events(body)),
            status => Err(StreamableHttpError::UnexpectedServerResponse(format!("HTTP {status}").into())),
        }
    }
}

/// A body as events, cut off at one that is too long.
fn events(body: Body) -> BoxStream<'static, Result<Sse, SseError>> {
    let max = usize::try_from(ANSWER_MAX.0).unwrap_or(usize::MAX);
    let bounded = body.scan(Some(0_usize), move |since, piece| {
        // How much has come since the last blank line, which ends an event.
        let bounded = since.map(|before| match piece {
            Ok(piece) => {
                let end = piece.windows(2).rposition(|pair| pair == b"\n\n" || pair == b"\r\r" || pair == b"\n\r");
                let open = end.map_or(before + piece.len(), |end| piece.len() - end);
                if open > max { (None, Err(too_large())) } else { (Some(open), Ok(piece)) }
            }
            Err(error) => (None, Err(error)),
        });
        *since = bounded.as_ref().and_then(|(open, _)| *open);
        std::future::ready(bounded.map(|(_, piece)| piece))
    });
    SseStream::from_bytes_stream(bounded).boxed()
}

fn too_large() -> TransportError {
    let message = format!("an event is over the {ANSWER_MAX} that are read at most");
    TransportError { kind: TransportErrorKind::TooLarge, sent: true, message }
}

fn unsendable(reason: &str) -> Failed {
    let (kind, message) = (TransportErrorKind::Request, reason.to_owned());
    StreamableHttpError::Client(TransportError { kind, sent: false, message })
}
