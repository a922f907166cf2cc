//! The HTTP API, thin: it reads requests, asks the system, and writes answers.
//! Invariant: it holds no state of its own but the system's handle.

mod alerts;
mod costs;
mod desk;
mod events;
mod faults;
mod health;
mod letters;
mod origin;
mod page;
mod policy;
mod problem;
mod runs;
mod tree;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::{Listener, ListenerExt};
use tokio::net::{TcpListener, TcpStream};

pub use problem::Problem;

use crate::system::System;

/// The largest request: a brief with its background documents.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The routes, over one system; those of live faults only where they are configured.
pub fn router(system: Arc<System>) -> Router {
    let faults = system.live().map(|live| faults::routes(live.clone())).unwrap_or_default();
    Router::new()
        .route("/v1/runs", post(runs::create).get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/events", get(events::follow))
        .route("/v1/runs/{id}/approvals", post(desk::approve))
        .route("/v1/runs/{id}/settlements", post(desk::settle))
        .route("/v1/runs/{id}/resume", post(desk::resume))
        .route("/v1/runs/{id}/cancel", post(desk::cancel))
        .route("/v1/costs", get(costs::list))
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/alerts/events", get(alerts::follow))
        .route("/v1/policy", get(policy::history))
        .route("/v1/policy/reload", post(policy::reload))
        .route("/v1/policy/rollback", post(policy::rollback))
        .route("/v1/tree", get(tree::show))
        .route("/v1/tree/{name}/{action}", post(tree::tell))
        .route("/v1/audit", get(tree::audit))
        .route("/v1/letters", get(letters::list))
        .route("/v1/letters/{id}", get(letters::show))
        .route("/v1/letters/{id}/replay", post(letters::replay))
        .route("/v1/letters/{id}/discard", post(letters::discard))
        .route("/feed.atom", get(feed))
        .route("/health", get(health::all))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics))
        .merge(faults)
        .fallback(|| async { Problem::not_found("this address has no resource; see /v1/runs, /v1/tree, /health") })
        .method_not_allowed_fallback(|| async { Problem::method("this resource does not take that method") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(origin::local_only))
        .with_state(system)
}

/// Whether an address may be listened on while there are no keys.
///
/// # Errors
/// What to do instead.
pub fn allowed(address: SocketAddr) -> Result<(), String> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "{address} is reachable from other machines, and there are no keys yet; listen on 127.0.0.1 or [::1], \
         and put a proxy that authenticates in front of it"
    ))
}

/// A listener whose connections send what is written at once. An event of a stream is small, and would wait
/// else until the client has confirmed what came before it: 40 ms, measured with reqwest.
pub fn at_once(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection waits with what is small");
        }
    })
}

async fn feed(State(system): State<Arc<System>>) -> Result<Response, Problem> {
    let bytes = system.feed().await.map_err(Problem::unavailable)?;
    let Some(bytes) = bytes else {
        return Err(Problem::not_found("nothing was published yet, so there is no feed"));
    };
    Ok(([(header::CONTENT_TYPE, "application/atom+xml; charset=utf-8")], bytes).into_response())
}

async fn metrics(State(system): State<Arc<System>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], system.metrics()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_allowed_without_keys() {
        for (address, fine) in
            [("127.0.0.1:80", true), ("[::1]:80", true), ("0.0.0.0:80", false), ("192.168.1.2:80", false)]
        {
            assert_eq!(allowed(address.parse().unwrap()).is_ok(), fine, "{address}");
        }
    }
}
