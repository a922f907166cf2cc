//! What the ledger reads of an event. Invariant: an event that bears on the book is read whole or refused;
//! reading needs no book, so that it is done beside the ledger and not by it.

use std::sync::Arc;

use actors::durable::Recent;
use policies::budget::{Alert, ScopeId};
use policies::instant::Timestamp;
use policies::money::Money;
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use storage::journal::{Event, Seq, StreamId, Version};

use super::{HoldId, Stood, alerts_stream, stream};
use crate::run::Reopened;
use crate::run::gist::Gist;

/// A new generation.
pub(super) const OPENED: &str = "ledger.opened";
/// A scope has come to a share of its budget.
pub const ALERTED: &str = "ledger.alerted";
/// What the kinds of all events of runs begin with.
const RUN: &str = "run.";

/// An event that the book cannot be kept with.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// It cannot be read, or is too new.
    #[error("the ledger stops at event {seq}: {reason}")]
    Event {
        /// Which.
        seq: Seq,
        /// What is wrong with it.
        reason: String,
    },
    /// Another ledger has opened since.
    #[error("another ledger of the workspace {0} has opened; this one ends")]
    Fenced(String),
}

/// One event, as far as the book is concerned.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the journal.
    pub seq: Seq,
    /// What it says.
    pub what: What,
}

/// What an event says to the book.
#[derive(Clone, Debug)]
pub enum What {
    /// A ledger has opened.
    Opened(Version),
    /// An alert is out.
    Alerted(Alert),
    /// A run has a limit of its own.
    Limited {
        /// The run.
        run: ScopeId,
        /// The most it may spend.
        limit: Money,
    },
    /// A call is about to be made.
    Intended {
        /// The attempt.
        hold: HoldId,
        /// Who pays.
        scopes: Vec<ScopeId>,
        /// What is reserved.
        amount: Money,
        /// When that was granted.
        at: Timestamp,
        /// Which model is called, and how long its input was counted to be.
        call: Option<(Arc<str>, Tokens)>,
    },
    /// A call has ended.
    Resolved {
        /// The attempt.
        hold: HoldId,
        /// What it is charged.
        cost: Money,
        /// The whole input, as the provider counts it; nothing where it did not say.
        input: Tokens,
    },
    /// A run has ended.
    Ended {
        /// The run.
        run: ScopeId,
    },
    /// A run that had failed goes on.
    Reopened {
        /// The run.
        run: ScopeId,
        /// Where it stood.
        stood: Stood,
    },
    /// Nothing that bears on the book.
    Else,
}

impl What {
    fn of_run(stream: &StreamId, event: Gist) -> Self {
        let run = || ScopeId::Run(stream.as_str().trim_start_matches("run/").to_owned());
        match event {
            Gist::Accepted(accepted) => match accepted.terms.cost_max {
                Some(limit) => Self::Limited { run: run(), limit },
                None => Self::Else,
            },
            Gist::Intended(intent) => Self::Intended {
                hold: HoldId { key: intent.key.shared(), attempt: intent.attempt },
                scopes: intent.scopes,
                amount: intent.reserved,
                at: intent.granted.unwrap_or(intent.at),
                call: intent.call.map(|call| (call.model.into(), call.counted)),
            },
            Gist::Resolved(outcome) => Self::Resolved {
                hold: HoldId { key: outcome.key.shared(), attempt: outcome.attempt },
                cost: outcome.cost,
                input: outcome.usage.input_total(),
            },
            Gist::Finished(_) | Gist::Failed(_) | Gist::Cancelled(_) => Self::Ended { run: run() },
            Gist::Rejected(rejected) if rejected.ends => Self::Ended { run: run() },
            Gist::Reopened(Reopened { cost_max: limit, spent, ended, .. }) => {
                Self::Reopened { run: run(), stood: Stood { limit, spent, ended } }
            }
            Gist::Rejected(_) | Gist::ApprovalAsked(_) | Gist::Approved(_) | Gist::Parked(_) | Gist::Resumed(_) => {
                Self::Else
            }
        }
    }
}

/// Whose events are read.
#[derive(Clone)]
pub(super) struct Reader {
    own: StreamId,
    alerts: StreamId,
    recent: Recent,
}

impl Reader {
    pub(super) fn new(workspace: &str, recent: Recent) -> Self {
        Self { own: stream(workspace), alerts: alerts_stream(workspace), recent }
    }

    pub(super) fn read(&self, event: &Event) -> Result<Entry, BookError> {
        let unreadable = |reason| BookError::Event { seq: event.seq, reason };
        let what = if event.kind.starts_with(RUN) {
            let gist = Gist::of(event, &self.recent).map_err(unreadable)?;
            What::of_run(&event.stream, gist)
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
