//! What a step shows a model, and the shape that it wants the reply to have. Invariant: a schema that comes out
//! of here is that of an object, is checked whole and is bounded; what is wrong with it is told where it is
//! written.

use std::collections::BTreeSet;
use std::ops::Range;

use policies::document::{self, Located, Section, Text};
use serde::Deserialize;
use serde_json::Value;
use toml::de::DeValue;

use super::definition::StepKind;
use super::formula::Formula;
use super::json::json;
use super::scope::Visible;
use super::steps::Reader;
use crate::model::{Image, OutputSchema};
use crate::schema::{Schema, SchemaError, words};

/// The largest schema of a step, in bytes of JSON: each call of the step carries it.
pub const SCHEMA_BYTES_MAX: usize = 16 << 10;
/// The most pictures that a step shows.
pub const PICTURES_SHOWN_MAX: usize = 8;
/// The longest name that providers take for one.
const NAME_CHARS_MAX: usize = 64;
/// How the file of a schema ends.
const JSON: &str = ".json";

/// Reads the file of that name beside a workflow, or says why it cannot and what to do.
pub type Beside<'b> = dyn Fn(&str) -> Result<String, (String, String)> + 'b;

/// For a workflow that stands alone.
pub(super) fn nothing_beside(name: &str) -> Result<String, (String, String)> {
    Err((format!("nothing stands beside this workflow, so there is no `{name}`"), "write it as a table".to_owned()))
}

/// What is known of the JSON that a step gives: the properties of its schema, where those are all.
pub(super) fn properties(kind: &StepKind) -> Option<BTreeSet<String>> {
    let StepKind::Agent(step) = kind else { return None };
    let schema = &step.schema.as_ref()?.schema;
    let is_open = ["anyOf", "oneOf", "allOf", "$ref"].iter().any(|word| schema.get(word).is_some())
        || schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
    let known = schema.get("properties")?.as_object()?;
    (!is_open).then(|| known.keys().cloned().collect())
}

/// Adds the pictures that a value is: a picture's name, a picture, or a list of such.
pub(super) fn pictures(value: &Value, shown: &mut Vec<Image>) -> Result<(), String> {
    let image = match value {
        Value::Array(several) => return several.iter().try_for_each(|one| pictures(one, shown)),
        Value::String(name) => Image::named(name)?,
        other => match Image::deserialize(other) {
            Ok(Image::Bytes { media_type, base64 }) => Image::of_bytes(&media_type, &base64)?,
            Ok(Image::Url(url)) => Image::named(&url)?,
            Err(_) => return Err("must give a text, a picture of a tool's answer, or a list of those".to_owned()),
        },
    };
    if shown.len() >= PICTURES_SHOWN_MAX {
        return Err(format!("gives more than {PICTURES_SHOWN_MAX} pictures"));
    }
    shown.push(image);
    Ok(())
}

impl<'a> Reader<'a, '_> {
    /// The `images` of a step.
    pub(super) fn images(&mut self, section: &mut Section<'a>, visible: &Visible) -> Option<Vec<Formula>> {
        let Some(value) = section.get("images") else { return Some(Vec::new()) };
        let Some(items) = value.get_ref().as_array() else {
            self.mistakes.add(value.span(), "`images` must be a list", "write `images = [\"inputs.photo\"]`");
            return None;
        };
        items.iter().enumerate().map(|(at, item)| self.formula(&format!("images[{at}]"), item, visible)).collect()
    }

    /// The `schema` of a step, if it has one; nothing where something is wrong with it.
    pub(super) fn schema(&mut self, id: &str, section: &mut Section<'a>) -> Option<Option<Box<OutputSchema>>> {
        let Some(value) = section.get("schema") else { return Some(None) };
        let (schema, inline) = match (Text::of(value), value.get_ref()) {
            (Some(name), _) => (self.file(&name)?, None),
            (None, DeValue::Table(_)) => (json(value.get_ref()), Some(value)),
            _ => {
                let message = format!("`schema` must be a table, or the name of a {JSON} file beside the workflow");
                self.mistakes.add(value.span(), message, "");
                return None;
            }
        };
        let bytes = schema.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            let message = format!("the schema has {bytes} bytes, and {SCHEMA_BYTES_MAX} is the most");
            self.mistakes.add(value.span(), message, "ask for less at once");
            return None;
        }
        if let Err(error) = Schema::read(schema.clone()) {
            let (at, word) = match &error {
                SchemaError::Unknown { word, at } | SchemaError::Wrong { word, at, .. } => (at, word),
            };
            let span = inline.map_or_else(|| value.span(), |value| place(value, at, word));
            let (message, help) = told(&error);
            self.mistakes.add(span, message, help);
            return None;
        }
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            let message = "the schema is not that of an object, which is what providers take";
            self.mistakes.add(value.span(), message, "write type = \"object\", and put a list into a property");
            return None;
        }
        let name = id.chars().take(NAME_CHARS_MAX).collect();
        Some(Some(Box::new(OutputSchema { name, schema })))
    }

    /// The schema in a file beside the workflow.
    fn file(&mut self, name: &Text<'a>) -> Option<Value> {
        let is_plain = !name.text.contains(['/', '\\']) && name.text.len() > JSON.len() && name.text.ends_with(JSON);
        if !is_plain {
            let message = format!("`{}` is not the name of a {JSON} file beside the workflow", name.text);
            self.mistakes.add(name.span.clone(), message, "write the file's name alone, such as \"post.json\"");
            return None;
        }
        let read = (self.beside)(name.text).and_then(|text| {
            let unreadable = |error| (format!("`{}` is no JSON: {error}", name.text), "mend the file".to_owned());
            serde_json::from_str(&text).map_err(unreadable)
        });
        read.map_err(|(message, help)| self.mistakes.add(name.span.clone(), message, help)).ok()
    }

    /// Reports what a reply that is nothing but JSON leaves no room for.
    pub(super) fn alone(&mut self, section: &mut Section<'a>, others: impl IntoIterator<Item = (&'static str, bool)>) {
        for (key, _) in others.into_iter().filter(|(_, is_written)| *is_written) {
            let Some(value) = section.get(key) else { continue };
            let message = format!("{} has a `schema`, whose JSON leaves no room for `{key}`", section.what);
            self.mistakes.add(value.span(), message, "take one of the two away");
        }
    }
}

/// What is said of a schema that cannot be checked.
fn told(error: &SchemaError) -> (String, String) {
    match error {
        SchemaError::Unknown { word, at } => {
            let help = document::closest(word, words()).map_or_else(
                || "say it in a `description` instead".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            (format!("the schema says `{word}` at {at}, which is not checked here"), help)
        }
        SchemaError::Wrong { .. } => (error.to_string(), String::new()),
    }
}

/// Where a word of a schema stands that is written as a table: as near as its pointer leads.
fn place(schema: Located<'_>, at: &str, word: &str) -> Range<usize> {
    let mut here = schema;
    for name in at.split('/').skip(1) {
        match here.get_ref().as_table().and_then(|table| table.get(name)) {
            Some(part) => here = part,
            None => return here.span(),
        }
    }
    let key = here.get_ref().as_table().and_then(|table| table.get_key_value(word));
    key.map_or_else(|| here.span(), |(key, _)| key.span())
}
