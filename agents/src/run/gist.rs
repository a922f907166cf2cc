//! What books and figures read of a run's events: who, where, when and how much.
//!
//! Invariant: a gist is read from what was written as the whole event, and refuses the kinds and the
//! schemas that the whole event refuses; the texts and values beside it are passed over.

use actors::durable::Recent;
use actors::entity::read_back;
use policies::budget::{Refusal, ScopeId};
use policies::choice::Chosen;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use storage::journal;

use super::event::{self, EffectOutcome, Event};
use super::event::{ApprovalAsked, Approved, Cancelled, Failed, ModelCall, Rejected, Reopened, StandIn, Terms, Then};
use super::{EffectKey, Run, RunId};
use crate::workflow::{Action, PostDraft, StepPath};

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
    /// The gist of an event of a run: taken from what was written moments ago, or else read.
    ///
    /// # Errors
    /// As [`Gist::read`].
    pub(crate) fn of(event: &journal::Event, recent: &Recent) -> Result<Self, String> {
        match recent.recall::<Run>(event) {
            Some(event) => Ok(Self::from(&*event)),
            None => Self::read(&event.kind, event.schema, &event.payload),
        }
    }

    /// The gist of what the journal holds of an event.
    ///
    /// # Errors
    /// What cannot be understood, in a sentence.
    pub(crate) fn read(kind: &str, schema: u16, payload: &[u8]) -> Result<Self, String> {
        read_back::<Run, Self>(kind, schema, payload)
    }
}

impl From<&Event> for Gist {
    fn from(event: &Event) -> Self {
        match event {
            Event::Accepted(run) => Self::Accepted(Accepted {
                at: run.at,
                id: run.id.clone(),
                workflow: Named { name: run.workflow.name.clone() },
                terms: run.terms,
            }),
            Event::Intended(intent) => Self::Intended(Intended::from(&**intent)),
            Event::Resolved(resolved) => Self::Resolved(Resolved::from(&**resolved)),
            Event::ApprovalAsked(asked) => Self::ApprovalAsked(asked.clone()),
            Event::Approved(approved) => Self::Approved(approved.clone()),
            Event::Rejected(rejected) => Self::Rejected(rejected.clone()),
            Event::Parked(parked) => Self::Parked(Parked { path: parked.path.clone(), hold: Hold::from(&parked.hold) }),
            Event::Resumed(resumed) => {
                Self::Resumed(Resumed { path: resumed.path.clone(), settled: Settled::from(&resumed.settled) })
            }
            Event::Finished(finished) => Self::Finished(Finished { at: finished.at }),
            Event::Failed(failed) => Self::Failed(failed.clone()),
            Event::Cancelled(cancelled) => Self::Cancelled(cancelled.clone()),
            Event::Reopened(reopened) => Self::Reopened(reopened.clone()),
        }
    }
}

impl From<&event::Intended> for Intended {
    fn from(intent: &event::Intended) -> Self {
        Self {
            at: intent.at,
            key: intent.key.clone(),
            path: intent.path.clone(),
            attempt: intent.attempt,
            request: Request::from(&intent.request),
            reserved: intent.reserved,
            scopes: intent.scopes.clone(),
            granted: intent.granted,
            stand_in: intent.stand_in.clone(),
            choice: intent.choice.clone(),
            call: intent.call.clone(),
        }
    }
}

impl From<&Action> for Request {
    fn from(action: &Action) -> Self {
        match action {
            Action::Agent(call) => Self::Agent { agent: call.agent.clone() },
            Action::Tool(call) => Self::Tool { tool: call.tool.clone() },
            Action::Approve(_) => Self::Approve(IgnoredAny),
            Action::Publish(post) => Self::Publish(post.clone()),
        }
    }
}

impl From<&event::Resolved> for Resolved {
    fn from(resolved: &event::Resolved) -> Self {
        let outcome = match &resolved.outcome {
            EffectOutcome::Ok { .. } => Outcome::Ok(IgnoredAny),
            EffectOutcome::Failed { .. } => Outcome::Failed(IgnoredAny),
            EffectOutcome::Unknown { .. } => Outcome::Unknown(IgnoredAny),
        };
        Self {
            at: resolved.at,
            key: resolved.key.clone(),
            path: resolved.path.clone(),
            attempt: resolved.attempt,
            outcome,
            cost: resolved.cost,
            usage: resolved.usage,
            remote_id: resolved.remote_id.clone(),
            took: resolved.took,
            then: resolved.then,
        }
    }
}

impl From<&event::Hold> for Hold {
    fn from(hold: &event::Hold) -> Self {
        match hold {
            event::Hold::Doubt { .. } => Self::Doubt(IgnoredAny),
            event::Hold::Budget { refusal } => Self::Budget { refusal: refusal.clone() },
            event::Hold::Poison { .. } => Self::Poison(IgnoredAny),
        }
    }
}

impl From<&event::Settled> for Settled {
    fn from(settled: &event::Settled) -> Self {
        match settled {
            event::Settled::Landed { .. } => Self::Landed(IgnoredAny),
            event::Settled::Again => Self::Again,
            event::Settled::Discarded => Self::Discarded,
        }
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
