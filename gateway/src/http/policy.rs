//! The policies over HTTP. Invariant: a change is answered as made only when it is durable and in force.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::runs::PRINCIPAL;
use crate::system::{ReloadError, Reloaded, System, Wanted};

/// How it is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// The same, with what to go back to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    /// The version; without it, the one before the present one.
    #[serde(default)]
    version: Option<u64>,
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/policy/reload`
pub(super) async fn reload(
    State(system): State<Arc<System>>,
    how: Result<Query<How>, QueryRejection>,
) -> Result<Json<Reloaded>, Problem> {
    let Query(how) = how.map_err(|error| Problem::bad_request(error.body_text()))?;
    change(&system, Wanted::Files, how.dry_run).await
}

/// `POST /v1/policy/rollback`
pub(super) async fn rollback(
    State(system): State<Arc<System>>,
    back: Result<Query<Back>, QueryRejection>,
) -> Result<Json<Reloaded>, Problem> {
    let Query(back) = back.map_err(|error| Problem::bad_request(error.body_text()))?;
    change(&system, Wanted::Rollback(back.version), back.dry_run).await
}

async fn change(system: &System, wanted: Wanted, on_trial: bool) -> Result<Json<Reloaded>, Problem> {
    system.reload(wanted, on_trial, PRINCIPAL).await.map(Json).map_err(|error| {
        let text = error.to_string();
        match error {
            ReloadError::Faults(_) => Problem::unprocessable(text),
            ReloadError::Unknown(_) => Problem::not_found(text),
            ReloadError::Ungoverned
            | ReloadError::First
            | ReloadError::Refused(_)
            | ReloadError::Unfit(_)
            | ReloadError::Overtaken => Problem::conflict(text),
            ReloadError::Journal(_) => Problem::unavailable(text),
        }
    })
}

/// `GET /v1/policy`
pub(super) async fn history(State(system): State<Arc<System>>) -> Result<Json<Value>, Problem> {
    let versions = system.policy_history().await.map_err(Problem::unavailable)?;
    Ok(Json(json!({ "in_force": system.policy_version(), "versions": versions })))
}
