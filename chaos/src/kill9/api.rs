//! The program's HTTP API, as a client calls it. Invariant: what a call gives is an answer that came
//! whole, or nothing; after nothing, nobody knows whether the request was heard.

use std::sync::Arc;
use std::time::Duration;

use actors::transport::{self, Transport};
use agents::secret::Secret;
use axum::body::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use policies::span::ByteSize;
use serde_json::Value;

/// The largest answer that is read.
const ANSWER_MAX: ByteSize = ByteSize(16 << 20);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The program, at the address of its present life.
pub(crate) struct Api {
    http: Arc<dyn Transport>,
    address: String,
    /// Shown with every request, where there is one.
    token: Option<Secret>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Bytes,
}

impl Answer {
    /// The body, where it is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The data of a stream of events.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body);
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
    }
}

impl Api {
    pub(crate) fn new(http: Arc<dyn Transport>, address: String) -> Self {
        Self { http, address, token: None }
    }

    /// The same, for somebody who has a token.
    pub(crate) fn with_token(self, token: Secret) -> Self {
        Self { token: Some(token), ..self }
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Answer> {
        self.send(Request::builder().method(Method::GET).uri(self.at(path)), Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.send(Request::builder().method(Method::POST).uri(self.at(path)), Bytes::from(body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Option<Answer> {
        self.send(Request::builder().method(Method::DELETE).uri(self.at(path)), Bytes::new()).await
    }

    /// Asks for a run.
    pub(crate) async fn ask(&self, key: &str, body: &str) -> Option<Answer> {
        let request = Request::builder().method(Method::POST).uri(self.at("/v1/runs")).header("idempotency-key", key);
        self.send(request, Bytes::from(body.to_owned())).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Option<Answer> {
        let request = match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.expose())),
            None => request,
        };
        let request = request.body(body).ok()?;
        let exchange = async {
            let response = self.http.send(request).await.ok()?;
            let status = response.status().as_u16();
            let body = transport::collect(response.into_body(), ANSWER_MAX).await.ok()?;
            Some(Answer { status, body })
        };
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_whole_or_there_is_none() {
        let server = transport::scripted(|request: Request<Bytes>| async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let text = format!("event: a\ndata: {{\"path\":{:?}}}\n\n: alive\n\ndata: no\n\n", request.uri().path());
            Ok(http::Response::new(transport::body(text)))
        });
        let api = Api::new(server, "http://here".to_owned());
        let events = api.get("/v1/x").await.unwrap().events();
        assert_eq!(events, [serde_json::json!({ "path": "/v1/x" })]);
        assert!(api.get("/never").await.is_none());
        assert!(Api::new(transport::unplugged(), "http://here".to_owned()).get("/").await.is_none());
    }
}
