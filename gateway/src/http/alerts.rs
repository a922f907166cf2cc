//! Alerts of budgets: those that were said, and those that are being said. Invariant: each is given with its
//! number; a client that comes back with `Last-Event-ID` misses none.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::{Stream, stream};
use serde_json::{Value, json};

use super::events::From;
use super::page::{self, Which};
use super::problem::Problem;
use crate::system::{Said, System};

/// The most alerts on a page.
const PAGE_MAX: usize = 200;
/// What an alert is called in the stream.
const ALERT: &str = "alert";

/// `GET /v1/alerts`
pub(super) async fn list(
    State(system): State<Arc<System>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (before, limit) = Which::read(which, PAGE_MAX)?;
    let (alerts, last) = system.alerts(before, limit).await.map_err(Problem::internal)?;
    let next = page::next(last);
    Ok(Json(json!({ "alerts": alerts, "next": next })))
}

/// `GET /v1/alerts/events`
pub(super) async fn follow(
    State(system): State<Arc<System>>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Problem> {
    let after = From::read(from, &headers)?;
    let alerts = stream::unfold(system.follow_alerts(after), |mut follower| async move {
        let said = follower.next().await?;
        Some((Ok(sent(&said)), follower))
    });
    Ok(Sse::new(alerts).keep_alive(KeepAlive::default()))
}

fn sent(said: &Said) -> Sent {
    let data = serde_json::to_string(said).unwrap_or_default();
    Sent::default().id(said.id.to_string()).event(ALERT).data(data)
}
