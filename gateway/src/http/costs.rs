//! What calls of models cost. Invariant: a page has a bound, and its lines are sums of the journal's
//! outcomes.

use std::sync::Arc;

use agents::aggregator::{CostPage, CostsBy, NotCostsBy, PAGE_MAX, PageError};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::page;
use super::problem::Problem;
use crate::system::System;

/// Which costs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    run: Option<String>,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// `GET /v1/costs`
pub(super) async fn list(
    State(system): State<Arc<System>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Which { by, run, after, limit }) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let by = by.as_deref().unwrap_or("agent");
    let by: CostsBy = by.parse().map_err(|error: NotCostsBy| Problem::bad_request(format!("`by`: {error}")))?;
    if run.is_some() && by != CostsBy::Step {
        return Err(Problem::bad_request("`run` goes with `by=step`: it asks for the steps of that run"));
    }
    let limit = page::limit(limit, PAGE_MAX)?;
    let (reports, of) = (system.reports().clone(), run.clone());
    let read = move || match of {
        Some(run) => reports.costs_of(&run, after.as_deref(), limit),
        None => reports.costs(by, after.as_deref(), limit).map(Some),
    };
    let read = system.world().blocking("costs.list", read).await.map_err(|e| Problem::internal(e.to_string()))?;
    match read {
        Ok(Some(CostPage { costs, next })) => Ok(Json(json!({ "by": by, "costs": costs, "next": next }))),
        Ok(None) => {
            let run = run.unwrap_or_default();
            Err(Problem::not_found(format!("there is no run `{run}`; GET /v1/runs lists them")))
        }
        Err(error @ PageError::Cursor(_)) => Err(Problem::bad_request(format!("`after`: {error}"))),
        Err(error) => Err(Problem::internal(error.to_string())),
    }
}
