//! How good each model is at an agent's work, as its evaluations say.
//!
//! Invariant: of several evaluations of one agent with one model the last counts.

use std::collections::BTreeMap;

use storage::journal::{Journal, ReadError, StreamId, Version};

use super::outcome::{Evaluation, Score};

/// The kind of the event that an evaluation is.
pub const FINISHED: &str = "evaluation.finished";
/// The newest evaluations of an agent that are read.
const READ_MAX: usize = 100;

/// Where the evaluations of an agent are.
#[must_use]
pub fn stream(agent: &str) -> StreamId {
    StreamId::from(format!("evaluation/{agent}"))
}

/// The evaluations of one agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qualities {
    /// The last one of all, and how many there were.
    pub last: Option<Evaluation>,
    /// How many there were.
    pub count: u64,
    scores: BTreeMap<String, Score>,
}

impl Qualities {
    /// Reads an agent's evaluations. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError`]. One that does not read is left out: it only makes a choice less well founded.
    pub fn read(journal: &Journal, agent: &str) -> Result<Self, ReadError> {
        let stream = stream(agent);
        let count = journal.version(&stream)?.0;
        let after = Version(count.saturating_sub(READ_MAX as u64));
        let mut qualities = Self { count, ..Self::default() };
        for event in journal.read_stream(&stream, after, READ_MAX)? {
            match serde_json::from_slice::<Evaluation>(&event.payload) {
                Ok(evaluation) if event.kind == FINISHED && event.schema == 1 => qualities.add(evaluation),
                _ => tracing::warn!(event = %event.seq, "an evaluation cannot be read and is left out"),
            }
        }
        Ok(qualities)
    }

    fn add(&mut self, evaluation: Evaluation) {
        if let Some(score) = evaluation.own_score() {
            self.scores.insert(evaluation.model.clone(), score);
        }
        self.last = Some(evaluation);
    }

    /// How good a model was, if that was evaluated.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Score> {
        self.scores.get(model).copied()
    }
}
