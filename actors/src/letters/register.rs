//! The register of the dead letters: it counts how often commands kill their actors, and keeps the fold
//! of the letters' stream at hand. Invariant: what it says of a command is what the journal says of it;
//! a command is out of circulation only once that is durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::poison::{PoisonPolicy, Then};
use storage::journal::{AppendError, Batch, Journal, NewEvent, RecordId, StreamId, TraceId, Version, Write};

use super::book::{Book, Entry, Fate};
use super::{Death, Event, Kind, Letter, LetterId, STREAM};
use crate::latest::Latest;
use crate::telemetry::Metrics;
use crate::world::World;

/// Events read at once.
const READ_EVENTS_MAX: usize = 1_024;
/// How often an append is tried while the journal has no room or is in doubt.
const TRIES_MAX: u32 = 3;
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// The most letters of one page.
pub const PAGE_MAX: usize = 200;

/// The letters could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dead letters cannot be read or written: {0}")]
pub struct LettersError(String);

/// How the request to settle a letter went.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It is settled now.
    Now(Entry),
    /// It was settled before, and stays as it was.
    Before(Entry),
}

/// The register; a cheap clone.
#[derive(Clone)]
pub struct Letters(Arc<Inner>);

struct Inner {
    world: World,
    journal: Journal,
    metrics: Metrics,
    policy: Latest<PoisonPolicy>,
    book: Mutex<Book>,
}

impl Letters {
    /// A register that has yet to [catch up](Self::catch_up).
    pub fn new(world: World, journal: Journal, metrics: Metrics) -> Self {
        let (policy, book) = (Latest::new(PoisonPolicy::default()), Mutex::default());
        Self(Arc::new(Inner { world, journal, metrics, policy, book }))
    }

    /// When a command is poison to its actor, as it is in force.
    pub fn policy(&self) -> PoisonPolicy {
        self.0.policy.get()
    }

    /// Holds commands to another policy from now on.
    pub fn govern(&self, policy: PoisonPolicy) {
        self.0.policy.set(policy);
    }

    /// Reads what the stream has beyond what is known.
    ///
    /// # Errors
    /// [`LettersError`].
    pub async fn catch_up(&self) -> Result<(), LettersError> {
        loop {
            let (journal, after) = (self.0.journal.clone(), self.book().seen);
            let read = move || journal.read_stream(&StreamId::from(STREAM), after, READ_EVENTS_MAX);
            let read = self.0.world.blocking("letters", read).await;
            let events = read.map_err(|error| LettersError(error.to_string()))?;
            let events = events.map_err(|error| LettersError(error.to_string()))?;
            let are_all = events.len() < READ_EVENTS_MAX;
            let book = &mut *self.book();
            for event in events {
                match serde_json::from_slice(&event.payload) {
                    Ok(read) => book.fold(event.version, read),
                    Err(error) => {
                        tracing::error!(%error, event = %event.seq, "an event of the dead letters cannot be read");
                        book.skip(event.version);
                    }
                }
            }
            if are_all {
                self.0.metrics.dead_letters_open(book.open().count());
                return Ok(());
            }
        }
    }

    /// The letter that keeps a command from the entity of a stream at this version, if one does.
    pub fn holds(&self, stream: &StreamId, at: Version, gist: &str) -> Option<LetterId> {
        let book = self.book();
        // The usual case costs no hash.
        if book.is_empty() {
            return None;
        }
        let id = LetterId::of_command(stream, at, gist);
        book.holds(&id).then_some(id)
    }

    /// Notes that a command killed the actor of a stream, and takes it out of circulation when that was
    /// once too often.
    pub async fn died(&self, stream: &StreamId, at: Version, gist: &str, death: Death) {
        let id = LetterId::of_command(stream, at, gist);
        self.0.metrics.message_killed(kind_of(stream));
        let policy = self.policy();
        let mut deaths = self.book().deaths(&id).to_vec();
        deaths.push(death.clone());
        let mut events = vec![Event::Died { id: id.clone(), death: death.clone() }];
        if policy.is_poison(u32::try_from(deaths.len()).unwrap_or(u32::MAX), 0) {
            let (at, child) = (death.at, death.child);
            let letter = Letter {
                id: id.clone(),
                at,
                kind: Kind::Command,
                stream: stream.as_str().to_owned(),
                what: gist.to_owned(),
                child,
                in_doubt: false,
                content: serde_json::Value::Null,
                deaths,
            };
            self.0.metrics.dead_lettered(kind_of(stream));
            tracing::warn!(letter = %id, %stream, what = gist, "a command is a dead letter; `callboard letters` shows it");
            events.push(Event::Dead(letter));
            if policy.then == Then::Fail {
                let reason = "the policy gives up what is poison".to_owned();
                events.push(Event::Discarded { id: id.clone(), at, by: "policy".to_owned(), reason });
            }
        }
        let written = self.write("callboard", &events).await;
        if let Err(error) = written {
            tracing::error!(%error, %stream, "a death is not counted");
        }
    }

    /// The letters before a place, or all of them; only the open ones if that is asked for; the newest
    /// first, `max` at most.
    ///
    /// # Errors
    /// [`LettersError`].
    pub async fn page(&self, before: Option<u64>, open: bool, max: usize) -> Result<Vec<Entry>, LettersError> {
        self.catch_up().await?;
        let book = self.book();
        let wanted = book.newest(before).filter(|entry| !open || entry.fate == Fate::Open);
        Ok(wanted.take(max.min(PAGE_MAX)).cloned().collect())
    }

    /// One letter.
    ///
    /// # Errors
    /// [`LettersError`].
    pub async fn find(&self, id: &LetterId) -> Result<Option<Entry>, LettersError> {
        self.catch_up().await?;
        Ok(self.book().find(id).cloned())
    }

    /// The commands to one entity that are open letters, the eldest first. It is up to date with every
    /// death of this process, since only the register takes commands out of circulation.
    pub fn commands_of(&self, stream: &str) -> Vec<LetterId> {
        let book = self.book();
        let commands = book.open().filter(|entry| entry.letter.kind == Kind::Command && entry.letter.stream == stream);
        commands.map(|entry| entry.letter.id.clone()).collect()
    }

    /// Settles the letter of a command: it goes on, or never will. None when there is no such letter.
    ///
    /// # Errors
    /// [`LettersError`]; nothing was settled then, or nobody knows.
    pub async fn settle(&self, event: Event, by: &str) -> Result<Option<Settled>, LettersError> {
        let (Event::Replayed { id, .. } | Event::Discarded { id, .. }) = &event else { return Ok(None) };
        let id = id.clone();
        match self.find(&id).await? {
            None => return Ok(None),
            Some(entry) if entry.fate != Fate::Open => return Ok(Some(Settled::Before(entry))),
            Some(_) => {}
        }
        self.write(by, &[event]).await?;
        Ok(self.find(&id).await?.map(Settled::Now))
    }

    async fn write(&self, principal: &str, events: &[Event]) -> Result<(), LettersError> {
        let time = self.0.world.now();
        let event = |event: &Event| {
            let payload = serde_json::to_vec(event)?;
            let (kind, principal) = (event.kind().to_owned(), principal.to_owned());
            Ok(NewEvent { kind, schema: 1, time, principal, trace: TraceId(0), cause: None, subject: None, payload })
        };
        let events = events.iter().map(event).collect::<Result<_, serde_json::Error>>();
        let events = events.map_err(|error| LettersError(error.to_string()))?;
        let write = Write { stream: StreamId::from(STREAM), expected: None, events };
        let id = RecordId(self.0.world.chance("letters").id());
        let batch = Batch { id, writes: vec![write], preconditions: Vec::new() };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.0.journal.append(batch.clone()).await {
                Ok(_) => return self.catch_up().await,
                Err(AppendError::Full { .. } | AppendError::Retry { .. } | AppendError::Unknown { .. })
                    if tries < TRIES_MAX =>
                {
                    tokio::time::sleep(TRY_EVERY).await;
                }
                Err(error) => return Err(LettersError(error.to_string())),
            }
        }
    }

    /// A panic elsewhere cannot leave the book half changed, so a poisoned lock is still good.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word before the slash in a stream's name.
fn kind_of(stream: &StreamId) -> &str {
    stream.as_str().split('/').next().unwrap_or_default()
}
