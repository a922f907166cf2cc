//! A workflow as data: inputs, constants, steps and outputs.
//!
//! Invariant: a value of [`Workflow`] that came out of [`super::check`] only
//! names inputs, constants, steps, agents, tools and publishers that exist, and
//! each of its loops has a bound.

use std::collections::BTreeMap;
use std::fmt;

use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::EffectClass;
use super::advance::ACTION_BYTES_MAX;
use super::canonical;
use super::formula::Formula;
use super::path::StepId;
use super::talk::Limits;
use crate::model::{OutputSchema, Thinking};

/// A checked workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// What runs are started by.
    pub name: String,
    /// One sentence for lists.
    pub description: String,
    /// What a run must and may bring.
    pub inputs: BTreeMap<String, Input>,
    /// Constants, seen by expressions as `data`.
    pub data: BTreeMap<String, Value>,
    /// The steps, one after the other.
    pub steps: Vec<Step>,
    /// What a finished run hands back.
    pub outputs: BTreeMap<String, Formula>,
}

/// The hash of a workflow's content, in hexadecimal: what a run pins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkflowVersion(String);

impl WorkflowVersion {
    /// The whole hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkflowVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One declared input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// What a value must be.
    pub kind: InputKind,
    /// Whether a run without it is refused.
    pub required: bool,
    /// The value of an input that is not given; `null` when there is none.
    pub default: Value,
    /// One sentence for people.
    pub description: String,
}

/// What the value of an input must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A text.
    Text,
    /// A list of anything.
    List,
    /// A whole or broken number.
    Number,
    /// A map from names to anything.
    Map,
}

impl InputKind {
    /// All kinds, as a workflow spells them.
    pub const NAMES: [&str; 4] = ["text", "list", "number", "map"];

    /// The kind spelled `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "list" => Some(Self::List),
            "number" => Some(Self::Number),
            "map" => Some(Self::Map),
            _ => None,
        }
    }

    /// How a workflow spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::List => "list",
            Self::Number => "number",
            Self::Map => "map",
        }
    }

    /// Whether `value` is of this kind.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::List => value.is_array(),
            Self::Number => value.is_number(),
            Self::Map => value.is_object(),
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in the workflow.
    pub id: StepId,
    /// What it does.
    pub kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// One call of a model by an agent.
    Agent(AgentStep),
    /// One call of a tool.
    Tool(ToolStep),
    /// Values built from others; touches nothing.
    Compute {
        /// The values by name.
        with: BTreeMap<String, Formula>,
    },
    /// A text held against exact rules; touches nothing.
    Check {
        /// The text.
        text: Formula,
        /// The rules, in the form of `policies::rules::PostRules`.
        rules: Formula,
    },
    /// All children at once.
    Parallel {
        /// The children.
        steps: Vec<Step>,
    },
    /// One child after the other.
    Sequence {
        /// The children.
        steps: Vec<Step>,
    },
    /// The children once for each item of a list, all items at once.
    Map {
        /// An expression that gives the list.
        over: String,
        /// What expressions call the item.
        item: String,
        /// The children, one after the other for each item.
        steps: Vec<Step>,
    },
    /// One of two lists of children.
    Branch {
        /// The expression that chooses.
        when: String,
        /// The children when it is true.
        then: Vec<Step>,
        /// The children when it is not.
        otherwise: Vec<Step>,
    },
    /// The children again and again, until a condition holds.
    Loop {
        /// The most iterations; at least 1.
        times_max: u32,
        /// The condition, looked at after each iteration.
        until: String,
        /// The children, one after the other.
        steps: Vec<Step>,
    },
    /// A question to a person.
    Approve {
        /// What is to be approved, as a template.
        what: String,
        /// What a "no" does.
        on_reject: OnReject,
    },
    /// One post to a platform.
    Publish {
        /// The publisher's name.
        publisher: String,
        /// The post.
        post: PostFormula,
    },
}

impl StepKind {
    /// All kinds, as a workflow spells them.
    pub const NAMES: [&str; 11] =
        ["agent", "tool", "compute", "check", "parallel", "sequence", "map", "branch", "loop", "approve", "publish"];

    /// The children of a composite, in order; none for a leaf.
    pub fn children(&self) -> impl Iterator<Item = &Step> {
        let (first, second): (&[Step], &[Step]) = match self {
            Self::Parallel { steps }
            | Self::Sequence { steps }
            | Self::Map { steps, .. }
            | Self::Loop { steps, .. } => (steps, &[]),
            Self::Branch { then, otherwise, .. } => (then, otherwise),
            _ => (&[], &[]),
        };
        first.iter().chain(second)
    }
}

/// A model call of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStep {
    /// The agent's name.
    pub agent: String,
    /// The request, as a template.
    pub prompt: String,
    /// Instructions above the request, as a template; the agent's own when absent.
    pub system: Option<String>,
    /// How the reply must begin, as a template.
    pub prefill: Option<String>,
    /// The reply ends before any of these.
    pub stop: Vec<String>,
    /// The longest reply.
    pub output_max: Tokens,
    /// How freely the model chooses, from 0; the agent's own when absent.
    pub temperature: Option<f64>,
    /// What is read out of the reply.
    pub parse: Parse,
    /// The shape of a reply that is to be JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Box<OutputSchema>>,
    /// What is shown with the request: each a picture's name, a picture, or a list of pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Formula>,
    /// How much the model is to think first; as the agent has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// What its whole talk may take.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

/// What is read out of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parse {
    /// The text alone.
    Text,
    /// Also the first number from 0 to 10, as `score`; `none` without one.
    Score,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolStep {
    /// The tool's name.
    pub tool: String,
    /// What may be done about it after a crash, pinned with the workflow.
    pub class: EffectClass,
    /// The arguments by name.
    pub with: BTreeMap<String, Formula>,
}

/// What a rejected approval does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReject {
    /// The run ends as rejected.
    End,
    /// The run goes on; the step's `approved` is false.
    Continue,
}

/// A post to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostFormula {
    /// Its title.
    pub title: Formula,
    /// Its text.
    pub text: Formula,
    /// The address that it points to.
    pub link: Option<Formula>,
}

/// The most that the inputs of one run may have together, as JSON: what one step may ask for, with
/// room for what the step says about them.
pub const INPUTS_BYTES_MAX: usize = ACTION_BYTES_MAX - 64 * 1024;

/// An input that a run cannot start with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum InputError {
    /// A required input is not given.
    #[error("the input `{0}` is required; give it with the run")]
    Missing(String),
    /// An input is given that the workflow does not declare.
    #[error("the workflow has no input `{name}`; it has {declared}")]
    Unknown {
        /// The input.
        name: String,
        /// The declared ones, as a list for people.
        declared: String,
    },
    /// An input is of another kind than declared.
    #[error("the input `{name}` must be a {expected}")]
    Kind {
        /// The input.
        name: String,
        /// The declared kind.
        expected: String,
    },
    /// A step that is given all of them could ask for nothing.
    #[error("together the inputs have {bytes} bytes, and {INPUTS_BYTES_MAX} is the most; shorten them")]
    TooLarge {
        /// What they have, as JSON.
        bytes: usize,
    },
}

impl Workflow {
    /// The hash of the content: two files that differ only in comments, layout
    /// or the order of keys have the same version.
    #[must_use]
    pub fn version(&self) -> WorkflowVersion {
        WorkflowVersion(canonical::hash(self).to_hex().to_string())
    }

    /// The inputs of a run: those given, checked, with the defaults filled in.
    ///
    /// # Errors
    /// One error for each input that is missing, unknown or of the wrong kind, and one if all of them
    /// together are too large.
    pub fn bind(&self, mut given: BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, Vec<InputError>> {
        let mut bound = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, input) in &self.inputs {
            match given.remove(name) {
                Some(value) if input.kind.fits(&value) => {
                    bound.insert(name.clone(), value);
                }
                Some(_) => {
                    errors.push(InputError::Kind { name: name.clone(), expected: input.kind.name().to_owned() });
                }
                None if input.required => errors.push(InputError::Missing(name.clone())),
                None => {
                    bound.insert(name.clone(), input.default.clone());
                }
            }
        }
        let declared = self.inputs.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        errors.extend(given.into_keys().map(|name| InputError::Unknown { name, declared: declared.clone() }));
        let bytes = canonical::text(&bound).len();
        if bytes > INPUTS_BYTES_MAX {
            errors.push(InputError::TooLarge { bytes });
        }
        if errors.is_empty() { Ok(bound) } else { Err(errors) }
    }
}
