//! The context store: what agents remember, found again by meaning. Invariant:
//! the journal alone decides what is remembered; the index is a view of it, and
//! a search sees whatever this store had accepted before it.

mod actor;
mod chunk;
mod event;
mod indexer;

#[cfg(test)]
mod tests;

use actors::mailbox::Credit;
use actors::world::Lost;
use serde::{Deserialize, Serialize};
use storage::index::{Filter, IndexError};
use storage::journal::{AppendError, ReadError, Seq};

pub use actor::{ContextActor, ContextArguments, ContextMsg};
pub use event::NoteId;

use crate::embed::EmbedError;
use crate::front::{Front, FrontError};

/// The most notes that one call may add, after long ones were cut.
pub const NOTES_MAX: usize = 65_536;
/// The longest text of one note, in characters; a longer one becomes several.
pub const NOTE_CHARS_MAX: usize = 500;
/// The most hits that one search gives.
pub const HITS_MAX: usize = 100;

/// Something to be remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNote {
    /// The text; one over [`NOTE_CHARS_MAX`] is cut at paragraphs and sentences.
    pub text: String,
    /// Where it is from, such as a file's name.
    pub source: String,
    /// What it is, such as `fact` or `brand`.
    pub kind: String,
}

/// Notes for one collection. Done twice, it is done once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remember {
    /// Where they belong.
    pub collection: String,
    /// The run that remembers.
    pub run: String,
    /// The agent or tool that remembers.
    pub agent: String,
    /// The person whom the notes are about, if they are about one.
    pub subject: Option<String>,
    /// The notes.
    pub notes: Vec<NewNote>,
}

/// What was remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// One id for each note, after long ones were cut.
    pub ids: Vec<NoteId>,
    /// The last event that says so; `None` when there was nothing to remember.
    pub seq: Option<Seq>,
}

/// A question to one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where to look.
    pub collection: String,
    /// What the notes shall be about.
    pub query: String,
    /// Which notes count: fields are `run`, `agent`, `source` and `kind`.
    pub filter: Filter,
    /// How many at most, up to [`HITS_MAX`].
    pub limit: usize,
}

/// A note that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Its text.
    pub text: String,
    /// Where it is from.
    pub source: String,
    /// What it is.
    pub kind: String,
    /// How near it is, −1 to 1.
    pub score: f32,
}

/// Which notes of a collection are forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// These.
    Ids(Vec<NoteId>),
    /// All whose fields are so.
    Matching(Filter),
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The store could not be asked.
    #[error("the context store gave no answer: {0}")]
    Unanswered(#[from] FrontError),
    /// Too many notes at once.
    #[error("{notes} notes at once, and {NOTES_MAX} is the most; remember them in several calls")]
    TooMany {
        /// How many there were.
        notes: usize,
    },
    /// The name of a collection cannot name a stream.
    #[error("{0:?} cannot name a collection; use letters, digits, `-` and `_`")]
    Collection(String),
    /// The index is still being built from the journal.
    #[error("the context index has reached event {reached} of {wanted}; it is being built, try again shortly")]
    Behind {
        /// How far it is.
        reached: Seq,
        /// How far it must be.
        wanted: Seq,
    },
    /// The journal took no event.
    #[error("the notes could not be written to the journal")]
    Append(#[source] AppendError),
    /// The journal could not be read.
    #[error("the notes could not be read from the journal")]
    Read(#[source] ReadError),
    /// Blocking work ended without a result.
    #[error("the context store lost a task")]
    Lost(#[source] Lost),
    /// An event could not be written or read.
    #[error("the notes could not be put into words: {0}")]
    Event(String),
    /// The query could not be embedded.
    #[error("the query could not be embedded")]
    Embed(#[source] EmbedError),
    /// The index failed.
    #[error("the context index failed")]
    Index(#[source] IndexError),
}

/// The store, whichever of its generations is up.
#[derive(Clone)]
pub struct ContextHandle {
    front: Front<ContextMsg>,
}

impl Default for ContextHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl ContextHandle {
    /// The handle of a store that is yet to be started.
    #[must_use]
    pub fn new() -> Self {
        Self { front: Front::new() }
    }

    /// Where its factory publishes each generation.
    #[must_use]
    pub fn front(&self) -> &Front<ContextMsg> {
        &self.front
    }

    /// The store, asked in a place of its mailbox that was entered before.
    #[must_use]
    pub fn visit(&self, place: Credit) -> Visit<'_> {
        Visit { front: &self.front, place }
    }

    /// As [`Visit::remember`], in the next place.
    ///
    /// # Errors
    /// [`ContextError`]; after an unclear end it may be called again.
    pub async fn remember(&self, remember: Remember) -> Result<Remembered, ContextError> {
        self.visit(self.front.enter().await?).remember(remember).await
    }

    /// As [`Visit::search`], in the next place.
    ///
    /// # Errors
    /// [`ContextError`].
    pub async fn search(&self, search: Search) -> Result<Vec<Found>, ContextError> {
        self.visit(self.front.enter().await?).search(search).await
    }

    /// As [`Visit::forget`], in the next place.
    ///
    /// # Errors
    /// [`ContextError`]; after an unclear end it may be called again.
    pub async fn forget(&self, collection: String, forget: Forget) -> Result<usize, ContextError> {
        self.visit(self.front.enter().await?).forget(collection, forget).await
    }
}

/// A place in the store's mailbox: good for one command.
pub struct Visit<'a> {
    front: &'a Front<ContextMsg>,
    place: Credit,
}

impl Visit<'_> {
    /// Remembers the notes; they are durable when this returns.
    ///
    /// # Errors
    /// [`ContextError`]; after an unclear end it may be called again.
    pub async fn remember(self, remember: Remember) -> Result<Remembered, ContextError> {
        self.front.ask_in(self.place, |reply| ContextMsg::Remember { remember, reply }).await?
    }

    /// The nearest notes, nearest first, among all that were remembered before.
    ///
    /// # Errors
    /// [`ContextError`].
    pub async fn search(self, search: Search) -> Result<Vec<Found>, ContextError> {
        self.front.ask_in(self.place, |reply| ContextMsg::Search { search, reply }).await?
    }

    /// Forgets notes of a collection, and says how many there were.
    ///
    /// # Errors
    /// [`ContextError`]; after an unclear end it may be called again.
    pub async fn forget(self, collection: String, forget: Forget) -> Result<usize, ContextError> {
        self.front.ask_in(self.place, |reply| ContextMsg::Forget { collection, forget, reply }).await?
    }
}
