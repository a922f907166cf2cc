//! What the outside may read. Invariant: reading asks no busy actor: it reads
//! the journal, the views and published pictures.

use serde::Serialize;
use storage::journal::{Event, StreamId, Version};

use super::System;

/// Whether new runs would be taken, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Every worker of the tree is up.
    pub tree: bool,
    /// The journal's committer runs.
    pub journal: bool,
    /// The journal has room.
    pub room: bool,
    /// Why the journal stopped, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

impl Readiness {
    /// Whether all is well.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.tree && self.journal && self.room
    }
}

impl System {
    /// Whether new runs would be taken.
    pub fn readiness(&self) -> Readiness {
        let stopped = self.journal.stopped().map(|reason| reason.to_string());
        Readiness { tree: self.tree.is_up(), journal: stopped.is_none(), room: self.journal.has_room(), stopped }
    }

    /// Runs whose actor is awake now; the others rest, or have ended.
    pub fn awake(&self) -> usize {
        self.runs.live_count()
    }

    /// Whether a run of this id was ever accepted.
    pub fn knows(&self, run: &str) -> bool {
        self.journal.version(&stream(run)).is_ok_and(|version| version > Version::NONE)
    }

    /// How many events a run has; none before it is accepted. What is shown of a run changes with this
    /// alone.
    ///
    /// # Errors
    /// Why it cannot be read, in a sentence.
    pub async fn run_version(&self, run: &str) -> Result<Version, String> {
        let (journal, stream) = (self.journal.clone(), stream(run));
        match self.world.blocking("run.version", move || journal.version(&stream)).await {
            Ok(Ok(version)) => Ok(version),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A run's events after a version, oldest first, at most `max`.
    ///
    /// # Errors
    /// Why they cannot be read, in a sentence.
    pub async fn run_events(&self, run: &str, after: Version, max: usize) -> Result<Vec<Event>, String> {
        self.events_after(stream(run), after, max).await
    }

    /// The events of a stream after a version, in order, `max` at most.
    pub(super) async fn events_after(&self, of: StreamId, after: Version, max: usize) -> Result<Vec<Event>, String> {
        let journal = self.journal.clone();
        match self.world.blocking("events", move || journal.read_stream(&of, after, max)).await {
            Ok(Ok(events)) => Ok(events),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The last events of a stream, or the last before a version: the newest first, `max` at most.
    pub(super) async fn events_before(
        &self,
        of: StreamId,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<Event>, String> {
        let journal = self.journal.clone();
        let read = move || {
            let end = journal.version(&of).map_err(|error| error.to_string())?.0;
            let end = before.map_or(end, |before| end.min(before.saturating_sub(1)));
            let count = end.min(max as u64);
            let events = journal.read_stream(&of, Version(end - count), usize::try_from(count).unwrap_or(max));
            events.map_err(|error| error.to_string())
        };
        let mut events = self.world.blocking("events", read).await.map_err(|error| error.to_string())??;
        events.reverse();
        Ok(events)
    }

    /// A run's last event, if it has any that can be read.
    pub(super) async fn last_event(&self, run: &str) -> Option<Event> {
        let version = self.journal.version(&stream(run)).ok()?;
        let before = Version(version.0.checked_sub(1)?);
        self.run_events(run, before, 1).await.ok()?.pop()
    }

    /// The feed's file, where one is kept.
    pub fn feed_path(&self) -> Option<std::path::PathBuf> {
        self.feed.clone()
    }

    /// The feed's bytes; none before anything was published.
    ///
    /// # Errors
    /// Why it cannot be read, in a sentence.
    pub async fn feed(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = self.feed.clone() else { return Ok(None) };
        let read = move || std::fs::read(path);
        match self.world.blocking("feed", read).await {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Ok(Err(error)) => Err(format!("the feed cannot be read: {error}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn stream(run: &str) -> StreamId {
    StreamId::from(format!("run/{run}"))
}
