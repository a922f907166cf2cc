//! The fold of one entity's stream: from its snapshot, if there is a good one, else from its first
//! event. Invariant: it ends at the stream's last durable event, or in an error that names the
//! record; nothing is skipped.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::journal::{Event, Journal, ReadError, Seq, StreamId, Version};
use storage::snapshots::Snapshots;

use super::Recent;
use crate::entity::Entity;
use crate::world::Lost;

/// How many events are read at once.
const PAGE_EVENTS: usize = 512;

/// A stream could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The journal cannot be read.
    #[error("the stream `{stream}` cannot be read")]
    Read {
        /// The stream.
        stream: StreamId,
        /// What the journal says.
        #[source]
        source: ReadError,
    },
    /// An event says something that this version does not understand.
    #[error("event {seq} of `{stream}`: {reason}")]
    Event {
        /// The stream.
        stream: StreamId,
        /// The event's place in the journal.
        seq: Seq,
        /// What is wrong with it.
        reason: String,
    },
    /// Events are missing.
    #[error(
        "`{stream}` goes from version {after} to {found} at event {seq}: events are missing; \
             run `callboard doctor`"
    )]
    Gap {
        /// The stream.
        stream: StreamId,
        /// The event's place in the journal.
        seq: Seq,
        /// The version before it.
        after: Version,
        /// The version it has.
        found: Version,
    },
    /// The work was lost to a panic or a shutdown.
    #[error("the fold of `{stream}` did not end")]
    Lost {
        /// The stream.
        stream: StreamId,
        /// What happened.
        #[source]
        source: Lost,
    },
}

/// A state, and how far it is folded.
#[derive(Clone)]
pub(super) struct Folded<S> {
    pub(super) state: S,
    /// The version of the last event in it.
    pub(super) version: Version,
    /// That event's place in the journal.
    pub(super) at: Seq,
    /// The version at the last snapshot.
    pub(super) kept: Version,
}

#[derive(Serialize)]
struct Kept<'a, S> {
    version: Version,
    state: &'a S,
}

#[derive(Deserialize)]
struct Restored<S> {
    version: Version,
    state: S,
}

/// Folds the stream. It blocks.
pub(super) fn fold<E: Entity>(
    journal: &Journal,
    snapshots: &Snapshots,
    recent: &Recent,
    stream: &StreamId,
) -> Result<Folded<E::State>, FoldError> {
    let unread = |source| FoldError::Read { stream: stream.clone(), source };
    let mut folded = restore::<E>(snapshots, stream, journal.version(stream).map_err(unread)?);
    loop {
        let page = journal.read_stream(stream, folded.version, PAGE_EVENTS).map_err(unread)?;
        for event in &page {
            step::<E>(&mut folded, recent, event)?;
        }
        if page.len() < PAGE_EVENTS {
            return Ok(folded);
        }
    }
}

fn step<E: Entity>(folded: &mut Folded<E::State>, recent: &Recent, event: &Event) -> Result<(), FoldError> {
    if event.version.0 != folded.version.0 + 1 {
        return Err(FoldError::Gap {
            stream: event.stream.clone(),
            seq: event.seq,
            after: folded.version,
            found: event.version,
        });
    }
    let said = if event.erased { E::erased(&event.kind, event.schema).map(Arc::new) } else { recent.read::<E>(event) };
    let said = said.map_err(|reason| FoldError::Event { stream: event.stream.clone(), seq: event.seq, reason })?;
    E::evolve(&mut folded.state, &said);
    folded.version = event.version;
    folded.at = event.seq;
    Ok(())
}

/// The snapshot, or the state before any event. A snapshot that is of no use costs only time.
fn restore<E: Entity>(snapshots: &Snapshots, stream: &StreamId, end: Version) -> Folded<E::State> {
    read_snapshot::<E>(snapshots, stream, end).unwrap_or_else(|reason| {
        if let Some(reason) = reason {
            tracing::warn!(%stream, reason, "the snapshot is of no use; folding every event");
        }
        Folded { state: E::State::default(), version: Version::NONE, at: Seq::ZERO, kept: Version::NONE }
    })
}

/// The snapshot; or nothing, with the reason if one was there.
fn read_snapshot<E: Entity>(
    snapshots: &Snapshots,
    stream: &StreamId,
    end: Version,
) -> Result<Folded<E::State>, Option<String>> {
    let kept = snapshots.get(stream.as_str(), E::FOLD).map_err(|error| Some(error.to_string()))?;
    let (at, bytes) = kept.ok_or(None)?;
    let Restored { version, state } = serde_json::from_slice(&bytes).map_err(|error| Some(error.to_string()))?;
    // As after the journal was restored from an older backup than the snapshot.
    if version > end {
        return Err(Some(format!("it is of version {version} and the stream ends at {end}")));
    }
    Ok(Folded { state, version, at, kept: version })
}

/// A state as a snapshot holds it.
pub(super) fn kept<S: Serialize>(folded: &Folded<S>) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Kept { version: folded.version, state: &folded.state })
}
