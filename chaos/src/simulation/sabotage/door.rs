//! A door that does not say what the system means. Invariant: the client sends what its plan says, and
//! sees what comes out here, as it would of a system with that fault in its routes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{Method, StatusCode, header};
use serde_json::Value;

/// The longest request or answer that is changed.
const BYTES_MAX: usize = 4 << 20;
const RUNS: &str = "/v1/runs";

/// Every run is taken on as if nobody had to be asked for its posts.
pub(super) fn asks_nobody(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| {
        let is_order = request.method() == Method::POST && request.uri().path() == RUNS;
        if !is_order {
            return next.run(request).await;
        }
        let (parts, body) = request.into_parts();
        let body = changed(body, |order| order["approval"] = Value::from("automatic")).await;
        next.run(Request::from_parts(parts, body)).await
    }))
}

/// Every run that has been told as finished is told as failed from then on.
pub(super) fn tells_another_end(router: Router) -> Router {
    let told: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    router.layer(from_fn(move |request: Request, next: Next| {
        let told = Arc::clone(&told);
        async move {
            let path = request.uri().path().to_owned();
            let is_look = request.method() == Method::GET && path.starts_with(RUNS);
            let answer = next.run(request).await;
            if !is_look || answer.status() != StatusCode::OK {
                return answer;
            }
            let (mut parts, body) = answer.into_parts();
            parts.headers.remove(header::CONTENT_LENGTH);
            let end = |run: &mut Value| {
                // A panic elsewhere leaves the set whole.
                let is_first = || told.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
                if run["status"] == "finished" && !is_first() {
                    run["status"] = Value::from("failed");
                }
            };
            Response::from_parts(parts, changed(body, end).await)
        }
    }))
}

/// The body with its JSON changed; nothing of one that does not read.
async fn changed(body: Body, change: impl FnOnce(&mut Value)) -> Body {
    let bytes = to_bytes(body, BYTES_MAX).await.unwrap_or_default();
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else { return Body::from(bytes) };
    change(&mut value);
    Body::from(value.to_string())
}
