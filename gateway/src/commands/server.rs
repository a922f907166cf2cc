//! A server that runs, as the commands ask it. Invariant: what it answers is bounded, and a problem
//! that it reports is the command's error.

use actors::transport;
use actors::world::{World, WorldOptions};
use anyhow::Context;
use bytes::Bytes;
use http::Method;
use policies::span::ByteSize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest answer that is read.
const ANSWER_MAX: ByteSize = ByteSize(16 << 20);

pub(super) struct Server {
    url: String,
    world: World,
}

impl Server {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self { url: url.trim_end_matches('/').to_owned(), world: World::real(WorldOptions::default())? })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        self.ask(Method::POST, path, Bytes::from(body.to_string())).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.url);
        let request = http::Request::builder().method(method).uri(&url).header("content-type", "application/json");
        let request = request.body(body).with_context(|| format!("{url} is not an address; mend --url"))?;
        let no_server = || format!("{url} does not answer; start `callboard serve`, or name it with --url");
        let response = self.world.http().send(request).await.with_context(no_server)?;
        let status = response.status();
        let body = transport::collect(response.into_body(), ANSWER_MAX).await.with_context(no_server)?;
        if !status.is_success() {
            let problem: Option<Value> = serde_json::from_slice(&body).ok();
            let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
            anyhow::bail!(
                "{}",
                detail.map_or_else(|| format!("{url} answered {status}; is it a Callboard server?"), str::to_owned)
            );
        }
        serde_json::from_slice(&body).with_context(|| format!("{url} did not answer as a Callboard server does"))
    }
}

/// Text as a part of an address: the name of a run has a slash.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}
