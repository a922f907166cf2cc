//! Names of steps, and the path of a step within a run.
//!
//! Invariant: a path names one place in one walk of a workflow; the same place
//! has the same path in every walk, whatever order outcomes arrive in.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a step, unique in its workflow: a lower-case letter, then
/// lower-case letters, digits and underscores, so that expressions can say
/// `steps.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// The id, or nothing when `name` cannot be used in an expression.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let first = name.chars().next()?;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (first.is_ascii_lowercase() && name.chars().all(fits)).then(|| Self(name.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a step stands in a run, such as `posts[1]/draft#2/write`: `[n]` is
/// an item of a map, counted from 0; `#n` an iteration of a loop, counted from 1. What follows an `@` is
/// the talk of an agent step: `write@2` is its second turn, `write@1[0]` the first tool that the first
/// turn asks for, `write@1[0]@2` the second turn of an agent that is asked as a tool, and `write@6~` the
/// summary of what was said up to the sixth turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepPath(Arc<str>);

impl StepPath {
    /// The path of the workflow itself, above its first step.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The step `id` inside this one.
    #[must_use]
    pub fn child(&self, id: &StepId) -> Self {
        if self.0.is_empty() { Self::from(id.as_str()) } else { Self([&*self.0, "/", id.as_str()].concat().into()) }
    }

    /// The item `index` of this map, counted from 0.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0).into())
    }

    /// The iteration `number` of this loop, counted from 1.
    #[must_use]
    pub fn iteration(&self, number: u32) -> Self {
        Self(format!("{}#{number}", self.0).into())
    }

    /// The turn `number` of the talk of this step, counted from 1; the first is the step itself.
    #[must_use]
    pub fn turn(&self, number: u32) -> Self {
        if number <= 1 { self.clone() } else { Self(format!("{}@{number}", self.0).into()) }
    }

    /// What the turn `number` of this step's talk asks for at the place `index`, counted from 0.
    #[must_use]
    pub fn errand(&self, number: u32, index: usize) -> Self {
        Self(format!("{}@{number}[{index}]", self.0).into())
    }

    /// The question of the guardrails about the turn `number` of this step's talk; `index` is the
    /// judge's, and none is a person's.
    #[must_use]
    pub fn guardrail(&self, number: u32, index: Option<usize>) -> Self {
        match index {
            Some(index) => Self(format!("{}@{number}?{index}", self.0).into()),
            None => Self(format!("{}@{number}?", self.0).into()),
        }
    }

    /// The summary of what was said up to the turn `number` of this step's talk.
    #[must_use]
    pub fn summary(&self, number: u32) -> Self {
        Self(format!("{}@{number}~", self.0).into())
    }

    /// The step of the workflow that this belongs to: itself, unless it is a part of a talk.
    #[must_use]
    pub fn step(&self) -> Self {
        self.0.split_once('@').map_or_else(|| self.clone(), |(step, _)| Self::from(step))
    }

    /// Whether a model asked for it, or for the agent that asks for it, or a talk can do without it. What
    /// becomes of it is told, whatever it is, and fails no step.
    #[must_use]
    pub fn is_errand(&self) -> bool {
        self.0.split_once('@').is_some_and(|(_, talk)| talk.contains(['[', '~']))
    }

    /// The path as text; the root is empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StepPath {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_items_from_zero_and_iterations_from_one() {
        let id = |name| StepId::new(name).unwrap();
        let path = StepPath::root().child(&id("posts")).item(1).child(&id("draft")).iteration(2).child(&id("write"));
        assert_eq!(path.as_str(), "posts[1]/draft#2/write");
    }

    #[test]
    fn an_id_is_a_name_that_an_expression_can_say() {
        for good in ["a", "write_post", "step2"] {
            assert!(StepId::new(good).is_some(), "{good}");
        }
        for bad in ["", "Write", "2nd", "write-post", "a.b", "é"] {
            assert!(StepId::new(bad).is_none(), "{bad}");
        }
    }
}
