//! Evaluation: an agent over cases, scored by exact rules and by a judge.
//!
//! A case is a run like any other, of a small workflow made from it: so it is paid from the same budgets,
//! goes through the same guard, and is not paid for twice after a crash. What came of all cases together
//! is one event, from which the next evaluation and the choice of models read.
//!
//! Invariant: a score depends on the answer, the case and the judge's grade alone.

mod cases;
mod outcome;
mod quality;

pub use cases::{CASES_MAX, Case, Cases};
pub use outcome::{Answered, CaseOutcome, Evaluation, Grade, Score, Times};
pub use quality::{FINISHED, Qualities, Ratings, stream};
