//! How good each model is at an agent's work, as its evaluations say.
//!
//! Invariant: of several evaluations of one agent with one model the last counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policies::choice::Rating;
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
        self.scores.extend(evaluation.scores().into_iter().map(|(model, score)| (model.to_owned(), score)));
        self.last = Some(evaluation);
    }

    /// How good a model was, if that was evaluated.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Score> {
        self.scores.get(model).copied()
    }
}

/// How good each model is at each agent's work, for whoever chooses one; a cheap clone that shares it.
///
/// Invariant: an answer is a look-up; what is behind it is replaced when an evaluation is done.
#[derive(Clone, Default)]
pub struct Ratings(Arc<Mutex<BTreeMap<String, Qualities>>>);

impl Ratings {
    /// From now on this is known of an agent.
    pub fn set(&self, agent: &str, qualities: Qualities) {
        self.lock().insert(agent.to_owned(), qualities);
    }

    /// How good an agent's work with a model is, by the model's name at its provider.
    #[must_use]
    pub fn of(&self, agent: &str, model: &str) -> Option<Rating> {
        self.lock().get(agent)?.of(model).and_then(|score| Rating::of(score.value()))
    }

    /// A panic elsewhere cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Qualities>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
