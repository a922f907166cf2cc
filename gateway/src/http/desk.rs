//! What a person says to a run, over HTTP. Invariant: each answer is the run as it is afterwards.

use std::sync::Arc;

use agents::run::EffectKey;
use agents::workflow::StepPath;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::problem::Problem;
use super::runs::{PRINCIPAL, Shown, problem, read, shown};
use crate::system::{Fate, System, Word};

/// `POST /v1/runs/{id}/approvals`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    path: StepPath,
    approved: bool,
    #[serde(default)]
    reason: String,
}

/// `POST /v1/runs/{id}/settlements`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settlement {
    key: EffectKey,
    done: bool,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

/// `POST /v1/runs/{id}/cancel`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    #[serde(default)]
    reason: String,
}

async fn say(system: &System, id: &str, word: Word) -> Result<Json<Shown>, Problem> {
    system.say(id, PRINCIPAL, word).await.map_err(problem)?;
    Ok(Json(shown(system, id).await?))
}

/// Answers a question that a run waits for.
pub(super) async fn approve(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Shown>, Problem> {
    let Verdict { path, approved, reason } = read(&body)?;
    say(&system, &id, if approved { Word::Approve(path) } else { Word::Reject(path, reason) }).await
}

/// Settles an effect in doubt.
pub(super) async fn settle(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Shown>, Problem> {
    let Settlement { key, done, id: remote, url } = read(&body)?;
    if !done && (remote.is_some() || url.is_some()) {
        return Err(Problem::unprocessable(
            "what was not done has no `id` and no `url`; leave them out, or say `done`",
        ));
    }
    let fate = if done { Fate::Done { id: remote, url } } else { Fate::NotDone };
    say(&system, &id, Word::Settle(key, fate)).await
}

/// Lets the steps go on that a budget held back.
pub(super) async fn resume(State(system): State<Arc<System>>, Path(id): Path<String>) -> Result<Json<Shown>, Problem> {
    say(&system, &id, Word::Resume).await
}

/// Stops a run.
pub(super) async fn cancel(
    State(system): State<Arc<System>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Shown>, Problem> {
    let Cancellation { reason } = if body.is_empty() { Cancellation::default() } else { read(&body)? };
    say(&system, &id, Word::Cancel(reason)).await
}
