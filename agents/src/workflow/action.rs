//! What a step asks the world to do, complete in itself: whoever finds an
//! action in the journal can carry it out without the workflow.
//!
//! Invariant: an action depends on the run's recorded inputs and outcomes
//! alone, never on time, chance or the number of the attempt.

use std::collections::BTreeMap;

use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::talk::Talk;
use crate::model::{Image, OutputSchema, Thinking};

/// What may be done about an effect whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// A model call: charged at its worst case, then tried again.
    Model,
    /// Reads only: again.
    Read,
    /// Done twice is done once: again.
    Idempotent,
    /// The other side can be asked whether it happened; a person decides when
    /// it cannot tell.
    Reconcile,
    /// Never again on a guess: a person decides.
    Once,
}

impl EffectClass {
    /// Whether it may simply be tried again when its outcome is lost.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::Model | Self::Read | Self::Idempotent)
    }
}

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A model call. Its outcome's output is `{"text": "…"}`, the whole reply
    /// with the prefill.
    Agent(AgentCall),
    /// A tool call; the tool decides what its output looks like.
    Tool(ToolCall),
    /// A question to a person.
    Approve(Approval),
    /// A post; the publisher decides what its output looks like.
    Publish(PostDraft),
}

/// A model call by an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentCall {
    /// The agent's name.
    pub agent: String,
    /// The request.
    pub prompt: String,
    /// Instructions above the request; the agent's own when absent.
    pub system: Option<String>,
    /// How the reply must begin.
    pub prefill: Option<String>,
    /// The reply ends before any of these.
    pub stop: Vec<String>,
    /// The longest reply.
    pub output_max: Tokens,
    /// How freely the model chooses; the agent's own when absent.
    pub temperature: Option<f64>,
    /// The model's chance, from the run and the step's path.
    pub seed: u64,
    /// The reply is to be a grade.
    #[serde(default)]
    pub graded: bool,
    /// The reply is to be JSON of this shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Box<OutputSchema>>,
    /// How much the model is to think first; as the agent has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// What is shown with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Where it stands in the talk of its step.
    #[serde(default, skip_serializing_if = "Talk::is_plain")]
    pub talk: Box<Talk>,
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool's name.
    pub tool: String,
    /// What may be done about it after a crash.
    pub class: EffectClass,
    /// The arguments by name.
    pub with: BTreeMap<String, Value>,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What is to be approved.
    pub what: String,
    /// What a "no" does.
    pub on_reject: super::definition::OnReject,
    /// Whether only a person may answer, whatever the run's policy says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_person: bool,
}

/// A post to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostDraft {
    /// The publisher's name.
    pub publisher: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// The address that it points to.
    pub link: Option<String>,
}

impl Action {
    /// It without what is recorded already: what was said before in its talk, and, after the first turn, what each
    /// turn of it shows and is to be like.
    #[must_use]
    pub(crate) fn unsaid(&self) -> Self {
        let Self::Agent(call) = self else { return self.clone() };
        // The words and the pictures are long, so they are not copied first.
        let is_first = call.talk.turns == 0;
        let Talk { said: _, turns, breaches, let_in, bare, depth, ref askers, ref limits, ref with } = *call.talk;
        let (askers, limits, with) = (askers.clone(), limits.clone(), with.clone());
        let talk = Box::new(Talk { said: Vec::new(), turns, breaches, let_in, bare, depth, askers, limits, with });
        let AgentCall {
            agent,
            prompt,
            system,
            prefill,
            stop,
            output_max,
            temperature,
            seed,
            graded,
            schema,
            thinking,
            images,
            talk: _,
        } = call;
        Self::Agent(AgentCall {
            agent: agent.clone(),
            prompt: prompt.clone(),
            system: system.clone(),
            prefill: prefill.clone(),
            stop: stop.clone(),
            output_max: *output_max,
            temperature: *temperature,
            seed: *seed,
            graded: *graded,
            schema: schema.as_ref().filter(|_| is_first).cloned(),
            thinking: *thinking,
            images: if is_first { images.clone() } else { Vec::new() },
            talk,
        })
    }

    /// What may be done about it after a crash; nothing for a question, which
    /// touches no one but the person asked.
    #[must_use]
    pub fn class(&self) -> Option<EffectClass> {
        match self {
            Self::Agent(_) => Some(EffectClass::Model),
            Self::Tool(call) => Some(call.class),
            Self::Publish(_) => Some(EffectClass::Reconcile),
            Self::Approve(_) => None,
        }
    }

    /// The agent, tool or publisher that carries it out; empty for a question.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Agent(call) => &call.agent,
            Self::Tool(call) => &call.tool,
            Self::Publish(post) => &post.publisher,
            Self::Approve(_) => "",
        }
    }
}

/// The first number from 0 to 10 in `text`, as in "7", "8.5" or "7/10".
#[must_use]
pub fn score(text: &str) -> Option<f64> {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let negative = rest[..start].ends_with(['-', '−']);
        let tail = &rest[start..];
        let whole = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let broken = tail[whole..].strip_prefix('.').map_or(0, |digits| {
            let count = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if count == 0 { 0 } else { count + 1 }
        });
        let number: Option<f64> = tail[..whole + broken].parse().ok();
        match number {
            Some(number) if number <= 10.0 && !negative => return Some(number),
            _ => rest = &tail[whole + broken..],
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_first_number_up_to_ten() {
        for (text, expected) in [
            ("7", Some(7.0)),
            ("Score: 8.5.", Some(8.5)),
            ("10/10", Some(10.0)),
            ("In 2026 I give it 6 of 10", Some(6.0)),
            ("-3, no: 4", Some(4.0)),
            ("none", None),
            ("", None),
        ] {
            assert_eq!(score(text), expected, "{text}");
        }
    }
}
