//! JSON Schema, as much of it as replies and tools need. Invariant: a schema that says what is not
//! checked here is refused when it is read, so that whatever is checked is checked whole.
//!
//! Checked: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
//! `minItems`, `maxItems`, `minLength`, `maxLength`, `pattern`, `minimum`, `maximum`, `exclusiveMinimum`,
//! `exclusiveMaximum`, `anyOf`, `oneOf`, `allOf`, and `$ref` to a place within the schema. `format` and
//! the words for people say nothing about what fits. All else (`not`, `if`, `$dynamicRef`, …) is not known.

mod pattern;
mod reading;
mod structured;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;

use serde_json::{Map, Value};

use pattern::Patterns;
pub use reading::{SchemaError, words};
pub use structured::{REPAIRS_MAX, Structured};

/// How deep a value or a schema may be nested.
const DEPTH_MAX: usize = 64;
/// How much one check may do: a part of a value held against a part of a schema is one step, and so is each of
/// the words of a list that it is looked for in. A schema that names itself twice needs exponentially many.
const STEPS_MAX: usize = 1 << 18;
/// So many bytes of a text are one step.
const STEP_BYTES: usize = 256;
/// To hold a text against a regular expression is as many.
const PATTERN_STEPS: usize = 8;
/// What is told of a value that does not fit.
const MISFITS_MAX: usize = 8;

/// A schema that can be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(Value);

/// Where and why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// A JSON pointer; empty for the whole.
    pub at: String,
    /// What is wrong with it.
    pub why: String,
    /// Whether it is of another type altogether.
    pub is_alien_type: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "the whole" } else { &self.at };
        write!(f, "{at}: {}", self.why)
    }
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`SchemaError`] when it says what is not checked, or is no schema.
    pub fn read(schema: Value) -> Result<Self, SchemaError> {
        reading::read(&schema)?;
        Ok(Self(schema))
    }

    /// Why a value does not fit, the first few reasons; none when it does.
    #[must_use]
    pub fn misfits(&self, value: &Value) -> Vec<Misfit> {
        let (patterns, steps) = (RefCell::default(), Cell::new(0));
        let mut check = Check { root: &self.0, patterns: &patterns, steps: &steps, found: Vec::new() };
        check.value(&self.0, value, &Place { before: None, step: Step::Root, depth: 0 });
        if steps.get() > STEPS_MAX {
            // What was found by then may be no more than that a shape was not tried to its end.
            let why = format!("takes more than {STEPS_MAX} steps to check; say less, or ask for a plainer schema");
            return vec![Misfit { at: String::new(), why, is_alien_type: false }];
        }
        check.found
    }

    /// Whether it fits.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        self.misfits(value).is_empty()
    }
}

/// Whether every object of a schema is closed and needs all that it knows, which some providers ask of a
/// schema that they are to keep to strictly.
#[must_use]
pub fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Array(parts) => parts.iter().all(is_strict),
        Value::Object(words) => {
            let properties = words.get("properties").and_then(Value::as_object);
            let is_object = words.get("type").and_then(Value::as_str) == Some("object") || properties.is_some();
            let needs = |name: &String| {
                words.get("required").and_then(Value::as_array).is_some_and(|r| r.iter().any(|n| n == name.as_str()))
            };
            let is_closed = words.get("additionalProperties") == Some(&Value::Bool(false));
            let own = !is_object || (is_closed && properties.is_none_or(|known| known.keys().all(needs)));
            let within =
                words.iter().filter(|(word, _)| !matches!(word.as_str(), "enum" | "const" | "default" | "examples"));
            own && within.map(|(_, part)| part).all(is_strict)
        }
        _ => true,
    }
}

/// Where a check is, as a list that leads back to the root.
struct Place<'a> {
    before: Option<&'a Place<'a>>,
    step: Step<'a>,
    depth: usize,
}

enum Step<'a> {
    Root,
    /// The same value by another part of the schema.
    Same,
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    fn then(&'a self, step: Step<'a>) -> Self {
        Self { before: Some(self), step, depth: self.depth + 1 }
    }

    fn pointer(&self) -> String {
        let before = self.before.map(Self::pointer).unwrap_or_default();
        match self.step {
            Step::Root | Step::Same => before,
            Step::Key(key) => format!("{before}/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => format!("{before}/{index}"),
        }
    }
}

struct Check<'s> {
    root: &'s Value,
    /// Made ready once for all values of a check.
    patterns: &'s RefCell<Patterns>,
    /// Taken by all of a check together.
    steps: &'s Cell<usize>,
    found: Vec<Misfit>,
}

impl Check<'_> {
    /// Takes the steps of a part of the value; false when there are none left, so that the check ends.
    fn goes_on(&self, schema: &Value, value: &Value) -> bool {
        let listed = |word: &str| schema.get(word).and_then(Value::as_array).map_or(0, Vec::len);
        let text = value.as_str().map_or(0, |text| {
            text.len() / STEP_BYTES + if schema.get("pattern").is_some() { PATTERN_STEPS } else { 0 }
        });
        self.steps.set(self.steps.get().saturating_add(1 + listed("enum") + listed("required") + text));
        self.steps.get() <= STEPS_MAX
    }

    fn wrong(&mut self, place: &Place<'_>, why: String) {
        if self.found.len() < MISFITS_MAX {
            self.found.push(Misfit { at: place.pointer(), why, is_alien_type: false });
        }
    }

    fn alien(&mut self, place: &Place<'_>, why: String) {
        if self.found.len() < MISFITS_MAX {
            self.found.push(Misfit { at: place.pointer(), why, is_alien_type: true });
        }
    }

    /// What is found of a value by one part of the schema.
    fn count(&self, schema: &Value, value: &Value, place: &Place<'_>) -> Vec<Misfit> {
        let mut check = Check { root: self.root, patterns: self.patterns, steps: self.steps, found: Vec::new() };
        check.value(schema, value, &place.then(Step::Same));
        check.found
    }

    fn value(&mut self, schema: &Value, value: &Value, place: &Place<'_>) {
        if !self.goes_on(schema, value) {
            return;
        }
        if place.depth > DEPTH_MAX {
            return self.wrong(place, format!("is nested deeper than {DEPTH_MAX}"));
        }
        let words = match schema {
            Value::Bool(true) => return,
            Value::Object(words) => words,
            _ => return self.wrong(place, "nothing is allowed here".to_owned()),
        };
        if let Some(target) = words.get("$ref").and_then(Value::as_str).and_then(|name| resolve(self.root, name)) {
            self.value(target, value, &place.then(Step::Same));
        }
        if let Some(kinds) = words.get("type") {
            let kinds: Vec<&str> = one_or_many(kinds).filter_map(Value::as_str).collect();
            if !kinds.iter().any(|kind| is_a(kind, value)) {
                return self.alien(place, format!("is {} and must be of the type {}", name(value), kinds.join(" or ")));
            }
        }
        if words.get("const").is_some_and(|only| only != value) {
            self.wrong(place, format!("must be {}", words["const"]));
        }
        if let Some(all) = words.get("enum").and_then(Value::as_array).filter(|all| !all.contains(value)) {
            let all: Vec<String> = all.iter().map(Value::to_string).collect();
            self.wrong(place, format!("must be one of {}", all.join(", ")));
        }
        self.combined(words, value, place);
        match value {
            Value::Object(object) => self.object(words, object, place),
            Value::Array(items) => self.array(words, items, place),
            Value::String(text) => {
                self.bounds(words, ["minLength", "maxLength"], text.chars().count() as f64, "characters", place);
                let pattern = words.get("pattern").and_then(Value::as_str);
                if let Some(pattern) = pattern.filter(|pattern| !self.patterns.borrow_mut().matches(pattern, text)) {
                    self.wrong(place, format!("must match the regular expression {pattern}"));
                }
            }
            Value::Number(number) => self.number(words, number.as_f64().unwrap_or(f64::NAN), place),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn combined(&mut self, words: &Map<String, Value>, value: &Value, place: &Place<'_>) {
        let parts = |word: &str| words.get(word).and_then(Value::as_array);
        for part in parts("allOf").into_iter().flatten() {
            self.value(part, value, &place.then(Step::Same));
        }
        if let Some(any) = parts("anyOf") {
            let found: Vec<Vec<Misfit>> = any.iter().map(|part| self.count(part, value, place)).collect();
            if found.iter().all(|found| !found.is_empty()) {
                // The one that it comes nearest to says best what is wrong: one of its type, if there is one.
                let here = place.pointer();
                let is_alien = |found: &[Misfit]| found.iter().any(|misfit| misfit.at == here && misfit.is_alien_type);
                let nearest = found.into_iter().min_by_key(|found| (is_alien(found), found.len())).unwrap_or_default();
                let room = MISFITS_MAX.saturating_sub(self.found.len());
                self.found.extend(nearest.into_iter().take(room));
                if any.is_empty() {
                    self.wrong(place, "fits none of no shapes".to_owned());
                }
            }
        }
        if let Some(one) = parts("oneOf") {
            let fitting = one.iter().filter(|part| self.count(part, value, place).is_empty()).count();
            if fitting != 1 {
                self.wrong(place, format!("must fit exactly one of {} shapes and fits {fitting}", one.len()));
            }
        }
    }

    fn object(&mut self, words: &Map<String, Value>, object: &Map<String, Value>, place: &Place<'_>) {
        let required = words.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| !object.contains_key(*name)) {
            self.wrong(place, format!("has no `{name}`"));
        }
        let properties = words.get("properties").and_then(Value::as_object);
        for (key, value) in object {
            let at = place.then(Step::Key(key));
            match (properties.and_then(|known| known.get(key)), words.get("additionalProperties")) {
                (Some(schema), _) => self.value(schema, value, &at),
                (None, Some(Value::Bool(false))) => self.wrong(&at, "is not known here".to_owned()),
                (None, Some(schema)) => self.value(schema, value, &at),
                (None, None) => {}
            }
        }
    }

    fn array(&mut self, words: &Map<String, Value>, items: &[Value], place: &Place<'_>) {
        self.bounds(words, ["minItems", "maxItems"], items.len() as f64, "items", place);
        if let Some(schema) = words.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.value(schema, item, &place.then(Step::Index(index)));
            }
        }
    }

    fn number(&mut self, words: &Map<String, Value>, number: f64, place: &Place<'_>) {
        self.bounds(words, ["minimum", "maximum"], number, "", place);
        let bound = |word: &str| words.get(word).and_then(Value::as_f64);
        if let Some(most) = bound("exclusiveMaximum").filter(|most| number >= *most) {
            self.wrong(place, format!("must be below {most}"));
        }
        if let Some(least) = bound("exclusiveMinimum").filter(|least| number <= *least) {
            self.wrong(place, format!("must be above {least}"));
        }
    }

    fn bounds(&mut self, words: &Map<String, Value>, [least, most]: [&str; 2], is: f64, of: &str, place: &Place<'_>) {
        let bound = |word: &str| words.get(word).and_then(Value::as_f64);
        let of = if of.is_empty() { String::new() } else { format!(" {of}") };
        if let Some(least) = bound(least).filter(|least| is < *least) {
            self.wrong(place, format!("must have or be at least {least}{of}"));
        }
        if let Some(most) = bound(most).filter(|most| is > *most) {
            self.wrong(place, format!("must have or be at most {most}{of}"));
        }
    }
}

/// The part of a schema that a reference names: `#`, or a pointer after it.
fn resolve<'s>(root: &'s Value, name: &str) -> Option<&'s Value> {
    root.pointer(name.strip_prefix('#')?)
}

fn one_or_many(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        kind => kind == name(value),
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
