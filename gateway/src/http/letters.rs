//! The dead letters over HTTP. Invariant: whoever only looks changes nothing, and to ask twice for the
//! same thing does it once.

use std::sync::Arc;

use actors::letters::{Entry, LetterId, PAGE_MAX};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::page;
use super::problem::Problem;
use super::runs::{PRINCIPAL, problem, read};
use crate::system::{Disposal, Disposed, LetterError, System};

/// Which page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
    /// Those that were replayed or discarded too.
    #[serde(default)]
    all: bool,
}

/// `POST /v1/letters/{id}/discard`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    #[serde(default = "unsaid")]
    reason: String,
}

fn unsaid() -> String {
    "no reason was given".to_owned()
}

/// A letter in a list: without its content, and of its history the last death alone.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a LetterId,
    at: policies::instant::Timestamp,
    kind: actors::letters::Kind,
    stream: &'a str,
    what: &'a str,
    child: &'a str,
    in_doubt: bool,
    deaths: usize,
    /// Of these, so many that it is certain to have caused.
    deaths_certain: usize,
    last: Option<&'a actors::letters::Death>,
    #[serde(flatten)]
    fate: &'a actors::letters::Fate,
}

fn line(entry: &Entry) -> Line<'_> {
    let letter = &entry.letter;
    Line {
        id: &letter.id,
        at: letter.at,
        kind: letter.kind,
        stream: &letter.stream,
        what: &letter.what,
        child: &letter.child,
        in_doubt: letter.in_doubt,
        deaths: letter.deaths.len(),
        deaths_certain: letter.deaths.iter().filter(|death| death.certain).count(),
        last: letter.deaths.last(),
        fate: &entry.fate,
    }
}

/// `GET /v1/letters`
pub(super) async fn list(
    State(system): State<Arc<System>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Which { before, limit, all }) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = page::limit(limit, PAGE_MAX)?;
    let letters = system.letters(before, !all, limit).await.map_err(Problem::internal)?;
    let next = letters.last().filter(|_| letters.len() == limit).map(|entry| entry.place);
    let lines: Vec<_> = letters.iter().map(line).collect();
    Ok(Json(json!({ "letters": lines, "next": next })))
}

/// `GET /v1/letters/{id}`
pub(super) async fn show(State(system): State<Arc<System>>, Path(id): Path<String>) -> Result<Json<Entry>, Problem> {
    system.letter(&LetterId::from(id.as_str())).await.map(Json).map_err(refused)
}

/// `POST /v1/letters/{id}/replay`
pub(super) async fn replay(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
) -> Result<Json<Disposed>, Problem> {
    dispose(&system, &id, Disposal::Replay).await
}

/// `POST /v1/letters/{id}/discard`
pub(super) async fn discard(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Disposed>, Problem> {
    let Why { reason } = if body.is_empty() { Why { reason: unsaid() } } else { read(&body)? };
    dispose(&system, &id, Disposal::Discard(reason)).await
}

async fn dispose(system: &System, id: &str, disposal: Disposal) -> Result<Json<Disposed>, Problem> {
    system.dispose(PRINCIPAL, &LetterId::from(id), disposal).await.map(Json).map_err(refused)
}

fn refused(error: LetterError) -> Problem {
    let text = error.to_string();
    match error {
        LetterError::Unknown(_) => Problem::not_found(text),
        LetterError::Run(error) => problem(error),
        LetterError::Unavailable(_) => Problem::unavailable(text),
    }
}
