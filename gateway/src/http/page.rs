//! Pages of lists. Invariant: a page has a bound, whoever asks for it.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::problem::Problem;

/// What is on a page for which no number is named.
const PAGE: usize = 50;

/// Which page of a list that is numbered from 1 and shown from its end.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Which {
    /// Before which number, and how much.
    pub(super) fn read(
        asked: Result<Query<Self>, QueryRejection>,
        max: usize,
    ) -> Result<(Option<u64>, usize), Problem> {
        let Query(which) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
        Ok((which.before, limit(which.limit, max)?))
    }
}

/// Where the next page of such a list begins, if there is one: before the last that was shown.
pub(super) fn next(last: Option<u64>) -> Option<u64> {
    last.filter(|id| *id > 1)
}

/// How much shall be on a page: what is asked for, if that is from 1 to `max`.
pub(super) fn limit(asked: Option<usize>, max: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::bad_request(format!("`limit` is {limit}; give a number from 1 to {max}")))
}
