//! A thing with a life: a run, a schedule, a key. Invariant: `decide` and `evolve` are pure. They
//! know no clock, no chance and no I/O; time and ids come in with the command.

use std::fmt::{Debug, Display};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use storage::journal::{StreamId, Version};

/// One kind of entity: its state, what it may be told, and what may happen to it.
pub trait Entity: Send + Sync + Sized + 'static {
    /// The word before the slash in its streams' names: `run` in `run/abc`.
    const KIND: &'static str;
    /// The schema of its events; raise it when an older reader could not understand a new event.
    const SCHEMA: u16;
    /// The version of `evolve` and of the state's shape; raise it to discard snapshots.
    const FOLD: u32 = 1;

    /// The fold of its events.
    type State: Default + Clone + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What it may be told to do.
    type Command: Send + 'static;
    /// What may happen to it.
    type Event: Clone + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What the one who commands gets back.
    type Reply: Send + 'static;
    /// Why a command is refused.
    type Refusal: Debug + Display + Send + 'static;

    /// What follows from a command in a state.
    ///
    /// # Errors
    /// The refusal; nothing happens then.
    fn decide(state: &Self::State, command: Self::Command) -> Decided<Self>;

    /// A command in a few words, by which it is known again when it kills the actor: the same words in the
    /// same state are the same command. None for one that nobody gives twice.
    fn gist(_command: &Self::Command) -> Option<String> {
        None
    }

    /// The state after an event. It must accept every event that was ever decided.
    fn evolve(state: &mut Self::State, event: &Self::Event);

    /// The event's kind, as the journal names it.
    fn kind(event: &Self::Event) -> &'static str;

    /// The person whose key encrypts the event's payload, if it says anything personal.
    fn subject(_event: &Self::Event) -> Option<String> {
        None
    }

    /// Reads an event back. Override it to read what older schemas wrote.
    ///
    /// # Errors
    /// What cannot be understood, in a sentence.
    fn decode(kind: &str, schema: u16, payload: &[u8]) -> Result<Self::Event, String> {
        read_back::<Self, Self::Event>(kind, schema, payload)
    }

    /// What remains of an event whose subject was erased, and its payload with it. Whoever names a
    /// subject says it here.
    ///
    /// # Errors
    /// What cannot be understood, in a sentence.
    fn erased(kind: &str, _schema: u16) -> Result<Self::Event, String> {
        Err(format!("`{kind}` was erased, and `{}` does not say what remains of it", Self::KIND))
    }
}

/// An event of a schema that is known, or what is wanted of it, from its JSON.
///
/// # Errors
/// As [`Entity::decode`].
pub fn read_back<E: Entity, T: DeserializeOwned>(kind: &str, schema: u16, payload: &[u8]) -> Result<T, String> {
    if schema > E::SCHEMA {
        let known = E::SCHEMA;
        return Err(format!("`{kind}` has schema {schema} and this version knows up to {known}: run a newer one"));
    }
    serde_json::from_slice(payload).map_err(|error| format!("`{kind}` cannot be read: {error}"))
}

/// What [`Entity::decide`] returns.
pub type Decided<E> = Result<Decision<<E as Entity>::Event, <E as Entity>::Reply>, <E as Entity>::Refusal>;

/// What follows from a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<Event, Reply> {
    /// What happens, all of it or none; empty for a question.
    pub events: Vec<Event>,
    /// The answer, given once the events are durable.
    pub reply: Reply,
    /// Other streams that must still be at these versions when the events are written. They are
    /// checked with the events; a decision without events checks nothing.
    pub preconditions: Vec<(StreamId, Version)>,
    /// Events for other streams that happen with these, or not at all. A decision without events of its
    /// own has none.
    pub beside: Vec<Beside>,
}

/// An event for another stream than the entity's own, which anybody may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The stream.
    pub stream: StreamId,
    /// The event's kind.
    pub kind: &'static str,
    /// What it says.
    pub payload: Value,
}

impl<Event, Reply> Decision<Event, Reply> {
    /// An answer and nothing that happens.
    pub fn answer(reply: Reply) -> Self {
        Self::happens(Vec::new(), reply)
    }

    /// Events and the answer they make true.
    pub fn happens(events: Vec<Event>, reply: Reply) -> Self {
        Self { events, reply, preconditions: Vec::new(), beside: Vec::new() }
    }

    /// The same, as long as `stream` is still at `version`.
    #[must_use]
    pub fn provided(mut self, stream: StreamId, version: Version) -> Self {
        self.preconditions.push((stream, version));
        self
    }
}
