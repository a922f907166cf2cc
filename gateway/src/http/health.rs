//! Is it alive, and is it ready? Invariant: ready means that the tree is up and
//! the journal writes, not merely that HTTP answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::system::System;

/// `GET /health/live`: this process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// `GET /health/ready`: new runs would be taken.
pub(super) async fn ready(State(system): State<Arc<System>>) -> (StatusCode, Json<Value>) {
    let readiness = system.readiness();
    let (status, word) =
        if readiness.is_ready() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (status, Json(json!({ "status": word, "checks": readiness })))
}

/// `GET /health`: the same checks, with what a person wants to know.
pub(super) async fn all(State(system): State<Arc<System>>) -> (StatusCode, Json<Value>) {
    let readiness = system.readiness();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if readiness.is_ready() { "ready" } else { "not ready" },
        "version": env!("CARGO_PKG_VERSION"),
        "checks": readiness,
        "journal": { "head": system.journal().head() },
        "guards": system.guards(),
    });
    (status, Json(body))
}
