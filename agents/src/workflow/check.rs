//! From a workflow's text to a checked [`Workflow`], or to everything that is
//! wrong with it.
//!
//! Invariant: a workflow that passes runs without an unknown name, an unbounded
//! loop or a cycle; one that does not pass gets all its mistakes at once, each
//! with its line and what to do.

use std::collections::{BTreeMap, BTreeSet};

use policies::document::{self, Located, Mistakes, Section, Source, Text, entries};

use super::action::EffectClass;
use super::definition::{Input, InputKind, Workflow};
use super::json::json;
use super::scope::{Names, Visible};
use super::shape::{self, Beside};
use super::steps::Reader;
use crate::tool::Toolbox;
use crate::tool::mcp::MCP_TOOL;

/// The longest text of a workflow, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// What a workflow may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The agents.
    pub agents: BTreeSet<String>,
    /// The publishers.
    pub publishers: BTreeSet<String>,
    /// The tools, each with what may be done about it after a crash.
    pub tools: BTreeMap<String, EffectClass>,
    /// The MCP servers, each with what is said of its tools; the others are `once`, and are there only when
    /// the server is.
    pub servers: BTreeMap<String, BTreeMap<String, EffectClass>>,
}

impl Known {
    /// These agents and publishers, and the tools that are built in.
    pub fn new<A: Into<String>, P: Into<String>>(
        agents: impl IntoIterator<Item = A>,
        publishers: impl IntoIterator<Item = P>,
    ) -> Self {
        Self {
            agents: agents.into_iter().map(Into::into).collect(),
            publishers: publishers.into_iter().map(Into::into).collect(),
            tools: Toolbox::built_in(),
            servers: BTreeMap::new(),
        }
    }

    /// The same, with these servers.
    #[must_use]
    pub fn with_servers(self, servers: BTreeMap<String, BTreeMap<String, EffectClass>>) -> Self {
        Self { servers, ..self }
    }

    /// What may be done about a call of this tool; nothing where there is none.
    #[must_use]
    pub fn class(&self, tool: &str) -> Option<EffectClass> {
        let of_server = || {
            let (server, own) = tool.strip_prefix(MCP_TOOL)?.split_once('.')?;
            Some(self.servers.get(server)?.get(own).copied().unwrap_or(EffectClass::Once))
        };
        self.tools.get(tool).copied().or_else(of_server)
    }
}

/// Reads and checks a workflow that stands alone. `file` is what its mistakes are named after.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn check(file: &str, text: &str, known: &Known) -> Result<Workflow, Vec<document::Error>> {
    check_beside(file, text, known, &shape::nothing_beside)
}

/// The same of a workflow in a folder, of which `beside` reads the files that it names.
///
/// # Errors
/// As [`check`].
pub fn check_beside(
    file: &str,
    text: &str,
    known: &Known,
    beside: &Beside<'_>,
) -> Result<Workflow, Vec<document::Error>> {
    let source = Source { file, text };
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the workflow is {} bytes long, and {DOCUMENT_BYTES_MAX} is the most", text.len());
        return Err(vec![source.error(0..0, message, "split it into several workflows")]);
    }
    let document = document::parse(source)?;
    let mut mistakes = Mistakes::new(source);
    let workflow = read(&document, known, beside, &mut mistakes);
    mistakes.conclude(workflow)
}

fn read<'a>(
    document: Located<'a>,
    known: &'a Known,
    beside: &'a Beside<'a>,
    mistakes: &mut Mistakes<'a>,
) -> Option<Workflow> {
    let mut section = Section::of("the workflow", document, mistakes)?;
    let name = section.need_text("name", mistakes);
    let description = section.text("description", mistakes);
    let inputs = inputs(section.entries("inputs", mistakes), mistakes);
    let data: BTreeMap<_, _> =
        section.entries("data", mistakes).into_iter().map(|(k, v)| (k.text.to_owned(), json(v.get_ref()))).collect();
    let mut names = Names::new(inputs.keys(), data.keys());
    let list = section.need_value("steps", mistakes);
    if let Some(list) = list {
        number(list, &mut names.steps);
    }
    let mut reader = Reader { names, mistakes, known, beside, ids: BTreeSet::new() };
    let mut visible = Visible::default();
    let steps = list.and_then(|list| reader.list("steps", list, &mut visible, 0));
    visible.from.clear();
    let outputs = section.entries("outputs", reader.mistakes);
    let outputs = outputs.into_iter().filter_map(|(key, value)| {
        let formula = reader.formula(key.text, value, &visible)?;
        Some((key.text.to_owned(), formula))
    });
    let outputs = outputs.collect();
    reader.names.finish(mistakes);
    section.finish(mistakes);
    Some(Workflow {
        name: name?.text.to_owned(),
        description: description.map(|text| text.text.to_owned()).unwrap_or_default(),
        inputs,
        data,
        steps: steps?,
        outputs,
    })
}

fn inputs<'a>(declared: Vec<(Text<'a>, Located<'a>)>, mistakes: &mut Mistakes<'a>) -> BTreeMap<String, Input> {
    let mut inputs = BTreeMap::new();
    for (key, value) in declared {
        let Some(mut section) = Section::of(format!("input `{}`", key.text), value, mistakes) else { continue };
        let kind = section.need_text("type", mistakes);
        let kind = kind.and_then(|text| {
            let kind = InputKind::from_name(text.text);
            if kind.is_none() {
                let help = document::suggestion(text.text, InputKind::NAMES);
                mistakes.add(text.span, format!("`{}` is no type of input", text.text), help);
            }
            kind
        });
        let default = section.get("default");
        let required = section.boolean("required", mistakes);
        let description = section.text("description", mistakes);
        section.finish(mistakes);
        let kind = kind.unwrap_or(InputKind::Text);
        if let Some(default) = default {
            if !kind.fits(&json(default.get_ref())) {
                mistakes.add(default.span(), format!("the default of `{}` is no {}", key.text, kind.name()), "");
            }
            if required == Some(true) {
                mistakes.add(
                    default.span(),
                    format!("`{}` is required, so its default is never used", key.text),
                    "drop one of the two",
                );
            }
        }
        let input = Input {
            kind,
            required: required.unwrap_or(default.is_none()),
            default: default.map_or(serde_json::Value::Null, |value| json(value.get_ref())),
            description: description.map(|text| text.text.to_owned()).unwrap_or_default(),
        };
        inputs.insert(key.text.to_owned(), input);
    }
    inputs
}

/// Numbers all steps in reading order, before any of them is read, so that a
/// use of a later step can be told from one that does not exist.
fn number(list: Located<'_>, order: &mut BTreeMap<String, usize>) {
    for step in list.get_ref().as_array().into_iter().flatten() {
        let Some(table) = step.get_ref().as_table() else { continue };
        if let Some(id) = table.get("id").and_then(|id| id.get_ref().as_str()) {
            let next = order.len();
            order.entry(id.to_owned()).or_insert(next);
        }
        for (key, value) in entries(table) {
            if ["steps", "then", "else"].contains(&key.text) {
                number(value, order);
            }
        }
    }
}
