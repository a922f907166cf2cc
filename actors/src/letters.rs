//! Dead letters: messages that killed those who handled them, taken out of circulation with their history.
//!
//! Invariants. A dead letter is in the journal before anything acts on it, on a stream of its own; what
//! waits for the message is held, never failed silently and never retried for ever. A letter is open
//! until somebody replays or discards it, and that is in the journal too, once.

mod book;
mod register;

#[cfg(test)]
mod tests;

use std::fmt;

use policies::failure::FailureClass;
use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::journal::{StreamId, Version};

pub use book::{Entry, Fate};
pub use register::{Letters, LettersError, PAGE_MAX, Settled};

use crate::entity::Beside;

/// The stream of the dead letters.
pub const STREAM: &str = "letters/callboard";
/// The most of a message's content that its letter keeps, in bytes of JSON. Whatever is longer is whole
/// where the message came from.
pub const CONTENT_BYTES_MAX: usize = 16 * 1024;
/// The most deaths that a letter's history names: the latest.
pub const HISTORY_MAX: usize = 50;
/// The most characters that are kept of what a death says.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// How much of a hash an id holds, in hexadecimal digits.
const ID_DIGITS: usize = 12;

/// The name of a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(String);

impl LetterId {
    /// The letter of an attempt at an effect, by the effect's key.
    #[must_use]
    pub fn of_effect(key: &str, attempt: u32) -> Self {
        Self::hashed(&format!("effect\n{key}\n{attempt}"))
    }

    /// The letter of a command to the entity of a stream that stood at this version: the same command in
    /// the same state does the same again.
    #[must_use]
    pub fn of_command(stream: &StreamId, at: Version, gist: &str) -> Self {
        Self::hashed(&format!("command\n{stream}\n{}\n{gist}", at.0))
    }

    fn hashed(text: &str) -> Self {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        Self(hash.get(..ID_DIGITS).unwrap_or_default().to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for LetterId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One death in a message's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// When it was known.
    pub at: Timestamp,
    /// Who died, by its name in the tree.
    pub child: String,
    /// How it failed.
    pub class: FailureClass,
    /// What it failed of.
    pub message: String,
    /// Whether the message certainly caused it; otherwise it was only there.
    pub certain: bool,
}

impl Death {
    /// A death, with no more of its message than a letter keeps.
    #[must_use]
    pub fn new(at: Timestamp, child: &str, class: FailureClass, message: &str, certain: bool) -> Self {
        let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        Self { at, child: child.to_owned(), class, message, certain }
    }
}

/// What kind of message it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A step of a run, handed to an agent, a publisher or the context store.
    Effect,
    /// A command to a durable actor.
    Command,
}

/// A message that is out of circulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Its name.
    pub id: LetterId,
    /// When it was taken out of circulation.
    pub at: Timestamp,
    /// What kind of message it was.
    pub kind: Kind,
    /// Whose it was: `run/…`.
    pub stream: String,
    /// What it was: the step's path, or the command in a few words.
    pub what: String,
    /// Whom it killed last.
    pub child: String,
    /// Whether nobody knows if it was done all the same; then a person settles it before it is done again.
    pub in_doubt: bool,
    /// What it said, or its beginning.
    pub content: Value,
    /// The deaths, the eldest first.
    pub deaths: Vec<Death>,
}

/// What a letter keeps of a message's content.
#[must_use]
pub fn content(of: &impl Serialize) -> Value {
    let value = serde_json::to_value(of).unwrap_or(Value::Null);
    let text = value.to_string();
    if text.len() <= CONTENT_BYTES_MAX {
        return value;
    }
    let end = (0..=CONTENT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    json!({ "begins": text.get(..end).unwrap_or_default(), "bytes": text.len() })
}

/// Something that happened to a message that kills.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A command killed its actor, not for the last time yet.
    Died {
        /// The letter that it may become.
        id: LetterId,
        /// The death.
        death: Death,
    },
    /// A message was taken out of circulation.
    Dead(Letter),
    /// It was put into circulation again.
    Replayed {
        /// The letter.
        id: LetterId,
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
    },
    /// It was given up, or settled.
    Discarded {
        /// The letter.
        id: LetterId,
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// The kind, as the journal names it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Died { .. } => "letter.died",
            Self::Dead(_) => "letter.dead",
            Self::Replayed { .. } => "letter.replayed",
            Self::Discarded { .. } => "letter.discarded",
        }
    }

    /// The event for the letters' stream, to be written with an entity's own.
    #[must_use]
    pub fn beside(&self) -> Beside {
        let payload = serde_json::to_value(self).unwrap_or(Value::Null);
        Beside { stream: StreamId::from(STREAM), kind: self.kind(), payload }
    }
}
