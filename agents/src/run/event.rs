//! What may happen to a run.
//!
//! Invariant: the events of a run, in order, are all there is to know of it.
//! An intent holds the whole request, but for what the outcomes before it say already; so recovery needs
//! nothing but the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::letters::{Death, LetterId};
use policies::approval::ApprovalPolicy;
use policies::budget::{Refusal, ScopeId};
use policies::choice::Chosen;
use policies::failure::FailureClass;
use policies::fallback::Outage;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::priority::Priority;
use policies::span::Span;
use policies::tokens::{Tokens, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{EffectKey, RunId};
use crate::model::Finish;
use crate::workflow::{Action, EffectClass, StepPath, Workflow, WorkflowVersion};

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It will be carried out.
    Accepted(Arc<Accepted>),
    /// An effect is about to start.
    Intended(Arc<Intended>),
    /// An attempt at an effect has ended.
    Resolved(Box<Resolved>),
    /// A person is asked.
    ApprovalAsked(ApprovalAsked),
    /// The person, or the policy, said yes.
    Approved(Approved),
    /// The person said no.
    Rejected(Rejected),
    /// A step waits for a person to settle it.
    Parked(Parked),
    /// A parked step was settled, or may go on.
    Resumed(Resumed),
    /// Every step is done.
    Finished(Finished),
    /// A step failed for good, and the run with it.
    Failed(Failed),
    /// Someone stopped it.
    Cancelled(Cancelled),
    /// A failed run goes on.
    Reopened(Reopened),
}

/// A run was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// The run.
    pub id: RunId,
    /// What it does, pinned whole.
    pub workflow: Arc<Workflow>,
    /// The hash of that.
    pub version: WorkflowVersion,
    /// What it was given, defaults filled in.
    pub inputs: BTreeMap<String, Value>,
    /// Who asked for it.
    pub principal: String,
    /// How it is to be carried out.
    pub terms: Terms,
}

/// How a run is to be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// The most it may spend, if it has a limit of its own.
    pub cost_max: Option<Money>,
    /// Who approves.
    pub approval: ApprovalPolicy,
    /// What a spent budget does.
    pub when_spent: WhenSpent,
    /// How urgent its calls are, where a step does not say.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
}

/// What a spent budget does to a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenSpent {
    /// The run fails.
    #[default]
    Fail,
    /// The step waits for a person.
    Park,
}

/// An effect is about to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intended {
    /// When.
    pub at: Timestamp,
    /// The effect.
    pub key: EffectKey,
    /// Its step.
    pub path: StepPath,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// What may be done about it after a crash.
    pub class: EffectClass,
    /// What is asked, but for what was said before in its talk: that follows from the outcomes before it,
    /// and would be written again with each turn. [`super::State::request`] has it whole.
    pub request: Action,
    /// The hash of what is asked, whole, in hexadecimal.
    pub request_hash: String,
    /// What is reserved for it.
    pub reserved: Money,
    /// In which scopes.
    pub scopes: Vec<ScopeId>,
    /// When the ledger granted that, which decides the windows that it belongs to; none where it is
    /// this very moment, or nothing is reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Timestamp>,
    /// Who carries it out, where it is not the one that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandIn>,
    /// Why it is that model of its agent's pool; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Box<Chosen>>,
    /// Which model is called, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ModelCall>,
}

/// Which model an attempt calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCall {
    /// Its name at its provider.
    pub model: String,
    /// The agent that calls it, and pays.
    pub agent: String,
    /// The input as it was counted here, before the call.
    pub counted: Tokens,
    /// The most tokens that it may use, in and out; nothing where that was not noted.
    #[serde(default, skip_serializing_if = "is_none")]
    pub bound: Tokens,
    /// Whose model it is, in the words of OpenTelemetry's conventions; empty where that was not noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// Whether it is made by a batch, for the price that those have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
}

fn is_none(tokens: &Tokens) -> bool {
    *tokens == Tokens(0)
}

/// Who carries an effect out instead of the one that its request names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// The agent: another one, or the same one with another model.
    pub agent: String,
    /// The model by its name, where it is not the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What keeps the one that is named from it.
    pub because: Outage,
}

impl StandIn {
    /// In the words of a policy: "model/local" for the agent that is named, else "agent/reviewer", with
    /// its model where that is not its own.
    #[must_use]
    pub fn name(&self, named: &str) -> String {
        match &self.model {
            Some(model) if self.agent == named => format!("model/{model}"),
            Some(model) => format!("agent/{} with model/{model}", self.agent),
            None => format!("agent/{}", self.agent),
        }
    }
}

/// An attempt at an effect has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// When.
    pub at: Timestamp,
    /// The effect.
    pub key: EffectKey,
    /// Its step.
    pub path: StepPath,
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: EffectOutcome,
    /// What it cost, or is charged.
    pub cost: Money,
    /// What it used.
    pub usage: Usage,
    /// The other side's name for it.
    pub remote_id: Option<String>,
    /// How long it took.
    pub took: Span,
    /// What follows from it.
    pub then: Then,
    /// Who died during it, where somebody did or may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Death>,
    /// What a model's reply was like, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied: Option<Replied>,
}

/// What a model's reply was like, beside its words and its cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replied {
    /// Why it ended.
    pub finish: Finish,
    /// The model that answered, as its provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// From the request to its first piece, where it came in pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_chunk: Option<Span>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectOutcome {
    /// It was done.
    Ok {
        /// What came of it.
        output: Arc<Value>,
    },
    /// It was certainly not done.
    Failed {
        /// What kind of failure.
        class: FailureClass,
        /// What went wrong, and what to do.
        message: String,
        /// How long the other side asked to be left alone.
        retry_after: Option<Span>,
    },
    /// It may have been done.
    Unknown {
        /// Why that is not known.
        reason: String,
    },
}

impl EffectOutcome {
    /// It was done, and this came of it.
    #[must_use]
    pub fn ok(output: Value) -> Self {
        Self::Ok { output: Arc::new(output) }
    }
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The step is done.
    Done,
    /// Another attempt, not before this.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// A person must settle it.
    Park,
    /// Nothing more is tried.
    GiveUp,
    /// Nothing more is tried, and the model that asked for it is told why.
    Told,
}

/// A person is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalAsked {
    /// When.
    pub at: Timestamp,
    /// The step.
    pub path: StepPath,
    /// What is to be approved.
    pub what: String,
    /// Whether a "no" ends the run.
    pub no_ends: bool,
}

/// The answer is yes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approved {
    /// When.
    pub at: Timestamp,
    /// The step.
    pub path: StepPath,
    /// Who said so.
    pub by: String,
}

/// The answer is no.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// When.
    pub at: Timestamp,
    /// The step.
    pub path: StepPath,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether the run ends with it.
    pub ends: bool,
}

/// A step waits for a person to settle it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    /// When.
    pub at: Timestamp,
    /// The step.
    pub path: StepPath,
    /// The effect.
    pub key: EffectKey,
    /// Why, with all that is known.
    pub hold: Hold,
}

/// Why a step waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nobody knows whether it was done.
    Doubt {
        /// Which attempt.
        attempt: u32,
        /// Why that is not known.
        reason: String,
        /// What was asked.
        request: Box<Action>,
    },
    /// A budget does not cover it.
    Budget {
        /// Which, and what is missing.
        refusal: Refusal,
    },
    /// It killed whoever carried it out, too often: it is a dead letter.
    Poison {
        /// The letter.
        letter: LetterId,
        /// Which attempt was the last.
        attempt: u32,
        /// What the last death was of.
        reason: String,
        /// What was asked.
        request: Box<Action>,
        /// The deaths, the eldest first.
        deaths: Vec<Death>,
        /// Whether nobody knows if it was done all the same; then it is settled, not replayed.
        in_doubt: bool,
    },
}

/// A parked step was settled, or may go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// When.
    pub at: Timestamp,
    /// The step.
    pub path: StepPath,
    /// Who said so.
    pub by: String,
    /// What follows.
    pub settled: Settled,
}

/// What a person settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It was done.
    Landed {
        /// What came of it.
        output: Value,
    },
    /// It was not done and may be tried again.
    Again,
    /// It is given up.
    Discarded,
}

/// Every step is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// When.
    pub at: Timestamp,
    /// What the run hands back.
    pub outputs: BTreeMap<String, Value>,
}

/// A step failed for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// When.
    pub at: Timestamp,
    /// The step; the root when it was the workflow's outputs.
    pub path: StepPath,
    /// What kind of failure.
    pub class: FailureClass,
    /// What went wrong, and what to do.
    pub message: String,
    /// The budget that refused it, if one did.
    pub refusal: Option<Refusal>,
}

/// Someone stopped the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A failed run goes on from what failed: what is recorded stays recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reopened {
    /// When.
    pub at: Timestamp,
    /// The step that had failed.
    pub path: StepPath,
    /// Who said so.
    pub by: String,
    /// What the run had cost by then: the ledger forgets a run that has ended.
    pub spent: Money,
    /// The most that it may spend, if it has a limit of its own.
    pub cost_max: Option<Money>,
    /// When it had ended: what it had cost was spent by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl Event {
    /// The kind, as the journal names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "run.accepted",
            Self::Intended(_) => "run.intended",
            Self::Resolved(_) => "run.resolved",
            Self::ApprovalAsked(_) => "run.approval_asked",
            Self::Approved(_) => "run.approved",
            Self::Rejected(_) => "run.rejected",
            Self::Parked(_) => "run.parked",
            Self::Resumed(_) => "run.resumed",
            Self::Finished(_) => "run.finished",
            Self::Failed(_) => "run.failed",
            Self::Cancelled(_) => "run.cancelled",
            Self::Reopened(_) => "run.reopened",
        }
    }

    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Accepted(event) => event.at,
            Self::Intended(event) => event.at,
            Self::Resolved(event) => event.at,
            Self::ApprovalAsked(event) => event.at,
            Self::Approved(event) => event.at,
            Self::Rejected(event) => event.at,
            Self::Parked(event) => event.at,
            Self::Resumed(event) => event.at,
            Self::Finished(event) => event.at,
            Self::Failed(event) => event.at,
            Self::Cancelled(event) => event.at,
            Self::Reopened(event) => event.at,
        }
    }
}
