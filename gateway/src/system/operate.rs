//! An operator's word to the tree, and the record of what operators did.
//!
//! Invariant: what an operator asked for is in the journal with who, when and what came of it before it
//! is answered, whether it was followed or not. A journal that takes nothing holds no operator up for
//! long: the deed is done all the same, and the log says that it was not recorded.

use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::journal::{Batch, NewEvent, RecordId, StreamId, TraceId, Write};
use supervisor::{NodeSnapshot, NotFollowed, Word};

use super::System;
use super::watcher::append_or_give_up;

/// The stream of what operators did.
const STREAM: &str = "audit/operators";
/// What its events' kinds begin with.
const AUDIT: &str = "audit.";

/// One thing that an operator did, or wanted to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deed {
    /// Its place in the record, from 1.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What: `tree` for a word to the tree.
    pub what: String,
    /// To what and with which outcome.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Done,
    Refused,
}

/// The payload of a word to the tree.
#[derive(Serialize)]
struct Told<'a> {
    node: &'a str,
    action: Word,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl System {
    /// Does to a child or a branch of the tree as an operator says, and shows it as it is then. What
    /// takes time goes on after this has returned.
    ///
    /// # Errors
    /// [`NotFollowed`]; nothing was changed then.
    pub async fn operate(&self, by: &str, name: &str, word: Word) -> Result<NodeSnapshot, NotFollowed> {
        let at = self.world.now();
        let told = self.tree.operate(name, word).await;
        let (node, outcome) = match &told {
            Ok(node) => (node.as_str(), Outcome::Done),
            Err(_) => (name, Outcome::Refused),
        };
        let why = told.as_ref().err().map(ToString::to_string);
        self.note(at, by, "tree", &Told { node, action: word, outcome, why }).await;
        let name = told?;
        let gone = || NotFollowed::Unknown { name: name.clone(), closest: None };
        self.tree.draw().find(&name).cloned().ok_or_else(gone)
    }

    /// What operators did before the deed of this id, or at all: the newest first, `max` at most.
    ///
    /// # Errors
    /// Why it cannot be read, in a sentence.
    pub async fn deeds(&self, before: Option<u64>, max: usize) -> Result<Vec<Deed>, String> {
        let events = self.events_before(StreamId::from(STREAM), before, max).await?;
        let deed = |event: storage::journal::Event| Deed {
            id: event.version.0,
            at: event.time,
            by: event.principal,
            what: event.kind.strip_prefix(AUDIT).unwrap_or(&event.kind).to_owned(),
            detail: serde_json::from_slice(&event.payload).unwrap_or_default(),
        };
        Ok(events.into_iter().map(deed).collect())
    }

    /// Writes down what an operator did, by when it was asked for.
    pub(super) async fn note(&self, at: Timestamp, by: &str, what: &str, detail: &impl Serialize) {
        let payload = match serde_json::to_vec(detail) {
            Ok(payload) => payload,
            Err(error) => return tracing::error!(%error, "what an operator did cannot be written down"),
        };
        let event = NewEvent {
            kind: format!("{AUDIT}{what}"),
            schema: 1,
            time: at,
            principal: by.to_owned(),
            trace: TraceId(0),
            cause: None,
            subject: None,
            payload,
        };
        let write = Write { stream: StreamId::from(STREAM), expected: None, events: vec![event] };
        let id = RecordId(self.world.chance("audit").id());
        let batch = Batch { id, writes: vec![write], preconditions: Vec::new() };
        append_or_give_up(&self.journal, batch, "what an operator did").await;
    }
}
