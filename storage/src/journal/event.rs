//! What the journal holds: events, and the batches that they are appended in.
//!
//! Invariant: sequences count all events without a gap, versions count those of one stream without
//! a gap, both from 1.

use std::fmt;
use std::sync::Arc;

use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};

/// A place in the journal. The first event is 1; 0 is before all events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);
    /// The first event.
    pub const FIRST: Self = Self(1);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many events a stream holds, and so which one is its last. 0: none yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// A stream without events.
    pub const NONE: Self = Self(0);

    /// The version after this many more events.
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Self(self.0 + events)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a stream, such as `run/abc`. A clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub Arc<str>);

impl StreamId {
    /// A stream of this name: not empty and without NUL, which an append checks.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StreamId {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for StreamId {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for StreamId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Names one batch for ever: an append that is repeated with the same id takes effect once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u128);

/// Ties together all that one request caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceId(pub u128);

/// An event to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened, such as `run.started`.
    pub kind: String,
    /// The version of the payload's schema.
    pub schema: u16,
    /// When it happened, as its maker saw the clock.
    pub time: Timestamp,
    /// Who caused it.
    pub principal: String,
    /// The request that it belongs to.
    pub trace: TraceId,
    /// The event that caused it.
    pub cause: Option<Seq>,
    /// The person whom the payload is about, by an opaque id. With one, the payload is kept
    /// encrypted and can be erased.
    pub subject: Option<String>,
    /// JSON text.
    pub payload: Vec<u8>,
}

/// An event as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place among all events.
    pub seq: Seq,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: Version,
    /// When it happened, as its maker saw the clock.
    pub time: Timestamp,
    /// What happened.
    pub kind: String,
    /// The version of the payload's schema.
    pub schema: u16,
    /// Who caused it.
    pub principal: String,
    /// The request that it belongs to.
    pub trace: TraceId,
    /// The event that caused it.
    pub cause: Option<Seq>,
    /// The person whom the payload is about.
    pub subject: Option<String>,
    /// JSON text; `null` when `erased`.
    pub payload: Vec<u8>,
    /// The subject was erased, and the payload with it.
    pub erased: bool,
}

/// Events for one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The stream.
    pub stream: StreamId,
    /// The version that the stream must have; `None` takes any.
    pub expected: Option<Version>,
    /// The events, at least one.
    pub events: Vec<NewEvent>,
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The batch's name, the same in every repetition.
    pub id: RecordId,
    /// The writes, at least one.
    pub writes: Vec<Write>,
    /// Versions that further streams must have.
    pub preconditions: Vec<(StreamId, Version)>,
}

/// Where a batch went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its first event.
    pub first: Seq,
    /// Its last event.
    pub last: Seq,
    /// The version that each stream of the batch then had, in the batch's order, each stream once.
    pub versions: Vec<(StreamId, Version)>,
}
