//! What the ledger reads of an event. Invariant: an event that bears on the book is read whole or refused;
//! reading needs no book, so that it is done beside the ledger and not by it.

use policies::budget::{Alert, ScopeId};
use serde::{Deserialize, Serialize};
use storage::journal::{Event, Seq, StreamId, Version};

use super::{alerts_stream, stream};
use crate::run::gist::Gist;

/// A new generation.
pub(super) const OPENED: &str = "ledger.opened";
/// A scope has come to a share of its budget.
pub const ALERTED: &str = "ledger.alerted";
/// What the kinds of all events of runs begin with.
const RUN: &str = "run.";

/// An event that the book cannot be kept with.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    /// It cannot be read, or is too new.
    #[error("the ledger stops at event {seq}: {reason}")]
    Event { seq: Seq, reason: String },
    /// Another ledger has opened since.
    #[error("another ledger of the workspace {0} has opened; this one ends")]
    Fenced(String),
}

/// One event, as far as the book is concerned.
pub struct Entry {
    pub(super) seq: Seq,
    pub(super) what: What,
}

/// What it says.
pub(super) enum What {
    /// A ledger has opened.
    Opened(Version),
    /// An alert is out.
    Alerted(Alert),
    /// Something happened to a run.
    Run(ScopeId, Box<Gist>),
    /// Nothing that bears on the book.
    Else,
}

/// Whose events are read.
#[derive(Clone)]
pub(super) struct Reader {
    own: StreamId,
    alerts: StreamId,
}

impl Reader {
    pub(super) fn new(workspace: &str) -> Self {
        Self { own: stream(workspace), alerts: alerts_stream(workspace) }
    }

    pub(super) fn read(&self, event: &Event) -> Result<Entry, BookError> {
        let unreadable = |reason| BookError::Event { seq: event.seq, reason };
        let what = if event.kind.starts_with(RUN) {
            let gist = Gist::read(&event.kind, event.schema, &event.payload).map_err(unreadable)?;
            let run = event.stream.as_str().trim_start_matches("run/");
            What::Run(ScopeId::Run(run.to_owned()), Box::new(gist))
        } else if event.kind == OPENED && event.stream == self.own {
            What::Opened(event.version)
        } else if event.kind == ALERTED && event.stream == self.alerts {
            let alerted = serde_json::from_slice::<Alerted>(&event.payload);
            What::Alerted(alerted.map_err(|error| unreadable(error.to_string()))?.alert)
        } else {
            What::Else
        };
        Ok(Entry { seq: event.seq, what })
    }

    pub(super) fn read_all(&self, events: &[Event]) -> Result<Vec<Entry>, BookError> {
        events.iter().map(|event| self.read(event)).collect()
    }
}

/// An alert, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerted {
    /// The workspace whose ledger says it.
    pub workspace: String,
    /// What it says.
    #[serde(flatten)]
    pub alert: Alert,
}
