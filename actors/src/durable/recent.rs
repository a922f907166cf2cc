//! Events that were written or read moments ago, as they are without their bytes: who follows a journal
//! reads mostly what has just been written, and several do.
//!
//! Invariant: what is recalled of an event is what its payload reads as. It is kept with the kind, the
//! schema and the very bytes that it was written as, and given for those alone; so it does not matter
//! whether that write ever landed, or who wrote there instead.

use std::any::Any;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use storage::journal::{Event, NewEvent, StreamId, Version};

use crate::entity::Entity;

/// How many events are kept: each has one place, and gives it up to the next that falls on it.
const PLACES: usize = 512;
/// The longest payload that is kept.
const PAYLOAD_BYTES_MAX: usize = 32 << 10;

/// The events; clones share them.
#[derive(Clone)]
pub struct Recent(Arc<[Place]>);

type Place = Mutex<Option<Kept>>;

struct Kept {
    kind: String,
    schema: u16,
    payload: Vec<u8>,
    event: Arc<dyn Any + Send + Sync>,
}

impl Default for Recent {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Place::default()).collect())
    }
}

impl Recent {
    /// Keeps an event that is about to be written there. What is about a person is not kept: it could be
    /// erased meanwhile.
    pub(super) fn keep<E: Entity>(&self, stream: &StreamId, version: Version, written: &NewEvent, event: &E::Event) {
        if written.payload.len() > PAYLOAD_BYTES_MAX || written.subject.is_some() {
            return;
        }
        let NewEvent { kind, schema, payload, .. } = written;
        let event = Arc::new(event.clone());
        self.put(stream, version, Kept { kind: kind.clone(), schema: *schema, payload: payload.clone(), event });
    }

    fn put(&self, stream: &StreamId, version: Version, kept: Kept) {
        if let Some(mut place) = self.place(stream, version) {
            *place = Some(kept);
        }
    }

    /// What an event says, if it was written moments ago.
    pub fn recall<E: Entity>(&self, event: &Event) -> Option<Arc<E::Event>> {
        let kept = {
            let place = self.place(&event.stream, event.version)?;
            let same =
                |kept: &&Kept| kept.schema == event.schema && kept.kind == event.kind && kept.payload == event.payload;
            Arc::clone(&place.as_ref().filter(same)?.event)
        };
        let kept = kept.downcast::<E::Event>().ok()?;
        debug_assert!(reads_as::<E>(event, &kept), "an event of `{}` is not what its payload reads as", event.stream);
        Some(kept)
    }

    /// What an event says: recalled, or else read, and then kept for who reads it next.
    ///
    /// # Errors
    /// As [`Entity::decode`].
    pub fn read<E: Entity>(&self, event: &Event) -> Result<Arc<E::Event>, String> {
        if let Some(known) = self.recall::<E>(event) {
            return Ok(known);
        }
        let read = E::decode(&event.kind, event.schema, &event.payload).map(Arc::new)?;
        if event.payload.len() <= PAYLOAD_BYTES_MAX && event.subject.is_none() {
            let kept = Arc::clone(&read);
            let Event { kind, schema, payload, .. } = event;
            let kept = Kept { kind: kind.clone(), schema: *schema, payload: payload.clone(), event: kept };
            self.put(&event.stream, event.version, kept);
        }
        Ok(read)
    }

    fn place(&self, stream: &StreamId, version: Version) -> Option<MutexGuard<'_, Option<Kept>>> {
        let hash = FixedState::default().hash_one((stream.as_str(), version.0));
        let place = self.0.get(usize::try_from(hash % PLACES as u64).unwrap_or(0))?;
        // A place is replaced whole, so that a poisoned lock is still sound.
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether both are written alike again: events need not be comparable.
fn reads_as<E: Entity>(event: &Event, kept: &E::Event) -> bool {
    let read = E::decode(&event.kind, event.schema, &event.payload);
    read.is_ok_and(|read| serde_json::to_value(&read).ok() == serde_json::to_value(kept).ok())
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}
