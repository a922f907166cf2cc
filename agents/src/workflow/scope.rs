//! Which names an expression may use where it stands.
//!
//! Invariant: a step sees the steps before it and the steps before those that
//! contain it, and nothing else; so a checked workflow has no cycle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use policies::document::{self, Mistakes, Text};

use super::engine::{self, Language};

/// The names that are always there.
pub(super) const RESERVED: [&str; 5] = ["inputs", "data", "steps", "run", "loop"];

/// What can be asked of a step's output: some names, or anything.
pub(super) type Fields = Option<BTreeSet<String>>;

/// What can be seen at one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Visible {
    /// The step that looks; empty for the workflow's outputs.
    pub(super) from: String,
    pub(super) steps: BTreeMap<String, Fields>,
    /// What is known of the JSON that steps with a schema give, by step.
    pub(super) shapes: BTreeMap<String, BTreeSet<String>>,
    pub(super) items: BTreeSet<String>,
    pub(super) in_loop: bool,
}

/// How addresses begin, and pictures that are written out.
const ADDRESSES: [&str; 3] = ["https://", "http://", "data:"];
/// How a text stands where an expression is read.
const QUOTED: &str = "a text of its own stands in quotes twice: \"'https://…'\"";

/// A use of a step's output that the place does not see.
struct Dangling {
    from: String,
    to: String,
    span: Range<usize>,
    visible: BTreeSet<String>,
}

/// All names of a workflow.
#[derive(Default)]
pub(super) struct Names {
    inputs: BTreeSet<String>,
    data: BTreeSet<String>,
    /// Each step's place in the reading order.
    pub(super) steps: BTreeMap<String, usize>,
    /// Which steps each step uses.
    uses: BTreeMap<String, BTreeSet<String>>,
    dangling: Vec<Dangling>,
}

impl Names {
    pub(super) fn new<'n>(
        inputs: impl IntoIterator<Item = &'n String>,
        data: impl IntoIterator<Item = &'n String>,
    ) -> Self {
        let set = |names: &mut dyn Iterator<Item = &'n String>| names.cloned().collect();
        Self { inputs: set(&mut inputs.into_iter()), data: set(&mut data.into_iter()), ..Self::default() }
    }

    /// Checks one source: its syntax, and every name in it.
    pub(super) fn check(
        &mut self,
        key: &str,
        language: Language,
        text: &Text<'_>,
        visible: &Visible,
        mistakes: &mut Mistakes<'_>,
    ) {
        let names = match engine::names(language, text.text) {
            Ok(names) => names,
            Err(fault) => {
                let span = mistakes.place(text, fault.offset);
                let what = if language == Language::Template { "template" } else { "expression" };
                let message = format!("the {what} `{key}` does not parse: {}", fault.message);
                // An address that was meant as it stands.
                let is_address = ADDRESSES.iter().any(|begin| text.text.starts_with(begin));
                let help = if language == Language::Expression && is_address { QUOTED } else { "" };
                return mistakes.add(span, message, help);
            }
        };
        for name in &names {
            // A longer name that begins with this one says more about it.
            if names.iter().any(|other| other.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))) {
                continue;
            }
            let span = mistakes.place(text, find(text.text, name));
            let parts: Vec<&str> = name.split('.').collect();
            self.name(&parts, span, visible, mistakes);
        }
    }

    fn name(&mut self, parts: &[&str], span: Range<usize>, visible: &Visible, mistakes: &mut Mistakes<'_>) {
        match parts {
            ["inputs", input, ..] if !self.inputs.contains(*input) => {
                let help = match document::closest(input, self.inputs.iter().map(String::as_str)) {
                    Some(close) => format!("did you mean `inputs.{close}`?"),
                    None => format!("declare it as [inputs.{input}]"),
                };
                mistakes.add(span, format!("the workflow declares no input `{input}`"), help);
            }
            ["data", name, ..] if !self.data.contains(*name) => {
                let help = document::suggestion(name, self.data.iter().map(String::as_str));
                mistakes.add(span, format!("[data] has no `{name}`"), help);
            }
            ["run", field, ..] if *field != "id" => {
                mistakes.add(span, format!("`run` has no `{field}`"), "known here: `run.id`");
            }
            ["loop", ..] if !visible.in_loop => {
                mistakes.add(span, "`loop` is only known inside a loop", "");
            }
            ["loop", field, ..] if !["iteration", "previous"].contains(field) => {
                let help = document::suggestion(field, ["iteration", "previous"]);
                mistakes.add(span, format!("`loop` has no `{field}`"), help);
            }
            ["steps", step, rest @ ..] => self.step(step, rest, span, visible, mistakes),
            [head, ..] if !RESERVED.contains(head) && !visible.items.contains(*head) => {
                let known = RESERVED.into_iter().chain(visible.items.iter().map(String::as_str));
                let help = if self.steps.contains_key(*head) {
                    format!("write `steps.{head}` for the output of that step")
                } else if parts.len() == 1 && document::closest(head, known.clone()).is_none() {
                    format!("write '{head}' in quotes for the text itself")
                } else {
                    document::suggestion(head, known.collect::<Vec<_>>())
                };
                mistakes.add(span, format!("unknown name `{head}`"), help);
            }
            _ => {}
        }
    }

    fn step(&mut self, to: &str, rest: &[&str], span: Range<usize>, visible: &Visible, mistakes: &mut Mistakes<'_>) {
        self.uses.entry(visible.from.clone()).or_default().insert(to.to_owned());
        match (visible.steps.get(to), rest.first()) {
            (None, _) => self.dangling.push(Dangling {
                from: visible.from.clone(),
                to: to.to_owned(),
                span,
                visible: visible.steps.keys().cloned().collect(),
            }),
            (Some(Some(fields)), Some(field)) if !fields.contains(*field) => {
                let help = document::suggestion(field, fields.iter().map(String::as_str));
                mistakes.add(span, format!("the output of step `{to}` has no `{field}`"), help);
            }
            (Some(_), Some(&"output")) => {
                if let (Some(known), Some(field)) = (visible.shapes.get(to), rest.get(1))
                    && !known.contains(*field)
                {
                    let help = document::suggestion(field, known.iter().map(String::as_str));
                    mistakes.add(span, format!("the schema of step `{to}` has no property `{field}`"), help);
                }
            }
            _ => {}
        }
    }

    /// Explains the uses that no place allows, once every step is known.
    pub(super) fn finish(mut self, mistakes: &mut Mistakes<'_>) {
        for Dangling { from, to, span, visible } in std::mem::take(&mut self.dangling) {
            let (message, help) = self.explain(&from, &to, &visible);
            mistakes.add(span, message, help);
        }
    }

    fn explain(&self, from: &str, to: &str, visible: &BTreeSet<String>) -> (String, String) {
        let here = if from.is_empty() { "the outputs".to_owned() } else { format!("step `{from}`") };
        let Some(order) = self.steps.get(to) else {
            let help = document::suggestion(to, visible.iter().map(String::as_str));
            return (format!("{here} uses step `{to}`, which does not exist"), help);
        };
        if from == to {
            return (format!("cycle: {here} uses its own output"), "use `loop.previous` inside a loop".to_owned());
        }
        if let Some(way) = self.way(to, from) {
            let names: Vec<String> = std::iter::once(from).chain(way).map(|id| format!("`{id}`")).collect();
            return (format!("cycle: {}", names.join(" → ")), "let one of them do without the other".to_owned());
        }
        let later = self.steps.get(from).is_some_and(|own| order > own);
        if later {
            (format!("{here} uses step `{to}`, which comes later"), format!("move `{to}` before `{from}`"))
        } else {
            let help = "use the output of the step that contains it, which is there once all of it is done";
            (format!("{here} uses step `{to}`, whose output cannot be seen from here"), help.to_owned())
        }
    }

    /// The shortest way of uses from one step to another, both included.
    fn way<'n>(&'n self, from: &'n str, to: &str) -> Option<Vec<&'n str>> {
        let mut ways = VecDeque::from([vec![from]]);
        let mut seen = BTreeSet::from([from]);
        while let Some(way) = ways.pop_front() {
            let last = way.last().copied().unwrap_or_default();
            for next in self.uses.get(last).into_iter().flatten() {
                let longer: Vec<&str> = way.iter().copied().chain([next.as_str()]).collect();
                if next == to {
                    return Some(longer);
                }
                if seen.insert(next) {
                    ways.push_back(longer);
                }
            }
        }
        None
    }

    /// Counts a composite as a user of what its children use, so that a child
    /// that uses its parent's output is seen as a cycle.
    pub(super) fn contains(&mut self, parent: &str, child: &str) {
        self.uses.entry(parent.to_owned()).or_default().insert(child.to_owned());
    }
}

/// Where a dotted name first stands in a source, on its own.
fn find(source: &str, name: &str) -> usize {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let stands = |at: &usize| {
        let before = source[..*at].chars().next_back();
        let after = source[at + name.len()..].chars().next();
        !before.is_some_and(|c| word(c) || c == '.') && !after.is_some_and(word)
    };
    source.match_indices(name).map(|(at, _)| at).find(stands).unwrap_or(0)
}
