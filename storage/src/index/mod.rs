//! The context index: nearest notes by vector, narrowed by their fields.
//!
//! Invariant: the recorded sequence never runs ahead of the points that are
//! safely stored. An index is a view; what is lost is upserted again from the
//! journal, which is harmless because point ids follow from the notes.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod memory;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::journal::Seq;

/// Named fields of a point that a [`Filter`] can ask for.
pub type Payload = BTreeMap<String, String>;

/// One note in the index.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Who it is; a second upsert under the same id replaces the first.
    pub id: u128,
    /// As many finite numbers as the index has dimensions, not all of them zero.
    pub vector: Vec<f32>,
    /// Its fields.
    pub payload: Payload,
}

/// One answer to a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The point's id.
    pub id: u128,
    /// Cosine similarity, −1 to 1; more is nearer.
    pub score: f32,
    /// The point's fields.
    pub payload: Payload,
}

/// Which points a search may answer with: those whose fields equal all of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(String, String)>);

impl Filter {
    /// Every point.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only points whose `field` is `value`, besides what was asked before.
    #[must_use]
    pub fn and(mut self, field: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((field.into(), value.into()));
        self
    }

    /// The equalities asked for.
    pub fn equalities(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether a point with these fields may be answered.
    pub fn admits(&self, payload: &Payload) -> bool {
        self.0.iter().all(|(field, value)| payload.get(field) == Some(value))
    }
}

/// Nearest-neighbour search over notes. Several callers may search at once; one
/// writes.
#[async_trait]
pub trait ContextIndex: Send + Sync {
    /// Numbers in a vector.
    fn dimension(&self) -> usize;

    /// Adds the points, or replaces those with the same ids.
    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError>;

    /// Removes the points; absent ones are no error.
    async fn delete(&self, ids: Vec<u128>) -> Result<(), IndexError>;

    /// At most `limit` admitted points, nearest first, ties by id.
    async fn search(&self, vector: Vec<f32>, filter: Filter, limit: usize) -> Result<Vec<Hit>, IndexError>;

    /// How many points there are.
    async fn count(&self) -> Result<u64, IndexError>;

    /// The sequence last committed; `None` means: start again from the first event.
    async fn sequence(&self) -> Result<Option<Seq>, IndexError>;

    /// Makes all writes so far safe, and only then records that they reach `seq`.
    async fn commit(&self, seq: Seq) -> Result<(), IndexError>;

    /// Removes every point and the sequence.
    async fn reset(&self) -> Result<(), IndexError>;
}

/// Why an index could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A vector of another length than the index holds.
    #[error(
        "a vector of {actual} numbers was given to an index of {expected}; check that the embedder is the one the index was made with"
    )]
    Dimension {
        /// The index's.
        expected: usize,
        /// The vector's.
        actual: usize,
    },
    /// A vector that has no direction: it holds a NaN or an infinity, or zeros only.
    #[error("a vector holds {found}, so it has no direction; the embedder is at fault")]
    Direction {
        /// What is wrong with it.
        found: &'static str,
    },
    /// The folder is in use by another process.
    #[error("the context index in {path} is in use by another process; stop it, or choose another data folder")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The disk refused.
    #[error("the context index cannot read or write {path}; check its free space and permissions")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The engine or server refused.
    #[error("the context index could not {action}: {reason}")]
    Engine {
        /// What was asked.
        action: &'static str,
        /// What it said.
        reason: String,
    },
    /// The server refuses the key.
    #[error(
        "the context index could not {action}: the server refused the key; check the one in the configuration ({reason})"
    )]
    Key {
        /// What was asked.
        action: &'static str,
        /// What it said.
        reason: String,
    },
    /// The server cannot be reached now, or has no room for the call.
    #[error("the context index is out of reach and could not {action} ({reason}); it is safe to repeat")]
    Unavailable {
        /// What was asked.
        action: &'static str,
        /// What the way there said.
        reason: String,
    },
    /// The work was given to a place that went away before answering.
    #[error("the context index stopped while a call was under way; it is safe to repeat")]
    Stopped,
}

/// Refuses a vector that an engine would take silently and never find again.
pub fn check_vector(dimension: usize, vector: &[f32]) -> Result<(), IndexError> {
    if vector.len() != dimension {
        return Err(IndexError::Dimension { expected: dimension, actual: vector.len() });
    }
    if vector.iter().any(|number| !number.is_finite()) {
        return Err(IndexError::Direction { found: "a NaN or an infinity" });
    }
    if vector.iter().all(|number| *number == 0.0) {
        return Err(IndexError::Direction { found: "zeros only" });
    }
    Ok(())
}

/// Sorts hits as [`ContextIndex::search`] promises: nearest first, ties by id.
pub fn sort_hits(hits: &mut [Hit]) {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
}
