//! The indexing loop: folds the journal's tail into the index. Invariant: the
//! sequence that it shows as reached is never ahead of what a search finds, and
//! the one it commits is never ahead of that.

use std::sync::Arc;
use std::time::Duration;

use actors::world::{Lost, World};
use storage::index::{ContextIndex, IndexError, Point};
use storage::journal::{Event, Journal, ReadError, Seq};
use storage::latest::Latest;

use super::event::{Change, RememberedEvent};
use crate::embed::{EmbedError, Embedder};

/// Texts embedded in one go.
const EMBED_MAX: usize = 256;
/// A commit flushes, which takes milliseconds: after so many points …
const COMMIT_POINTS: usize = 1_024;
/// … or so many events of whatever kind, which a start would read again …
const COMMIT_EVENTS: u64 = 8_192;
/// … or this long after the last change.
const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// Why indexing cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// The journal gave no more events.
    #[error("the journal stopped")]
    Journal(#[source] ReadError),
    /// The index failed.
    #[error("the context index failed")]
    Index(#[source] IndexError),
    /// Texts could not be embedded.
    #[error("the embedder failed")]
    Embed(#[source] EmbedError),
    /// The embedder ended without a word.
    #[error("the embedder failed")]
    Lost(#[source] Lost),
    /// The embedder's vectors are not the index's.
    #[error(
        "the embedder {embedder} makes vectors of {given} numbers and the index holds {held}; use another folder for the index"
    )]
    Dimension {
        /// The embedder's id.
        embedder: String,
        /// Its dimension.
        given: usize,
        /// The index's.
        held: usize,
    },
    /// An event could not be understood.
    #[error("{0}")]
    Event(String),
}

pub(super) struct Indexer {
    pub(super) world: World,
    pub(super) journal: Journal,
    pub(super) index: Arc<dyn ContextIndex>,
    pub(super) embedder: Arc<dyn Embedder>,
    pub(super) reached: Latest<Seq>,
}

impl Indexer {
    /// Runs until something fails.
    pub(super) async fn run(self) -> IndexerError {
        match self.follow().await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn follow(self) -> Result<std::convert::Infallible, IndexerError> {
        let mut committed = self.start().await?;
        let mut at = committed;
        let mut points = 0;
        let mut tail = self.journal.tail(at.next());
        loop {
            let events = if points > 0 {
                tokio::time::timeout(COMMIT_AFTER, tail.next()).await.ok()
            } else {
                Some(tail.next().await)
            };
            if let Some(events) = events {
                let events = events.map_err(IndexerError::Journal)?;
                points += self.apply(&events).await?;
                at = events.last().map_or(at, |event| event.seq);
                self.reached.set(at);
                if points < COMMIT_POINTS && at.0 < committed.0 + COMMIT_EVENTS {
                    continue;
                }
            }
            self.index.commit(at).await.map_err(IndexerError::Index)?;
            committed = at;
            points = 0;
        }
    }

    /// Where to go on. An index that is ahead of the journal belongs to another
    /// past, and is built anew.
    async fn start(&self) -> Result<Seq, IndexerError> {
        let (given, held) = (self.embedder.dimension(), self.index.dimension());
        if given != held {
            return Err(IndexerError::Dimension { embedder: self.embedder.id().to_owned(), given, held });
        }
        let mut at = self.index.sequence().await.map_err(IndexerError::Index)?.unwrap_or_default();
        if at > self.journal.head() {
            tracing::warn!(reached = %at, head = %self.journal.head(), "the context index is ahead of the journal; it is built anew");
            self.index.reset().await.map_err(IndexerError::Index)?;
            at = Seq::default();
        }
        self.reached.set(at);
        Ok(at)
    }

    /// Makes the events' changes in their order; returns how many points changed.
    async fn apply(&self, events: &[Event]) -> Result<usize, IndexerError> {
        let mut changed = 0;
        let mut notes = Vec::new();
        for event in events {
            match Change::of(event).map_err(IndexerError::Event)? {
                None => {}
                Some(Change::Remembered(remembered)) => notes.extend(texts(&remembered)),
                Some(Change::Forgotten(forgotten)) => {
                    changed += self.upsert(std::mem::take(&mut notes)).await? + forgotten.ids.len();
                    let ids = forgotten.ids.into_iter().map(|id| id.0).collect();
                    self.index.delete(ids).await.map_err(IndexerError::Index)?;
                }
            }
        }
        Ok(changed + self.upsert(notes).await?)
    }

    async fn upsert(&self, mut notes: Vec<Unembedded>) -> Result<usize, IndexerError> {
        let count = notes.len();
        while !notes.is_empty() {
            let rest = notes.split_off(notes.len().min(EMBED_MAX));
            let points = self.embed(notes).await?;
            self.index.upsert(points).await.map_err(IndexerError::Index)?;
            notes = rest;
        }
        Ok(count)
    }

    async fn embed(&self, notes: Vec<Unembedded>) -> Result<Vec<Point>, IndexerError> {
        let embedder = Arc::clone(&self.embedder);
        let points = self.world.blocking("context/embed", move || points(embedder.as_ref(), notes)).await;
        points.map_err(IndexerError::Lost)?.map_err(IndexerError::Embed)
    }
}

/// A point whose vector is still to be made of its text.
struct Unembedded {
    id: u128,
    payload: storage::index::Payload,
    text: String,
}

fn texts(event: &RememberedEvent) -> Vec<Unembedded> {
    let unembedded = |note: &super::event::Note| Unembedded {
        id: note.id.0,
        payload: event.payload(&note.note),
        text: note.note.text.clone(),
    };
    event.notes.iter().map(unembedded).collect()
}

/// Embeds all at once; where a text is at fault, one by one without it, since
/// no restart would ever get past it.
fn points(embedder: &dyn Embedder, notes: Vec<Unembedded>) -> Result<Vec<Point>, EmbedError> {
    let point = |note: Unembedded, vector| Point { id: note.id, vector, payload: note.payload };
    let texts: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    match embedder.embed(&texts) {
        Ok(vectors) => Ok(notes.into_iter().zip(vectors).map(|(note, vector)| point(note, vector)).collect()),
        Err(EmbedError::Text(_)) => {
            let mut points = Vec::new();
            for note in notes {
                match embedder.embed(&[&note.text]) {
                    Ok(vectors) => points.extend(vectors.into_iter().next().map(|vector| point(note, vector))),
                    Err(EmbedError::Text(reason)) => {
                        tracing::warn!(note = %super::NoteId(note.id), reason, "a note cannot be found by meaning")
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(points)
        }
        Err(error) => Err(error),
    }
}
