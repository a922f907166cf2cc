//! Following the journal as it grows.
//!
//! Invariant: a tail yields every durable event from its start on, once, in order.

use std::sync::Arc;

use super::error::ReadError;
use super::event::{Event, Seq};
use super::handle::Shared;
use super::reader::Cursor;
use crate::latest::Watcher;

/// Events that one step yields at most.
const STEP_EVENTS_MAX: usize = 512;

/// A reader that waits for what comes.
pub struct Tail {
    shared: Arc<Shared>,
    head: Watcher<Seq>,
    next: Seq,
    cursor: Option<Cursor>,
}

impl Tail {
    pub(super) fn new(shared: Arc<Shared>, head: Watcher<Seq>, from: Seq) -> Self {
        Self { shared, head, next: from.max(Seq::FIRST), cursor: None }
    }

    /// The event that the next step begins with.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.next
    }

    /// The next events, at least one; waits while there are none. Nothing is lost when the future
    /// is dropped.
    ///
    /// # Errors
    /// `Closed` when all was read and the committer has ended; else see [`ReadError`]. After an
    /// error the same events are tried again.
    pub async fn next(&mut self) -> Result<Vec<Event>, ReadError> {
        let next = self.next;
        let head = self.head.wait_for(|head| *head >= next).await.map_err(|_| ReadError::Closed)?;
        let events = self.shared.reader.read(next, head, STEP_EVENTS_MAX, &mut self.cursor)?;
        self.next = events.last().map_or(next, |event| event.seq.next());
        Ok(events)
    }
}
