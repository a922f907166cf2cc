//! A value that a step builds when its turn comes.
//!
//! Invariant: what a formula gives depends on the scope alone.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};

use super::engine;

/// A value to be built: in a workflow's text a string with `{{` or `{%` is a
/// template, any other string is an expression, and the rest stands for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// Stands for itself.
    Literal(serde_json::Value),
    /// Gives a value.
    Expression(String),
    /// Gives a text.
    Template(String),
    /// A list of formulas.
    List(Vec<Formula>),
    /// A map of formulas.
    Map(BTreeMap<String, Formula>),
}

impl Formula {
    /// The formula written as `source`.
    #[must_use]
    pub fn of(source: &str) -> Self {
        if source.contains("{{") || source.contains("{%") {
            Self::Template(source.to_owned())
        } else {
            Self::Expression(source.to_owned())
        }
    }

    /// The value in `context`; an error is one sentence for people.
    pub(super) fn value(&self, context: &Value) -> Result<Value, String> {
        match self {
            Self::Literal(value) => Ok(Value::from(Serde(value))),
            Self::Expression(source) => engine::value(source, context),
            Self::Template(source) => engine::text(source, context).map(Value::from),
            Self::List(items) => {
                items.iter().map(|item| item.value(context)).collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            Self::Map(entries) => {
                let pairs = entries.iter().map(|(key, item)| Ok((key.clone(), item.value(context)?)));
                Ok(Value::from_pairs(pairs.collect::<Result<Vec<_>, String>>()?))
            }
        }
    }

    /// The value as a text; numbers are printed.
    pub(super) fn text(&self, context: &Value) -> Result<String, String> {
        let value = self.value(context)?;
        if value.as_str().is_some() || value.is_number() {
            Ok(value.to_string())
        } else {
            Err(format!("must give a text, and gave a {}", value.kind()))
        }
    }

    /// The value as JSON.
    pub(super) fn json(&self, context: &Value) -> Result<serde_json::Value, String> {
        json(&self.value(context)?)
    }
}

/// A value as JSON.
pub(super) fn json(value: &Value) -> Result<serde_json::Value, String> {
    serde_json::to_value(value).map_err(|error| format!("the value cannot be kept as JSON: {error}"))
}
