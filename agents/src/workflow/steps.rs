//! Reading the steps of a workflow.
//!
//! Invariant: every step that can be read is read, whatever is wrong with its
//! neighbours, and every expression is checked against what its place can see.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use policies::document::{self, Located, Mistakes, Section, Text, entries};
use policies::tokens::Tokens;
use toml::de::DeValue;

use super::check::Known;
use super::definition::{AgentStep, OnReject, Parse, PostFormula, Step, StepKind, ToolStep};
use super::engine::Language;
use super::formula::Formula;
use super::json::json;
use super::path::StepId;
use super::scope::{Fields, Names, RESERVED, Visible};
use super::shape::{self, Beside};
use super::talk::{Limits, TURNS_MAX};
use crate::model::Thinking;

/// The most iterations that a loop may declare.
pub const LOOP_TIMES_MAX: u32 = 20;
/// How deep steps may stand inside each other.
pub const DEPTH_MAX: usize = 8;
/// The longest reply that a step may ask for, in tokens.
pub const OUTPUT_TOKENS_MAX: u32 = 100_000;

/// The keys of the rules that a `check` step takes.
const RULES: [&str; 5] = ["graphemes_max", "graphemes_min", "words_banned", "terms_required", "link_required"];

/// The state of reading.
pub(super) struct Reader<'a, 'p> {
    pub(super) names: Names,
    pub(super) mistakes: &'p mut Mistakes<'a>,
    pub(super) known: &'a Known,
    /// Reads the files beside the workflow.
    pub(super) beside: &'a Beside<'a>,
    /// The ids taken so far.
    pub(super) ids: BTreeSet<String>,
}

impl<'a> Reader<'a, '_> {
    /// A list of steps one after the other; each becomes visible to the next.
    pub(super) fn list(
        &mut self,
        key: &str,
        list: Located<'a>,
        visible: &mut Visible,
        depth: usize,
    ) -> Option<Vec<Step>> {
        self.each(key, list, visible, depth, true)
    }

    fn each(
        &mut self,
        key: &str,
        list: Located<'a>,
        visible: &mut Visible,
        depth: usize,
        in_turn: bool,
    ) -> Option<Vec<Step>> {
        if depth > DEPTH_MAX {
            let message = format!("steps stand more than {DEPTH_MAX} deep inside each other");
            self.mistakes.add(list.span(), message, "split the workflow");
            return None;
        }
        let Some(items) = list.get_ref().as_array().filter(|items| !items.is_empty()) else {
            self.mistakes.add(list.span(), format!("`{key}` must be a list of steps, and not empty"), "");
            return None;
        };
        let parent = visible.from.clone();
        let mut steps = Vec::new();
        let mut complete = true;
        for item in items.iter() {
            let step = self.step(item, &parent, visible, depth);
            match step {
                Some((id, fields, step)) => {
                    if in_turn {
                        if let Some(shape) = step.as_ref().and_then(|step| shape::properties(&step.kind)) {
                            visible.shapes.insert(id.clone(), shape);
                        }
                        visible.steps.insert(id, fields);
                    }
                    complete &= step.is_some();
                    steps.extend(step);
                }
                None => complete = false,
            }
        }
        visible.from = parent;
        complete.then_some(steps)
    }

    /// The step's id, what can be asked of its output, and the step itself
    /// where nothing in it is missing.
    fn step(
        &mut self,
        value: Located<'a>,
        parent: &str,
        visible: &Visible,
        depth: usize,
    ) -> Option<(String, Fields, Option<Step>)> {
        let mut section = Section::of("a step", value, self.mistakes)?;
        let id = section.need_text("id", self.mistakes)?;
        section.what = format!("step `{}`", id.text);
        let step_id = self.id(&id);
        self.names.contains(parent, id.text);
        let mut inner = visible.clone();
        inner.from = id.text.to_owned();
        let kind = section.need_text("kind", self.mistakes);
        let Some(kind) = kind else { return Some((id.text.to_owned(), None, None)) };
        if !StepKind::NAMES.contains(&kind.text) {
            let help = document::suggestion(kind.text, StepKind::NAMES);
            self.mistakes.add(kind.span, format!("step `{}` has the unknown kind `{}`", id.text, kind.text), help);
            return Some((id.text.to_owned(), None, None));
        }
        let kind = self.kind(kind.text, &mut section, &inner, depth);
        section.finish(self.mistakes);
        let fields = kind.as_ref().and_then(fields);
        let step = step_id.zip(kind).map(|(id, kind)| Step { id, kind });
        Some((id.text.to_owned(), fields, step))
    }

    fn id(&mut self, id: &Text<'a>) -> Option<StepId> {
        if !self.ids.insert(id.text.to_owned()) {
            let message = format!("there are two steps `{}`", id.text);
            self.mistakes.add(id.span.clone(), message, "an id names one step of the whole workflow: rename one");
        }
        let reserved = ["taken", "iterations"].contains(&id.text);
        let step_id = StepId::new(id.text).filter(|_| !reserved);
        if step_id.is_none() {
            let help =
                "use a lower-case letter, then lower-case letters, digits and underscores; not `taken` or `iterations`";
            self.mistakes.add(id.span.clone(), format!("`{}` cannot be the id of a step", id.text), help);
        }
        step_id
    }

    fn kind(&mut self, kind: &str, section: &mut Section<'a>, visible: &Visible, depth: usize) -> Option<StepKind> {
        match kind {
            "agent" => self.agent(section, visible),
            "tool" => self.tool(section, visible),
            "compute" => {
                section.need_value("with", self.mistakes)?;
                Some(StepKind::Compute { with: self.with(section, visible)? })
            }
            "check" => self.check(section, visible),
            "parallel" => {
                let list = section.need_value("steps", self.mistakes)?;
                let steps = self.each("steps", list, &mut visible.clone(), depth + 1, false)?;
                Some(StepKind::Parallel { steps })
            }
            "sequence" => {
                let steps = self.children("steps", section, visible.clone(), depth)?;
                Some(StepKind::Sequence { steps })
            }
            "map" => self.map(section, visible, depth),
            "branch" => self.branch(section, visible, depth),
            "loop" => self.repeat(section, visible, depth),
            "approve" => {
                let what = self.source("what", Language::Template, section, visible);
                let words = [("end", OnReject::End), ("continue", OnReject::Continue)];
                let on_reject = section.word("on_reject", &words, self.mistakes);
                Some(StepKind::Approve { what: what?, on_reject: on_reject? })
            }
            _ => self.publish(section, visible),
        }
    }

    fn agent(&mut self, section: &mut Section<'a>, visible: &Visible) -> Option<StepKind> {
        let known = self.known;
        let agent = self.named("agent", section, known.agents.iter().map(String::as_str));
        let prompt = self.source("prompt", Language::Template, section, visible);
        let system = self.optional("system", section, visible);
        let prefill = self.optional("prefill", section, visible);
        let stop = section.texts("stop", self.mistakes);
        let output_max = self.count("output_max", 1..=OUTPUT_TOKENS_MAX, section);
        let temperature = section.number("temperature", 0.0..=2.0, self.mistakes);
        let parse = section.word("parse", &[("text", Parse::Text), ("score", Parse::Score)], self.mistakes);
        let images = self.images(section, visible);
        let thinking = Thinking::read(section, self.mistakes).map(toml::Spanned::into_inner);
        let schema = self.schema(&visible.from, section);
        if let Some(Some(_)) = &schema {
            let odd = [prefill.is_some(), !stop.is_empty(), parse == Some(Parse::Score)];
            self.alone(section, ["prefill", "stop", "parse"].into_iter().zip(odd));
        }
        let limits = Limits {
            turns_max: section.whole("turns_max", 1..=TURNS_MAX, self.mistakes),
            tokens_max: section.value("tokens_max", self.mistakes),
            cost_max: section.value("cost_max", self.mistakes),
            time_max: section.value("time_max", self.mistakes),
            priority: section.read("priority", self.mistakes).map(toml::Spanned::into_inner),
            latency: section.or_default("latency", self.mistakes),
        };
        Some(StepKind::Agent(AgentStep {
            agent: agent?,
            prompt: prompt?,
            system,
            prefill,
            stop,
            output_max: Tokens(u64::from(output_max?)),
            temperature,
            parse: parse?,
            schema: schema?,
            images: images?,
            thinking,
            limits,
        }))
    }

    fn tool(&mut self, section: &mut Section<'a>, visible: &Visible) -> Option<StepKind> {
        let known = self.known;
        let of_server = section.get("tool").and_then(Text::of).filter(|text| known.class(text.text).is_some());
        let tool = match of_server {
            Some(text) => Some(text.text.to_owned()),
            None => self.named("tool", section, known.tools.keys().map(String::as_str)),
        };
        let with = self.with(section, visible);
        let tool = tool?;
        let class = known.class(&tool)?;
        Some(StepKind::Tool(ToolStep { tool, class, with: with? }))
    }

    fn check(&mut self, section: &mut Section<'a>, visible: &Visible) -> Option<StepKind> {
        let text = section.need_value("text", self.mistakes).and_then(|value| self.formula("text", value, visible));
        let rules = section.need_value("rules", self.mistakes)?;
        for (key, _) in rules.get_ref().as_table().map(entries).unwrap_or_default() {
            if !RULES.contains(&key.text) {
                let help = document::suggestion(key.text, RULES);
                self.mistakes.add(key.span, format!("there is no rule `{}`", key.text), help);
            }
        }
        let rules = self.formula("rules", rules, visible);
        Some(StepKind::Check { text: text?, rules: rules? })
    }

    fn map(&mut self, section: &mut Section<'a>, visible: &Visible, depth: usize) -> Option<StepKind> {
        let over = self.source("over", Language::Expression, section, visible);
        let item = section.need_text("as", self.mistakes);
        let mut inner = visible.clone();
        if let Some(item) = &item {
            if StepId::new(item.text).is_none() || RESERVED.contains(&item.text) {
                let help = "use a lower-case name that is none of `inputs`, `data`, `steps`, `run`, `loop`";
                self.mistakes.add(item.span.clone(), format!("`{}` cannot name an item", item.text), help);
            }
            inner.items.insert(item.text.to_owned());
        }
        let steps = self.children("steps", section, inner, depth);
        Some(StepKind::Map { over: over?, item: item?.text.to_owned(), steps: steps? })
    }

    fn branch(&mut self, section: &mut Section<'a>, visible: &Visible, depth: usize) -> Option<StepKind> {
        let when = self.source("when", Language::Expression, section, visible);
        let then = self.children("then", section, visible.clone(), depth);
        let otherwise = match section.get("else") {
            None => Some(Vec::new()),
            Some(list) => self.list("else", list, &mut visible.clone(), depth + 1),
        };
        Some(StepKind::Branch { when: when?, then: then?, otherwise: otherwise? })
    }

    fn repeat(&mut self, section: &mut Section<'a>, visible: &Visible, depth: usize) -> Option<StepKind> {
        let times_max = self.count("times_max", 1..=LOOP_TIMES_MAX, section);
        let mut inner = visible.clone();
        inner.in_loop = true;
        let mut after = inner.clone();
        let steps = section.need_value("steps", self.mistakes);
        let steps = steps.and_then(|list| self.list("steps", list, &mut after, depth + 1));
        // The condition is looked at after an iteration, and sees all of it.
        let until = self.source("until", Language::Expression, section, &after);
        Some(StepKind::Loop { times_max: times_max?, until: until?, steps: steps? })
    }

    fn publish(&mut self, section: &mut Section<'a>, visible: &Visible) -> Option<StepKind> {
        let known = self.known;
        let publisher = self.named("publisher", section, known.publishers.iter().map(String::as_str));
        let post = section.need_value("post", self.mistakes)?;
        let mut post = Section::of(format!("`post` of {}", section.what), post, self.mistakes)?;
        let title = post.need_value("title", self.mistakes).and_then(|value| self.formula("title", value, visible));
        let text = post.need_value("text", self.mistakes).and_then(|value| self.formula("text", value, visible));
        let link = match post.get("link") {
            None => None,
            Some(value) => Some(self.formula("link", value, visible)?),
        };
        post.finish(self.mistakes);
        Some(StepKind::Publish { publisher: publisher?, post: PostFormula { title: title?, text: text?, link } })
    }

    fn children(
        &mut self,
        key: &'static str,
        section: &mut Section<'a>,
        mut visible: Visible,
        depth: usize,
    ) -> Option<Vec<Step>> {
        let list = section.need_value(key, self.mistakes)?;
        self.list(key, list, &mut visible, depth + 1)
    }

    /// A whole number that must be there.
    fn count(&mut self, key: &'static str, bounds: RangeInclusive<u32>, section: &mut Section<'a>) -> Option<u32> {
        section.require(key, self.mistakes);
        section.whole(key, bounds, self.mistakes)
    }

    fn named<'k>(
        &mut self,
        key: &'static str,
        section: &mut Section<'a>,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) -> Option<String> {
        let name = section.need_text(key, self.mistakes)?;
        if !known.clone().into_iter().any(|known| known == name.text) {
            let help = document::suggestion(name.text, known);
            self.mistakes.add(name.span, format!("there is no {key} `{}`", name.text), help);
            return None;
        }
        Some(name.text.to_owned())
    }

    fn source(
        &mut self,
        key: &'static str,
        language: Language,
        section: &mut Section<'a>,
        visible: &Visible,
    ) -> Option<String> {
        let text = section.need_text(key, self.mistakes)?;
        self.names.check(key, language, &text, visible, self.mistakes);
        Some(text.text.to_owned())
    }

    fn optional(&mut self, key: &'static str, section: &mut Section<'a>, visible: &Visible) -> Option<String> {
        let text = section.text(key, self.mistakes)?;
        self.names.check(key, Language::Template, &text, visible, self.mistakes);
        Some(text.text.to_owned())
    }

    fn with(&mut self, section: &mut Section<'a>, visible: &Visible) -> Option<BTreeMap<String, Formula>> {
        let entries = section.entries("with", self.mistakes);
        let mut read =
            |(key, value): (Text<'a>, _)| Some((key.text.to_owned(), self.formula(key.text, value, visible)?));
        entries.into_iter().map(&mut read).collect()
    }

    /// A formula and everything inside it.
    pub(super) fn formula(&mut self, key: &str, value: Located<'a>, visible: &Visible) -> Option<Formula> {
        Some(match value.get_ref() {
            DeValue::String(_) => {
                let text = Text::of(value)?;
                let formula = Formula::of(text.text);
                let template = matches!(formula, Formula::Template(_));
                let language = if template { Language::Template } else { Language::Expression };
                self.names.check(key, language, &text, visible, self.mistakes);
                formula
            }
            DeValue::Array(items) => {
                Formula::List(items.iter().map(|item| self.formula(key, item, visible)).collect::<Option<_>>()?)
            }
            DeValue::Table(table) => {
                let read = |(name, value): (Text<'a>, _)| {
                    Some((name.text.to_owned(), self.formula(name.text, value, visible)?))
                };
                Formula::Map(entries(table).into_iter().map(read).collect::<Option<_>>()?)
            }
            plain => Formula::Literal(json(plain)),
        })
    }
}

/// What can be asked of a step's output, where that is known.
fn fields(kind: &StepKind) -> Fields {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let children = |note: Option<&str>| {
        let ids = kind.children().map(|step| step.id.to_string());
        Some(ids.chain(note.map(str::to_owned)).collect())
    };
    match kind {
        StepKind::Agent(step) if step.parse == Parse::Score => words(&["text", "score"]),
        StepKind::Agent(step) if step.schema.is_some() => words(&["text", "output"]),
        StepKind::Agent(_) => words(&["text"]),
        StepKind::Check { .. } => words(&["ok", "breaches"]),
        StepKind::Approve { .. } => words(&["approved", "by"]),
        StepKind::Compute { with } => Some(with.keys().cloned().collect()),
        StepKind::Parallel { .. } | StepKind::Sequence { .. } => children(None),
        StepKind::Branch { .. } => children(Some("taken")),
        StepKind::Loop { .. } => children(Some("iterations")),
        StepKind::Tool(_) | StepKind::Map { .. } | StepKind::Publish { .. } => None,
    }
}
