//! What a run may be told, and what it answers.
//!
//! Invariant: whatever a decision needs of the world (time, chance, the
//! ledger's grants) comes in with the command.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::letters::{Death, LetterId};

use super::event::{EffectOutcome, ModelCall, Replied, StandIn, Terms};
use super::failures::Failures;
use super::id::{EffectKey, RunId};
use super::state::Status;
use super::tally::Tally;
use crate::workflow::{Action, EffectClass, InputError, StepPath, Workflow, WorkflowVersion};
use policies::budget::{Refusal as BudgetRefusal, ScopeId};
use policies::choice::Chosen;
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::poison::PoisonPolicy;
use policies::priority::Priority;
use policies::retry::RetryPolicy;
use policies::span::Span;
use policies::tokens::Usage;
use serde_json::Value;
use storage::journal::{StreamId, Version};

/// An order to a run, with what its host brings from the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What to do.
    pub act: Act,
    /// The time of the decision.
    pub now: Timestamp,
    /// A number in `[0, 1)`, for jitter.
    pub chance: f64,
    /// What the ledger says to the steps that would become due; one without a
    /// grant stays due, for a later [`Act::StartReady`].
    pub grants: Vec<Grant>,
}

impl Command {
    /// A command that the host has yet to complete, before it is decided.
    #[must_use]
    pub fn new(act: Act) -> Self {
        Self { act, now: Timestamp::EPOCH, chance: 0.0, grants: Vec::new() }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Take the run on.
    Accept(Box<Order>),
    /// An attempt has ended.
    Outcome(Box<Outcome>),
    /// Attempts have vanished without an outcome, after a crash: charge each at
    /// what was reserved for it, then try it again or park it, by its class.
    Lost {
        /// Which.
        attempts: Vec<Attempt>,
        /// Why, as far as it is known.
        reason: String,
        /// Who was at them, by its name in the tree.
        child: String,
        /// When what vanishes again and again is poison.
        poison: PoisonPolicy,
    },
    /// Start what is due: the grants that were missing are there, or a retry's
    /// time has come.
    StartReady,
    /// A person says yes.
    Approve {
        /// The step.
        path: StepPath,
        /// Who.
        by: String,
    },
    /// A person says no.
    Reject {
        /// The step.
        path: StepPath,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person settles an effect in doubt.
    Settle {
        /// The effect.
        key: EffectKey,
        /// What came of it if it was done; nothing if it was not.
        landed: Option<Value>,
        /// Who.
        by: String,
    },
    /// A person puts a dead letter into circulation again.
    Replay {
        /// The letter.
        letter: LetterId,
        /// Who.
        by: String,
    },
    /// A person gives a dead letter up; its step fails, and the run with it.
    Discard {
        /// The letter.
        letter: LetterId,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The steps that a budget held back may go on: there is money again. A run
    /// that failed goes on from what failed.
    Resume {
        /// Who says so.
        by: String,
    },
    /// Stop; what is under way is still resolved.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl Act {
    /// Whether it says that something was done.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Outcome(outcome) if matches!(outcome.outcome, EffectOutcome::Ok { .. }))
    }

    /// What is told instead of an outcome that cannot be recorded for its size: what it cost and used stays.
    pub(crate) fn too_large(self, message: String) -> Self {
        let Self::Outcome(outcome) = self else { return self };
        let failed = EffectOutcome::Failed { class: FailureClass::Rejected, message, retry_after: None };
        Self::Outcome(Box::new(Outcome { outcome: failed, ..*outcome }))
    }

    /// It in a few words, by which it is known when it comes again.
    pub(super) fn gist(&self) -> String {
        match self {
            Self::Accept(_) => "accept".to_owned(),
            Self::Outcome(outcome) => format!("outcome of attempt {} of {}", outcome.of.number, outcome.of.key),
            Self::Lost { attempts, .. } => {
                let attempts = attempts.iter().map(|of| format!("attempt {} of {}", of.number, of.key));
                format!("loss of {}", attempts.collect::<Vec<_>>().join(", "))
            }
            Self::StartReady => "start what is due".to_owned(),
            Self::Approve { path, .. } => format!("approval of {path}"),
            Self::Reject { path, .. } => format!("rejection of {path}"),
            Self::Settle { key, .. } => format!("settlement of {key}"),
            Self::Replay { letter, .. } => format!("replay of {letter}"),
            Self::Discard { letter, .. } => format!("discard of {letter}"),
            Self::Resume { .. } => "resume".to_owned(),
            Self::Cancel { .. } => "cancel".to_owned(),
        }
    }
}

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Its name.
    pub id: RunId,
    /// What it does.
    pub workflow: Arc<Workflow>,
    /// The hash of that.
    pub version: WorkflowVersion,
    /// What it is given.
    pub inputs: BTreeMap<String, Value>,
    /// Who asks for it.
    pub principal: String,
    /// How it is to be carried out.
    pub terms: Terms,
}

/// One attempt at an effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The effect.
    pub key: EffectKey,
    /// Which attempt, from 1.
    pub number: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The attempt.
    pub of: Attempt,
    /// How it ended.
    pub outcome: EffectOutcome,
    /// What it cost.
    pub cost: Money,
    /// What it used.
    pub usage: Usage,
    /// The other side's name for it.
    pub remote_id: Option<String>,
    /// How long it took.
    pub took: Span,
    /// Whether and when a failed one is made again, as its guard has it now.
    pub retry: RetryPolicy,
    /// Who died during it, where somebody did or may have.
    pub death: Option<Death>,
    /// When it is poison, as those who carry it out have it now.
    pub poison: PoisonPolicy,
    /// What a model's reply was like, where there was one.
    pub replied: Option<Replied>,
}

/// An effect whose turn it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The effect.
    pub key: EffectKey,
    /// Its step.
    pub path: StepPath,
    /// Which attempt it would be, from 1.
    pub attempt: u32,
    /// How those before it failed.
    pub failures: Failures,
    /// What may be done about it after a crash.
    pub class: EffectClass,
    /// What is asked.
    pub action: Arc<Action>,
    /// The hash of that, in hexadecimal.
    pub hash: Arc<str>,
    /// What its step has taken so far, where that is bounded.
    pub tally: Tally,
    /// How urgent it is.
    pub priority: Priority,
}

/// What the ledger says to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The step.
    pub path: StepPath,
    /// The attempt.
    pub attempt: u32,
    /// The answer.
    pub answer: Answer,
    /// Who would carry it out, where it is not the one that the step names.
    pub stand_in: Option<StandIn>,
    /// Why that model of its agent's pool; none where it has none.
    pub choice: Option<Box<Chosen>>,
    /// Which model would be called, where one is.
    pub call: Option<ModelCall>,
}

/// What the ledger says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may start.
    Reserved {
        /// What is reserved for it.
        amount: Money,
        /// In which scopes.
        scopes: Vec<ScopeId>,
        /// When, by the ledger's clock; none where nothing is reserved.
        at: Option<Timestamp>,
        /// The stream of the ledger that says so, and the version at which its
        /// word counts: the journal refuses the intent when that has moved on.
        condition: Option<(StreamId, Version)>,
    },
    /// A budget does not cover it.
    Refused(BudgetRefusal),
}

/// What a run answers once its events are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Where the run stands.
    pub status: Status,
    /// The attempts that were started.
    pub started: Vec<Attempt>,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run exists.
    #[error("the run `{0}` is there already; choose another id")]
    Exists(RunId),
    /// Nobody accepted the run.
    #[error("there is no such run")]
    Absent,
    /// The inputs do not fit the workflow.
    #[error("the inputs do not fit the workflow: {}", list(.0))]
    Inputs(Vec<InputError>),
    /// The run has ended.
    #[error("the run has ended ({0}); nothing more can be done with it")]
    Ended(Status),
    /// No such attempt was ever started.
    #[error("the run never started attempt {number} of `{key}`")]
    NeverStarted {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        number: u32,
    },
    /// The attempt has its outcome, which never changes.
    #[error("attempt {number} of `{key}` has its outcome already, and the first one stands")]
    Resolved {
        /// The effect.
        key: EffectKey,
        /// The attempt.
        number: u32,
    },
    /// The step does not wait for an approval.
    #[error("the step `{0}` does not wait for an approval")]
    NotAsked(StepPath),
    /// The run holds no such dead letter, or no longer.
    #[error("the run holds no dead letter `{0}`, or no longer; callboard letters lists them")]
    NoLetter(LetterId),
    /// The effect may have been done, so that to replay it would be a guess.
    #[error(
        "nobody knows whether `{0}` was done, so it is not replayed on a guess; look there, and settle it: \
         --not-done has it tried again"
    )]
    Doubtful(EffectKey),
    /// The effect is not in doubt.
    #[error("`{0}` is not in doubt; there is nothing to settle")]
    NotInDoubt(EffectKey),
}

fn list(errors: &[InputError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
