//! What books and figures read of a run's events: who, where, when and how much.
//!
//! Invariant: a gist is read from what was written as the whole event, and refuses the kinds and the
//! schemas that the whole event refuses; the texts and values beside it are passed over.

use actors::entity::read_back;
use policies::budget::{Refusal, ScopeId};
use policies::choice::Chosen;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::event::{ApprovalAsked, Approved, Cancelled, Failed, ModelCall, Rejected, Reopened, StandIn, Terms, Then};
use super::{EffectKey, Run, RunId};
use crate::workflow::{PostDraft, StepPath};

/// A run's [`super::Event`] without what is long in it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Gist {
    Accepted(Accepted),
    Intended(Intended),
    Resolved(Resolved),
    ApprovalAsked(ApprovalAsked),
    Approved(Approved),
    Rejected(Rejected),
    Parked(Parked),
    Resumed(Resumed),
    Finished(Finished),
    Failed(Failed),
    Cancelled(Cancelled),
    Reopened(Reopened),
}

/// A run was accepted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) at: Timestamp,
    pub(crate) id: RunId,
    pub(crate) workflow: Named,
    pub(crate) terms: Terms,
}

/// A workflow, by its name alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

/// An effect is about to start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Intended {
    pub(crate) at: Timestamp,
    pub(crate) key: EffectKey,
    pub(crate) path: StepPath,
    pub(crate) attempt: u32,
    pub(crate) request: Request,
    pub(crate) reserved: Money,
    pub(crate) scopes: Vec<ScopeId>,
    #[serde(default)]
    pub(crate) granted: Option<Timestamp>,
    #[serde(default)]
    pub(crate) stand_in: Option<StandIn>,
    #[serde(default)]
    pub(crate) choice: Option<Box<Chosen>>,
    #[serde(default)]
    pub(crate) call: Option<ModelCall>,
}

/// What is asked, and of whom.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Agent { agent: String },
    Tool { tool: String },
    Approve(IgnoredAny),
    Publish(PostDraft),
}

/// An attempt at an effect has ended.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) at: Timestamp,
    pub(crate) key: EffectKey,
    pub(crate) path: StepPath,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
    pub(crate) cost: Money,
    pub(crate) usage: Usage,
    pub(crate) remote_id: Option<String>,
    pub(crate) took: Span,
    pub(crate) then: Then,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok(IgnoredAny),
    Failed(IgnoredAny),
    Unknown(IgnoredAny),
}

/// A step waits for a person to settle it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Parked {
    pub(crate) path: StepPath,
    pub(crate) hold: Hold,
}

/// Why it waits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hold {
    Doubt(IgnoredAny),
    Budget { refusal: Refusal },
    Poison(IgnoredAny),
}

/// A parked step was settled, or may go on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Resumed {
    pub(crate) path: StepPath,
    pub(crate) settled: Settled,
}

/// What a person settled.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Settled {
    Landed(IgnoredAny),
    Again,
    Discarded,
}

/// Every step is done.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Finished {
    pub(crate) at: Timestamp,
}

impl Gist {
    /// The gist of what the journal holds of an event.
    ///
    /// # Errors
    /// What cannot be understood, in a sentence.
    pub(crate) fn read(kind: &str, schema: u16, payload: &[u8]) -> Result<Self, String> {
        read_back::<Run, Self>(kind, schema, payload)
    }
}

impl Request {
    /// The agent, tool or publisher; empty for a question.
    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Agent { agent } => agent,
            Self::Tool { tool } => tool,
            Self::Publish(post) => &post.publisher,
            Self::Approve(_) => "",
        }
    }
}
