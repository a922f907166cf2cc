//! The supervision tree over HTTP, and the record of what operators did to it. Invariant: whoever only
//! looks asks no actor.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use policies::document::closest;
use serde::Deserialize;
use serde_json::{Value, json};
use supervisor::{NodeSnapshot, NotFollowed, TreeSnapshot, Word};

use super::page::{self, Which};
use super::problem::Problem;
use super::runs::PRINCIPAL;
use crate::system::System;

/// The most deeds on a page.
const PAGE_MAX: usize = 200;

/// How much of the tree.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// Only this node and what is below it.
    branch: Option<String>,
    /// So many levels below that.
    depth: Option<usize>,
    /// So many children of each node.
    limit: Option<usize>,
}

/// `GET /v1/tree`
pub(super) async fn show(
    State(system): State<Arc<System>>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Json<TreeSnapshot>, Problem> {
    let Query(Part { branch, depth, limit }) = part.map_err(|error| Problem::bad_request(error.body_text()))?;
    let TreeSnapshot { at, root } = system.picture_for_operators(branch.as_deref()).map_err(problem)?;
    let root = root.trimmed(depth.unwrap_or(usize::MAX), limit.unwrap_or(usize::MAX));
    Ok(Json(TreeSnapshot { at, root }))
}

/// `POST /v1/tree/{name}/{action}`
pub(super) async fn tell(
    State(system): State<Arc<System>>,
    Path((name, action)): Path<(String, String)>,
) -> Result<Json<NodeSnapshot>, Problem> {
    let known = Word::ALL.map(Word::as_str);
    let word = Word::ALL.into_iter().find(|word| word.as_str() == action).ok_or_else(|| {
        let nearest = closest(&action, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
        let nearest = if nearest.is_empty() { "." } else { &nearest };
        Problem::not_found(format!("there is no action `{action}`{nearest} Known: {}", known.join(", ")))
    })?;
    system.operate(PRINCIPAL, &name, word).await.map(Json).map_err(problem)
}

fn problem(error: NotFollowed) -> Problem {
    let text = error.to_string();
    match error {
        NotFollowed::Unknown { .. } => Problem::not_found(text),
        NotFollowed::Root { .. } => Problem::unprocessable(text),
        NotFollowed::Unfit { .. } => Problem::conflict(text),
        NotFollowed::Down { .. } => Problem::unavailable(text),
    }
}

/// `GET /v1/audit`
pub(super) async fn audit(
    State(system): State<Arc<System>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (before, limit) = Which::read(which, PAGE_MAX)?;
    let deeds = system.deeds(before, limit).await.map_err(Problem::internal)?;
    let next = page::next(deeds.last().map(|deed| deed.id));
    Ok(Json(json!({ "deeds": deeds, "next": next })))
}
