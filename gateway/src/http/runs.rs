//! Runs over HTTP. Invariant: a run is answered as created only when it is
//! durable, and the same key with the same order is the same run.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::letters::LetterId;
use agents::aggregator::{Cursor, PAGE_MAX};
use agents::run::{EffectKey, End, Hold, Summary, Terms};
use agents::workflow::{InputError, StepPath};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use policies::approval::ApprovalPolicy;
use policies::money::Money;
use policies::priority::Priority;
use policies::span::ByteSize;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::journal::Version;

use super::BODY_BYTES_MAX;
use super::page;
use super::problem::Problem;
use crate::system::{AcceptError, NewRun, System, run_id};

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Who asks, until there are keys.
pub(super) const PRINCIPAL: &str = "http";

/// `POST /v1/runs`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// The name of a built-in workflow …
    #[serde(default)]
    workflow: Option<String>,
    /// … or a workflow's text, in TOML.
    #[serde(default)]
    definition: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    /// The most that the run may spend, such as "$0.50".
    #[serde(default)]
    cost_max: Option<Money>,
    /// `low`, `normal` or `high`.
    #[serde(default)]
    priority: Priority,
    /// `automatic` or `ask`.
    #[serde(default)]
    approval: ApprovalPolicy,
}

/// Takes a run on.
pub(super) async fn create(
    State(system): State<Arc<System>>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let ask: Ask = read(&body.map_err(|_| Problem::too_large(too_long()))?)?;
    let workflow = match (ask.workflow.as_deref(), &ask.definition) {
        (_, Some(text)) => system.workflow("definition", text),
        (None | Some("announce"), None) => system.announce(),
        (Some(other), None) => {
            return Err(Problem::unprocessable(format!(
                "there is no workflow `{other}`; use `announce`, or send a `definition`"
            )));
        }
    };
    let workflow = workflow.map_err(|faults| {
        Problem::unprocessable(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let id = match key(&headers)? {
        Some(key) => run_id(PRINCIPAL, &key),
        None => run_id(PRINCIPAL, &format!("{:032x}", system.world().chance("http/run").id())),
    };
    let terms = Terms { cost_max: ask.cost_max, approval: ask.approval, priority: ask.priority, ..Terms::default() };
    let new = NewRun { id: id.clone(), workflow, inputs: ask.inputs, principal: PRINCIPAL.to_owned(), terms };
    let taken = system.accept(new).await.map_err(problem)?;
    let status = if taken.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/v1/runs/{id}");
    Ok((status, [(header::LOCATION, location)], Json(shown(&system, &id).await?)).into_response())
}

fn too_long() -> String {
    format!("the body has more than {}; send less", ByteSize(BODY_BYTES_MAX as u64))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key.to_owned())),
        _ => {
            Err(Problem::bad_request(format!("Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters")))
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad_request(format!("the body is not what is asked for, at line {line}, column {column}: {error}"))
    })
}

pub(super) fn problem(error: AcceptError) -> Problem {
    use agents::run::Refusal;
    let text = error.to_string();
    match error {
        AcceptError::Taken(_) => Problem::conflict(text),
        AcceptError::Full => Problem::full(text),
        AcceptError::Dead(_) => Problem::conflict(text),
        AcceptError::Unavailable(_) => Problem::unavailable(text),
        AcceptError::Refused(Refusal::Inputs(errors))
            if errors.iter().any(|error| matches!(error, InputError::TooLarge { .. })) =>
        {
            Problem::too_large(text)
        }
        AcceptError::Refused(Refusal::Inputs(_)) => Problem::unprocessable(text),
        AcceptError::Refused(Refusal::Absent) => Problem::not_found(text),
        AcceptError::Refused(_) => Problem::conflict(text),
    }
}

/// Which page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// `GET /v1/runs`
pub(super) async fn list(
    State(system): State<Arc<System>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(which) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let cursor: Option<Cursor> = match which.after.as_deref().map(str::parse) {
        None => None,
        Some(Ok(cursor)) => Some(cursor),
        Some(Err(error)) => {
            let error: agents::aggregator::PageError = error;
            return Err(Problem::bad_request(error.to_string()));
        }
    };
    let reports = system.reports().clone();
    let limit = page::limit(which.limit, PAGE_MAX)?;
    let page = system.world().blocking("runs.list", move || reports.runs(cursor.as_ref(), limit)).await;
    let page = page.map_err(|e| Problem::internal(e.to_string()))?.map_err(|e| Problem::internal(e.to_string()))?;
    Ok(Json(json!({ "runs": page.runs, "next": page.next })))
}

/// A run as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    summary: Summary,
    /// What a finished run hands back.
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<BTreeMap<String, Value>>,
    /// The questions that it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approvals: Vec<Question>,
    /// The effects that a person must settle, or that wait for money.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parked: Vec<Parked>,
    /// The commands to it that are dead letters; it stands still where it needs them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dead_commands: Vec<LetterId>,
}

#[derive(Debug, Serialize)]
struct Question {
    path: StepPath,
    what: String,
}

#[derive(Debug, Serialize)]
struct Parked {
    path: StepPath,
    key: EffectKey,
    hold: Hold,
}

/// `GET /v1/runs/{id}`; nothing to whoever has seen it as it is.
pub(super) async fn show(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let dead_commands = system.dead_commands(&id);
    if !dead_commands.is_empty() {
        // They are no events of the run, so its tag knows nothing of them.
        let (state, _) = system.state_at(&id).await.map_err(Problem::internal)?;
        return Ok(Json(picture(&state, &id, dead_commands)?).into_response());
    }
    if let Some(seen) = headers.get(header::IF_NONE_MATCH) {
        let version = system.run_version(&id).await.map_err(Problem::internal)?;
        if version > Version::NONE && has_seen(seen, version) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag(version))]).into_response());
        }
    }
    let (state, version) = system.state_at(&id).await.map_err(Problem::internal)?;
    Ok(([(header::ETAG, tag(version))], Json(picture(&state, &id, dead_commands)?)).into_response())
}

/// The tag of a run as it is shown. A weak one: another release may show the same events otherwise.
fn tag(version: Version) -> String {
    format!("W/\"{version}\"")
}

/// Whether an `If-None-Match` names this version: `*`, or a list of tags that are compared weakly.
fn has_seen(seen: &HeaderValue, version: Version) -> bool {
    let tag = tag(version);
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    seen.to_str().is_ok_and(|seen| seen.trim() == "*" || seen.split(',').any(|one| opaque(one) == opaque(&tag)))
}

pub(super) async fn shown(system: &System, id: &str) -> Result<Shown, Problem> {
    let state = system.state(id).await.map_err(Problem::internal)?;
    picture(&state, id, system.dead_commands(id))
}

fn picture(state: &agents::run::State, id: &str, dead_commands: Vec<LetterId>) -> Result<Shown, Problem> {
    let absent = || Problem::not_found(format!("there is no run `{id}`; GET /v1/runs lists them"));
    let summary = state.summary().ok_or_else(absent)?;
    let outputs = match &state.end {
        Some(End::Finished { outputs }) => Some(outputs.clone()),
        _ => None,
    };
    let approvals = state.asked().map(|asked| Question { path: asked.path.clone(), what: asked.what.clone() });
    let parked = state.parked();
    let parked = parked.map(|(path, key, hold)| Parked { path: path.clone(), key: key.clone(), hold: hold.clone() });
    Ok(Shown { summary, outputs, approvals: approvals.collect(), parked: parked.collect(), dead_commands })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_compared_weakly_and_in_lists() {
        let seen = |value: &'static str| has_seen(&HeaderValue::from_static(value), Version(12));
        assert_eq!([seen("W/\"12\""), seen("\"12\""), seen("\"3\" , W/\"12\""), seen("*")], [true; 4]);
        assert_eq!([seen("\"1\""), seen("12"), seen("W/\"120\""), seen("")], [false; 4]);
    }
}
