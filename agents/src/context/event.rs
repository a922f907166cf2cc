//! The context's events, and how notes become points. Invariant: a note's id
//! follows from its content and its place, so that remembering again changes
//! nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use storage::index::Payload;
use storage::journal::{Event, StreamId};

use super::{NOTE_CHARS_MAX, NewNote, Remember, chunk};

pub(super) const REMEMBERED: &str = "context.remembered";
pub(super) const FORGOTTEN: &str = "context.forgotten";
/// The newest schema that is understood.
const SCHEMA_MAX: u16 = 1;
const PREFIX: &str = "context/";

/// Names a note: the hash of its collection, run, agent, kind, source and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteId(pub u128);

impl fmt::Display for NoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no note's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a note, which is 32 hexadecimal digits")]
pub struct NotNoteId(String);

impl FromStr for NoteId {
    type Err = NotNoteId;

    fn from_str(text: &str) -> Result<Self, NotNoteId> {
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NotNoteId(text.to_owned()))
    }
}

impl Serialize for NoteId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NoteId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Notes that were remembered together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RememberedEvent {
    pub(super) collection: String,
    pub(super) run: String,
    pub(super) agent: String,
    pub(super) notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: NoteId,
    #[serde(flatten)]
    pub(super) note: NewNote,
}

/// Notes that were forgotten together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForgottenEvent {
    pub(super) ids: Vec<NoteId>,
}

/// What an event does to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Remembered(RememberedEvent),
    Forgotten(ForgottenEvent),
}

impl Change {
    /// The change in an event; none for another component's event, and for notes
    /// whose subject was erased.
    pub(super) fn of(event: &Event) -> Result<Option<Self>, String> {
        let known = matches!(event.kind.as_str(), REMEMBERED | FORGOTTEN);
        if !known || event.erased {
            return Ok(None);
        }
        let name = format!("event {} ({}, schema {})", event.seq, event.kind, event.schema);
        if event.schema > SCHEMA_MAX {
            return Err(format!("{name} is newer than this version of callboard understands; run a newer one"));
        }
        let change = match event.kind.as_str() {
            REMEMBERED => serde_json::from_slice(&event.payload).map(Self::Remembered),
            _ => serde_json::from_slice(&event.payload).map(Self::Forgotten),
        };
        change.map(Some).map_err(|error| format!("{name} cannot be read: {error}"))
    }
}

impl RememberedEvent {
    /// The notes to remember, long ones cut, each once.
    pub(super) fn of(remember: &Remember) -> Self {
        let mut notes = BTreeMap::new();
        for note in &remember.notes {
            for text in chunk::chunks(&note.text, NOTE_CHARS_MAX) {
                let note = NewNote { text, ..note.clone() };
                let nth = notes.len();
                notes.entry(id(remember, &note)).or_insert((nth, note));
            }
        }
        let mut notes: Vec<_> = notes.into_iter().map(|(id, (nth, note))| (nth, Note { id, note })).collect();
        notes.sort_by_key(|(nth, _)| *nth);
        Self {
            collection: remember.collection.clone(),
            run: remember.run.clone(),
            agent: remember.agent.clone(),
            notes: notes.into_iter().map(|(_, note)| note).collect(),
        }
    }

    /// The fields of one of its notes, as the index keeps them.
    pub(super) fn payload(&self, note: &NewNote) -> Payload {
        [
            ("collection", &self.collection),
            ("run", &self.run),
            ("agent", &self.agent),
            ("kind", &note.kind),
            ("source", &note.source),
            ("text", &note.text),
        ]
        .map(|(field, value)| (field.to_owned(), value.clone()))
        .into()
    }
}

/// The stream of a collection, if its name can name one.
pub(super) fn stream(collection: &str) -> Option<StreamId> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (!collection.is_empty() && collection.chars().all(fits)).then(|| StreamId::new(format!("{PREFIX}{collection}")))
}

fn id(remember: &Remember, note: &NewNote) -> NoteId {
    let mut hash = blake3::Hasher::new();
    for part in [&remember.collection, &remember.run, &remember.agent, &note.kind, &note.source, &note.text] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = [0; 16];
    hash.finalize_xof().fill(&mut id);
    NoteId(u128::from_le_bytes(id))
}
