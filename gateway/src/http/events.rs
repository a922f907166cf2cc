//! A run's events as server-sent events, from any sequence, live. Invariant:
//! each event of the stream is sent once, in order, its id being its version in
//! the run's stream; a client that comes back with `Last-Event-ID` misses none.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::Stream;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::journal::{Event, Version};

use super::problem::Problem;
use crate::system::System;

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    /// The last event that the client has; 0 or none for the beginning.
    #[serde(default)]
    after: Option<u64>,
}

impl From {
    /// The last event that the client has; what a client that comes back says of it goes before the address.
    pub(super) fn read(asked: Result<Query<Self>, QueryRejection>, headers: &HeaderMap) -> Result<u64, Problem> {
        let Query(from) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
        let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        Ok(last.or(from.after).unwrap_or(0))
    }
}

/// `GET /v1/runs/{id}/events`
pub(super) async fn follow(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Problem> {
    let after = Version(From::read(from, &headers)?);
    if !system.knows(&id) {
        return Err(Problem::not_found(format!("there is no run `{id}`; GET /v1/runs lists them")));
    }
    let events = stream::unfold(system.follow(&id, after), |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(sent(&event)), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// An event as JSON for people who call the API.
pub(super) fn shown(event: &Event) -> Value {
    json!({
        "seq": event.seq,
        "version": event.version,
        "time": event.time.to_string(),
        "kind": event.kind,
        "principal": event.principal,
        "payload": serde_json::from_slice::<Value>(&event.payload).unwrap_or(Value::Null),
    })
}

fn sent(event: &Event) -> Sent {
    Sent::default().id(event.version.to_string()).event(event.kind.clone()).data(shown(event).to_string())
}
