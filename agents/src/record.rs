//! Writing plain events, by components that are no entities. Invariant: an append
//! whose end is not known is repeated under the same record id, so that it is
//! made once.

use actors::world::{Chance, World};
use serde::Serialize;
use storage::journal::{AppendError, Appended, Batch, Journal, NewEvent, RecordId, StreamId, TraceId, Version, Write};

/// How often an append whose end is not known is repeated.
const REPEATS_MAX: u32 = 3;

/// Writes under one principal.
pub struct Recorder {
    world: World,
    journal: Journal,
    principal: String,
    chance: Chance,
}

impl Recorder {
    /// One who writes under this name.
    #[must_use]
    pub fn new(world: World, journal: Journal, principal: &str) -> Self {
        let chance = world.chance(principal);
        Self { world, journal, principal: principal.to_owned(), chance }
    }

    /// An event whose payload is `payload` as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn event(
        &mut self,
        kind: &str,
        subject: Option<String>,
        payload: &impl Serialize,
    ) -> Result<NewEvent, serde_json::Error> {
        Ok(NewEvent {
            kind: kind.to_owned(),
            schema: 1,
            time: self.world.now(),
            principal: self.principal.clone(),
            trace: TraceId(self.chance.id()),
            cause: None,
            subject,
            payload: serde_json::to_vec(payload)?,
        })
    }

    /// Appends the events to one stream, which must be at `expected` if given.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &mut self,
        stream: StreamId,
        expected: Option<Version>,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        self.append_while(Vec::new(), Write { stream, expected, events }).await
    }

    /// Appends to one stream while the others are at these versions.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_while(
        &mut self,
        preconditions: Vec<(StreamId, Version)>,
        write: Write,
    ) -> Result<Appended, AppendError> {
        let batch = Batch { id: RecordId(self.chance.id()), writes: vec![write], preconditions };
        let mut repeats = 0;
        loop {
            match self.journal.append(batch.clone()).await {
                Err(AppendError::Unknown { .. } | AppendError::Retry { .. }) if repeats < REPEATS_MAX => repeats += 1,
                ended => return ended,
            }
        }
    }
}
