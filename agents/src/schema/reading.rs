//! Whether a schema says only what is checked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pattern::{self, PATTERNS_MAX};
use super::{DEPTH_MAX, one_or_many, resolve};

const KINDS: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];
/// Words that say nothing about what fits.
const SILENT: [&str; 11] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Words that say what fits.
const CHECKED: [&str; 22] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "pattern",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
];

/// All words that a schema may say.
pub fn words() -> impl Iterator<Item = &'static str> {
    CHECKED.into_iter().chain(SILENT)
}

/// A schema that cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It says what is not checked here.
    #[error("the JSON Schema says `{word}` at {at}, which is not checked here; say it in the description instead")]
    Unknown {
        /// The word.
        word: String,
        /// Where, as a JSON pointer.
        at: String,
    },
    /// It is no schema.
    #[error("the JSON Schema has `{word}` at {at}, which {why}")]
    Wrong {
        /// The word.
        word: String,
        /// Where, as a JSON pointer.
        at: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

pub(super) fn read(root: &Value) -> Result<(), SchemaError> {
    Reading { root, patterns: BTreeSet::new() }.schema(root, "#", 0)
}

struct Reading<'s> {
    root: &'s Value,
    /// The regular expressions that it has so far.
    patterns: BTreeSet<&'s str>,
}

impl<'s> Reading<'s> {
    fn schema(&mut self, part: &'s Value, at: &str, depth: usize) -> Result<(), SchemaError> {
        let wrong = |word: &str, why| Err(SchemaError::Wrong { word: word.to_owned(), at: at.to_owned(), why });
        let words = match part {
            Value::Bool(_) => return Ok(()),
            Value::Object(words) => words,
            other => return wrong(&other.to_string(), "is no schema: write an object or a boolean"),
        };
        if depth > DEPTH_MAX {
            return wrong("{…}", "is nested too deep");
        }
        for (word, said) in words {
            let within = format!("{at}/{word}");
            match word.as_str() {
                "properties" | "$defs" | "definitions" => {
                    let Some(parts) = said.as_object() else { return wrong(word, "must be an object of schemas") };
                    for (name, part) in parts {
                        self.schema(part, &format!("{within}/{name}"), depth + 1)?;
                    }
                }
                "items" | "additionalProperties" => self.schema(said, &within, depth + 1)?,
                "anyOf" | "oneOf" | "allOf" => {
                    let Some(parts) = said.as_array() else { return wrong(word, "must be a list of schemas") };
                    for part in parts {
                        self.schema(part, &within, depth + 1)?;
                    }
                }
                "$ref" => {
                    if said.as_str().and_then(|name| resolve(self.root, name)).is_none() {
                        return wrong(word, "names no place within it");
                    }
                }
                "type" => {
                    let mut kinds = one_or_many(said);
                    if !kinds.all(|kind| kind.as_str().is_some_and(|kind| KINDS.contains(&kind))) {
                        return wrong(word, "is no type, nor a list of types");
                    }
                }
                "pattern" => self.pattern(said, at)?,
                "enum" if !said.is_array() => return wrong(word, "must be a list"),
                "required" => {
                    if !said.as_array().is_some_and(|names| names.iter().all(Value::is_string)) {
                        return wrong(word, "must be a list of names");
                    }
                }
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minimum" | "maximum" | "exclusiveMinimum"
                | "exclusiveMaximum"
                    if !said.is_number() =>
                {
                    return wrong(word, "must be a number");
                }
                "enum" | "const" | "minItems" | "maxItems" | "minLength" | "maxLength" | "minimum" | "maximum"
                | "exclusiveMinimum" | "exclusiveMaximum" => {}
                silent if SILENT.contains(&silent) => {}
                unknown => return Err(SchemaError::Unknown { word: unknown.to_owned(), at: at.to_owned() }),
            }
        }
        Ok(())
    }

    fn pattern(&mut self, said: &'s Value, at: &str) -> Result<(), SchemaError> {
        let wrong = |why| Err(SchemaError::Wrong { word: "pattern".to_owned(), at: at.to_owned(), why });
        let Some(pattern) = said.as_str() else { return wrong("must be a regular expression") };
        if !self.patterns.insert(pattern) {
            return Ok(());
        }
        if self.patterns.len() > PATTERNS_MAX {
            return wrong("is one regular expression too many");
        }
        if pattern::ready(pattern).is_none() {
            return wrong("is no regular expression that is checked in linear time, or is too large");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_word_that_is_named_is_one_that_is_read() {
        for word in words() {
            let said = read(&json!({ word: null }));
            assert!(!matches!(said, Err(SchemaError::Unknown { .. })), "{word}");
        }
        assert!(matches!(read(&json!({ "patterns": null })), Err(SchemaError::Unknown { .. })));
    }
}
