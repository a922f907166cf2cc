//! Pages of lists. Invariant: a page has a bound, whoever asks for it.

use super::problem::Problem;

/// What is on a page for which no number is named.
const PAGE: usize = 50;

/// How much shall be on a page: what is asked for, if that is from 1 to `max`.
pub(super) fn limit(asked: Option<usize>, max: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::bad_request(format!("`limit` is {limit}; give a number from 1 to {max}")))
}
