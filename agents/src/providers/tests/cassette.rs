//! Recorded exchanges, and the player that serves them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use actors::transport::{self, Body, Transport, TransportError, TransportErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use policies::tokens::Usage;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{Block, Finish};

/// One exchange that went well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cassette {
    pub(super) sent: Sent,
    pub(super) answer: Answer,
    pub(super) reply: Reply,
}

/// What a request must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    path: String,
    headers: BTreeMap<String, String>,
    /// What its body must hold.
    body: Value,
    /// What its body must not.
    absent: Vec<String>,
}

/// An answer as it came.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    /// The body, as it was cut on the way.
    pub(super) pieces: Vec<String>,
    /// Whether the connection broke after it.
    #[serde(default)]
    pub(super) cut: bool,
}

/// The reply that it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    pub(super) content: Vec<Block>,
    pub(super) finish: Finish,
    pub(super) usage: Usage,
    pub(super) remote_id: String,
    pub(super) model: String,
}

fn folder(adapter: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/cassettes")).join(adapter)
}

/// The scenes that an adapter has.
pub(super) fn scenes(adapter: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder(adapter)).unwrap();
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    let mut scenes: Vec<String> = files.map(name).filter(|name| name != "errors").collect();
    scenes.sort();
    scenes
}

/// What one file of an adapter holds; none where it has no such file.
pub(super) fn load<T: DeserializeOwned>(adapter: &str, name: &str) -> Option<T> {
    let path = folder(adapter).join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

impl Cassette {
    /// Serves the exchange to whoever asks as it was asked, in pieces of `size` bytes or as it came.
    pub(super) fn player(self, size: Option<usize>) -> Arc<dyn Transport> {
        let Self { sent, answer, .. } = self;
        transport::scripted(move |request| {
            sent.check(&request);
            let response = answer.response(size);
            async move { Ok(response) }
        })
    }
}

impl Sent {
    /// Whether it was asked so.
    #[track_caller]
    pub(super) fn check(&self, request: &Request<Bytes>) {
        assert_eq!(request.uri().path(), self.path);
        for (name, value) in &self.headers {
            let told = request.headers().get(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(told.to_str().unwrap(), value, "{name}");
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert!(holds(&body, &self.body), "sent {body:#}\nwanted {:#}", self.body);
        for name in &self.absent {
            assert!(body.get(name).is_none(), "`{name}` was sent: {body:#}");
        }
    }
}

/// Whether an object holds all that another does, and everything else is the same.
fn holds(sent: &Value, wanted: &Value) -> bool {
    match (sent, wanted) {
        (Value::Object(sent), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| sent.get(name).is_some_and(|sent| holds(sent, wanted)))
        }
        (Value::Array(sent), Value::Array(wanted)) => {
            sent.len() == wanted.len() && sent.iter().zip(wanted).all(|(sent, wanted)| holds(sent, wanted))
        }
        (sent, wanted) => sent == wanted,
    }
}

impl Answer {
    /// Serves the answer to any request.
    pub(super) fn player(self, size: Option<usize>) -> Arc<dyn Transport> {
        transport::scripted(move |_| {
            let response = self.response(size);
            async move { Ok(response) }
        })
    }

    pub(super) fn response(&self, size: Option<usize>) -> Response<Body> {
        let pieces: Vec<Bytes> = match size {
            None => self.pieces.iter().map(|piece| Bytes::from(piece.clone())).collect(),
            Some(size) => self.pieces.concat().as_bytes().chunks(size).map(Bytes::copy_from_slice).collect(),
        };
        let pieces: Vec<_> = pieces.into_iter().map(Ok).chain(self.cut.then(|| Err(broken()))).collect();
        self.with_body(futures::stream::iter(pieces).boxed())
    }

    /// Its head with another body.
    pub(super) fn with_body(&self, body: Body) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response.body(body).unwrap()
    }
}

pub(super) fn broken() -> TransportError {
    TransportError { kind: TransportErrorKind::Reset, sent: true, message: "cut".to_owned() }
}
