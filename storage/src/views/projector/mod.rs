//! The projector: follows the journal's tail and keeps one shelf up with it.
//!
//! Invariant: every event is folded into the shelf exactly once, whenever and
//! however often the projector is stopped, because the shelf takes changes and
//! sequence in one step and the projector goes on from that sequence.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::journal::{Event, Journal, ReadError, Seq};
use crate::latest::{Latest, Watcher};
use crate::views::{Fold, FoldError, Shelf, ShelfError};

/// Events folded into the shelf in one step: enough to share the cost of a write,
/// few enough to leave the thread to others in between.
pub const EVENTS_PER_STEP_MAX: usize = 256;

/// Keeps one view up with the journal.
pub struct Projector {
    journal: Journal,
    fold: Box<dyn Fold>,
    shelf: Arc<dyn Shelf>,
    reached: Latest<Seq>,
}

impl Projector {
    /// A projector that starts where the shelf stands.
    pub fn new(journal: Journal, fold: Box<dyn Fold>, shelf: Arc<dyn Shelf>) -> Self {
        Self { journal, fold, shelf, reached: Latest::new(Seq::ZERO) }
    }

    /// The last event that readers of the shelf see; 0 before [`Self::run`] starts.
    pub fn reached(&self) -> Watcher<Seq> {
        self.reached.watch()
    }

    /// Follows the journal until it is closed or the view cannot go on. A shelf that
    /// is ahead of the journal belongs to another past; it is emptied first.
    pub async fn run(mut self) -> Result<(), ProjectorError> {
        let mut reached = self.start().map_err(ProjectorError::Shelf)?;
        let mut tail = self.journal.tail(reached.next());
        loop {
            let events = match tail.next().await {
                Err(ReadError::Closed) => return Ok(()),
                read => read.map_err(ProjectorError::Journal)?,
            };
            for step in events.chunks(EVENTS_PER_STEP_MAX) {
                reached = self.advance(reached, step)?;
                self.reached.set(reached);
                tokio::task::yield_now().await;
            }
        }
    }

    fn start(&self) -> Result<Seq, ShelfError> {
        let head = self.journal.head();
        let mut reached = self.shelf.sequence()?.unwrap_or_default();
        if reached > head {
            tracing::warn!(
                view = self.fold.name(),
                %reached,
                %head,
                "the view is ahead of the journal, so it is emptied and folded again"
            );
            self.shelf.clear()?;
            reached = Seq::ZERO;
        }
        self.reached.set(reached);
        Ok(reached)
    }

    fn advance(&mut self, reached: Seq, step: &[Event]) -> Result<Seq, ProjectorError> {
        let (Some(first), Some(last)) = (step.first(), step.last()) else {
            return Ok(reached);
        };
        if first.seq != reached.next() {
            return Err(ProjectorError::Gap { view: self.fold.name().to_owned(), reached, next: first.seq });
        }
        let changes = self.fold.apply(self.shelf.as_ref(), step).map_err(ProjectorError::Fold)?;
        self.shelf.apply(&changes, last.seq).map_err(ProjectorError::Shelf)?;
        Ok(last.seq)
    }
}

/// Why a view cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    /// The journal could not be read.
    #[error("the journal could not be read on")]
    Journal(#[source] ReadError),
    /// The events between are gone, so the view cannot be right.
    #[error(
        "view {view} has reached event {reached}, but the journal goes on at {next}; restore the journal from a backup"
    )]
    Gap {
        /// The view.
        view: String,
        /// Its last event.
        reached: Seq,
        /// What came next.
        next: Seq,
    },
    /// An event could not be folded.
    #[error("an event could not be folded into the view")]
    Fold(#[source] FoldError),
    /// The shelf could not be read or written.
    #[error("the view could not be kept")]
    Shelf(#[source] ShelfError),
}
