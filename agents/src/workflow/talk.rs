//! The talk of an agent with its tools: what a step asks for beyond its first model call.
//!
//! Invariant: a talk follows from what is recorded of its turns. Which tool may be used, with what, and what
//! may be done about it after a crash is decided once, when the model's reply is recorded, and never again.

use policies::history::HistoryPolicy;
use policies::money::Money;
use policies::priority::Priority;
use policies::span::Span;
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::{AgentCall, ToolCall};
use crate::model::{Block, Message};

/// The most turns that a talk may be allowed.
pub const TURNS_MAX: u32 = 64;
/// The key of an outcome's output that holds its [`Turn`].
pub(super) const TURN: &str = "turn";
/// The key of an output that says why there is none.
pub const ERROR: &str = "error";

/// Where a model call stands in its talk; nothing of it is written for a call that is a talk of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Talk {
    /// What was said after the prompt, the eldest first. It follows from what is recorded of the turns
    /// before, so the journal's intents do without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<Message>,
    /// The turns before this one.
    #[serde(skip_serializing_if = "is_default")]
    pub turns: u32,
    /// The replies among them that broke a guardrail.
    #[serde(skip_serializing_if = "is_default")]
    pub breaches: u32,
    /// A person let what the guardrails of the input had held pass.
    #[serde(skip_serializing_if = "is_default")]
    pub let_in: bool,
    /// The model of its agent's pool that spoke last in it: the talk goes on with that one if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// It is asked for the sake of the talk, not by the workflow: without tools and guardrails.
    #[serde(skip_serializing_if = "is_default")]
    pub bare: bool,
    /// How many agents are above this one that asked it as a tool.
    #[serde(skip_serializing_if = "is_default")]
    pub depth: u32,
    /// The agents for whose sake it is asked, the first of them the step's: what it costs is within the budget
    /// of each. No longer than agents ask agents deep, and one for whoever judges or sums up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub askers: Vec<String>,
    /// The bounds of the step, for all of its talk and for whoever is asked in it.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
}

impl Talk {
    /// Those for whose sake somebody is asked in this talk by `agent`.
    pub(crate) fn askers_with(&self, agent: &str) -> Vec<String> {
        let mut askers = self.askers.clone();
        if !askers.iter().any(|asker| asker == agent) {
            askers.push(agent.to_owned());
        }
        askers
    }

    /// Whether it says nothing.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// What one agent step may take in all, without a bound what its run and its agent may; and how urgent it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Model calls of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns_max: Option<u32>,
    /// Tokens in and out, of all model calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<Tokens>,
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<Money>,
    /// From its first call on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_max: Option<Span>,
    /// How urgent its calls are, and those of whoever is asked in it; as its run is without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How soon its models have to answer.
    #[serde(skip_serializing_if = "is_default")]
    pub latency: Latency,
}

/// How soon a model has to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// As soon as it can.
    #[default]
    Now,
    /// Within a day, for less, where its provider takes batches.
    Batch,
}

impl Limits {
    /// Whether it bounds nothing.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What is recorded of a turn after which the talk goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Turn {
    /// What the model said, as it is to hear it again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Block>,
    /// What it asked for, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Asked>,
    /// The guardrail that it broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breach: Option<Breach>,
    /// Who is asked whether what it said may stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<Judge>,
    /// Whether that is about what it said, or about what it is to be asked.
    #[serde(skip_serializing_if = "is_default")]
    pub side: Side,
    /// The model of its agent's pool that said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// How much of the talk is heard in the next turn, as its agent has it now; all where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryPolicy>,
}

/// The two sides of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What it is asked.
    Input,
    /// What it answers.
    #[default]
    Output,
}

/// One call of a tool by a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The provider's id of it.
    pub id: String,
    /// What is done about it.
    pub errand: Errand,
}

/// What is done about a model's call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// The tool is used.
    Tool(ToolCall),
    /// Another agent is asked.
    Agent(Box<AgentCall>),
    /// Nothing, and the model is told why.
    Refused {
        /// Why, and what it could do instead.
        reason: String,
    },
}

/// A guardrail that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The guardrail.
    pub guard: String,
    /// What breaks it.
    pub reason: String,
    /// What follows.
    pub then: OnBreach,
}

/// What follows from a broken guardrail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBreach {
    /// The model is told, and answers again.
    Retry,
    /// A person decides whether it may stand.
    Park,
    /// The step fails.
    #[default]
    Fail,
}

/// A model that is asked whether a text may stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// The guardrail.
    pub guard: String,
    /// What is asked; the answer holds a score.
    pub call: AgentCall,
    /// The least score that lets it stand, of 10.
    pub score_min: f64,
    /// What follows below that.
    pub then: OnBreach,
}

impl Turn {
    /// The turn of an outcome, if the talk goes on after it.
    ///
    /// # Errors
    /// When what is recorded is no turn.
    pub(crate) fn of(output: &Value) -> Result<Option<Self>, String> {
        output.get(TURN).map(Self::deserialize).transpose().map_err(|error| error.to_string())
    }

    /// The output of an outcome that records it.
    #[must_use]
    pub fn into_output(self, text: &str) -> Value {
        serde_json::json!({ "text": text, TURN: self })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
