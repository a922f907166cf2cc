//! The interpreter: from a workflow, the inputs of a run and the outcomes
//! recorded so far, what is to be done next.
//!
//! Invariant: `advance` is a pure function. It walks the whole tree, so that
//! nothing but the outcomes of leaves has to be recorded, and the order they
//! arrived in cannot matter; `go_on` gives the same, and leaves out what an
//! earlier walk of the run has settled.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use policies::rules::PostRules;
use serde::{Deserialize, Serialize};

use super::action::{self, Action, AgentCall, Approval, PostDraft, ToolCall};
use super::canonical;
use super::definition::{AgentStep, Parse, PostFormula, Step, StepKind, ToolStep, Workflow};
use super::engine;
use super::formula::{self, Formula};
use super::path::StepPath;
use super::settled::{Output, Settled};
use super::shape;
use super::talk::Talk;
use crate::model::Image;

/// The most steps that one run may come to, counting each item and iteration.
pub const STEPS_MAX: usize = 2_000;
/// The most items of one map.
pub const MAP_ITEMS_MAX: usize = 100;
/// The largest action, in bytes of JSON.
pub const ACTION_BYTES_MAX: usize = 1024 * 1024;

/// The recorded outputs of a run's leaves.
pub type Outcomes = BTreeMap<StepPath, Arc<serde_json::Value>>;

/// What a run brings to its workflow.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The run's id.
    pub run: &'a str,
    /// Its inputs, as [`Workflow::bind`] gave them.
    pub inputs: &'a BTreeMap<String, serde_json::Value>,
    /// The outputs of its leaves.
    pub outcomes: &'a Outcomes,
}

/// What is to be done next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    /// The leaves whose turn it is and that have no outcome, in the order of
    /// the workflow; some of them may be under way.
    pub ready: Vec<ReadyStep>,
    /// The outputs, once every step has its outcome.
    pub finished: Option<BTreeMap<String, serde_json::Value>>,
}

/// A leaf whose turn it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyStep {
    /// Where it stands.
    pub path: StepPath,
    /// What it asks for.
    pub action: Arc<Action>,
    /// The hash of that, in hexadecimal.
    pub hash: Arc<str>,
}

/// A step that cannot be evaluated: the workflow is at fault, or its inputs are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("step `{path}`, {field}: {message}")]
pub struct EvalError {
    /// The step; the root for the workflow's outputs.
    pub path: StepPath,
    /// What of it, as the workflow calls it.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// What is to be done next in a run.
///
/// # Errors
/// [`EvalError`] for the first step that cannot be evaluated.
pub fn advance(workflow: &Workflow, given: Given<'_>) -> Result<Next, EvalError> {
    go_on(workflow, given, &mut Settled::default())
}

/// The same as [`advance`]. All walks that `settled` has seen must have been
/// of the same run, with outcomes that are all among those given now.
///
/// # Errors
/// As [`advance`].
pub fn go_on(workflow: &Workflow, given: Given<'_>, settled: &mut Settled) -> Result<Next, EvalError> {
    let mut scope = Scope::new(workflow, given, settled);
    let mut walk = Walk { given, ready: Vec::new(), visited: 0, settled };
    let root = StepPath::root();
    let finished = match walk.in_turn(&workflow.steps, &root, &mut scope)? {
        None => None,
        Some(_) => {
            let context = scope.context();
            let output = |(name, formula): (&String, &Formula)| {
                let value =
                    formula.json(&context).map_err(|message| fault(&root, &format!("output `{name}`"), message))?;
                Ok((name.clone(), value))
            };
            Some(workflow.outputs.iter().map(output).collect::<Result<_, _>>()?)
        }
    };
    Ok(Next { ready: walk.ready, finished })
}

/// What expressions can see at one place.
#[derive(Clone)]
struct Scope {
    names: BTreeMap<String, Value>,
    steps: BTreeMap<String, Value>,
    /// The two as one value, once it was asked for.
    context: OnceCell<Value>,
}

impl Scope {
    fn new(workflow: &Workflow, given: Given<'_>, settled: &mut Settled) -> Self {
        let run = Value::from_pairs([("id".to_owned(), Value::from(given.run))]);
        let ground = || (Value::from(Serde(given.inputs)), Value::from(Serde(&workflow.data)));
        let (inputs, data) = settled.ground.get_or_insert_with(ground).clone();
        let names = [("inputs".to_owned(), inputs), ("data".to_owned(), data), ("run".to_owned(), run)];
        Self { names: names.into(), steps: BTreeMap::new(), context: OnceCell::new() }
    }

    fn with(&self, name: &str, value: Value) -> Self {
        let mut names = self.names.clone();
        names.insert(name.to_owned(), value);
        Self { names, steps: self.steps.clone(), context: OnceCell::new() }
    }

    fn add(&mut self, step: &str, output: Value) {
        self.context.take();
        self.steps.insert(step.to_owned(), output);
    }

    fn context(&self) -> Value {
        let context = || {
            let steps = ("steps".to_owned(), map(&self.steps));
            Value::from_pairs(self.names.clone().into_iter().chain([steps]))
        };
        self.context.get_or_init(context).clone()
    }
}

fn map(entries: &BTreeMap<String, Value>) -> Value {
    Value::from_pairs(entries.clone())
}

pub(super) fn fault(path: &StepPath, field: &str, message: String) -> EvalError {
    EvalError { path: path.clone(), field: field.to_owned(), message }
}

/// The outputs of a list of steps, by id.
type Outputs = BTreeMap<String, Value>;

pub(super) struct Walk<'a> {
    pub(super) given: Given<'a>,
    ready: Vec<ReadyStep>,
    pub(super) visited: usize,
    settled: &'a mut Settled,
}

impl Walk<'_> {
    /// Steps one after the other, each seeing those before it; their outputs,
    /// once all have one.
    fn in_turn(&mut self, steps: &[Step], path: &StepPath, scope: &mut Scope) -> Result<Option<Outputs>, EvalError> {
        let mut outputs = Outputs::new();
        for step in steps {
            let Some(output) = self.step(step, &path.child(&step.id), scope)? else {
                return Ok(None);
            };
            scope.add(step.id.as_str(), output.clone());
            outputs.insert(step.id.to_string(), output);
        }
        Ok(Some(outputs))
    }

    fn at_once(&mut self, steps: &[Step], path: &StepPath, scope: &Scope) -> Result<Option<Outputs>, EvalError> {
        let mut outputs = Outputs::new();
        for step in steps {
            if let Some(output) = self.step(step, &path.child(&step.id), scope)? {
                outputs.insert(step.id.to_string(), output);
            }
        }
        Ok((outputs.len() == steps.len()).then_some(outputs))
    }

    fn step(&mut self, step: &Step, path: &StepPath, scope: &Scope) -> Result<Option<Value>, EvalError> {
        // Past the bound it is walked all the same, so that the fault names the step that was too many.
        let settled = self.settled.output(path).filter(|output| self.visited + output.steps <= STEPS_MAX);
        if let Some(Output { value, steps }) = settled {
            self.visited += steps;
            return Ok(Some(value.clone()));
        }
        let before = self.visited;
        self.visited += 1;
        if self.visited > STEPS_MAX {
            return Err(fault(path, "steps", format!("the run comes to more than {STEPS_MAX} steps")));
        }
        let output = self.evaluate(step, path, scope)?;
        if let Some(value) = &output {
            self.settled.settle(path, Output { value: value.clone(), steps: self.visited - before });
        }
        Ok(output)
    }

    fn evaluate(&mut self, step: &Step, path: &StepPath, scope: &Scope) -> Result<Option<Value>, EvalError> {
        match &step.kind {
            StepKind::Agent(agent) => self.agent(agent, path, scope),
            StepKind::Tool(tool) => self.tool(tool, path, scope),
            StepKind::Compute { with } => values(with, path, scope).map(|values| Some(map(&values))),
            StepKind::Check { text, rules } => check(text, rules, path, scope).map(Some),
            StepKind::Parallel { steps } => Ok(self.at_once(steps, path, scope)?.as_ref().map(map)),
            StepKind::Sequence { steps } => Ok(self.in_turn(steps, path, &mut scope.clone())?.as_ref().map(map)),
            StepKind::Map { over, item, steps } => self.map(over, item, steps, path, scope),
            StepKind::Branch { when, then, otherwise } => {
                let (taken, steps) =
                    if self.holds(when, "when", path, scope)? { ("then", then) } else { ("else", otherwise) };
                let outputs = self.in_turn(steps, path, &mut scope.clone())?;
                Ok(outputs.map(|outputs| with_note(outputs, "taken", Value::from(taken))))
            }
            StepKind::Loop { times_max, until, steps } => self.repeat(*times_max, until, steps, path, scope),
            StepKind::Approve { what, on_reject } => self.leaf(path, |_| {
                let what = engine::text(what, &scope.context()).map_err(|message| fault(path, "what", message))?;
                Ok(Action::Approve(Approval { what, on_reject: *on_reject, needs_person: false }))
            }),
            StepKind::Publish { publisher, post } => {
                self.leaf(path, |_| draft(publisher, post, path, scope).map(Action::Publish))
            }
        }
    }

    /// The output of a leaf, or the leaf among the ready ones.
    fn leaf(
        &mut self,
        path: &StepPath,
        action: impl FnOnce(&str) -> Result<Action, EvalError>,
    ) -> Result<Option<Value>, EvalError> {
        let output = self.outcome(path, action)?;
        Ok(output.map(|output| Value::from(Serde(&*output))))
    }

    /// What is recorded of a leaf; without that, the leaf is among the ready ones.
    pub(super) fn outcome(
        &mut self,
        path: &StepPath,
        action: impl FnOnce(&str) -> Result<Action, EvalError>,
    ) -> Result<Option<Arc<serde_json::Value>>, EvalError> {
        if let Some(output) = self.given.outcomes.get(path) {
            return Ok(Some(Arc::clone(output)));
        }
        if let Some(step) = self.settled.asked(path) {
            self.ready.push(step.clone());
            return Ok(None);
        }
        let action = action(self.given.run)?;
        let text = canonical::text(&action);
        let bytes = text.len();
        if bytes > ACTION_BYTES_MAX {
            let message = format!("it asks for {bytes} bytes, and {ACTION_BYTES_MAX} is the most");
            return Err(fault(path, "request", message));
        }
        let hash = blake3::hash(&text).to_hex().as_str().into();
        let step = ReadyStep { path: path.clone(), action: Arc::new(action), hash };
        self.settled.ask(step.clone());
        self.ready.push(step);
        Ok(None)
    }

    fn agent(&mut self, step: &AgentStep, path: &StepPath, scope: &Scope) -> Result<Option<Value>, EvalError> {
        let render = |field: &str, source: &String| {
            engine::text(source, &scope.context()).map_err(|message| fault(path, field, message))
        };
        let prefill = || step.prefill.as_ref().map(|source| render("prefill", source)).transpose();
        let call = |run: &str| {
            Ok(AgentCall {
                agent: step.agent.clone(),
                prompt: render("prompt", &step.prompt)?,
                system: step.system.as_ref().map(|source| render("system", source)).transpose()?,
                prefill: prefill()?,
                stop: step.stop.clone(),
                output_max: step.output_max,
                temperature: step.temperature,
                seed: seed(run, path),
                graded: step.parse == Parse::Score,
                schema: step.schema.clone(),
                thinking: step.thinking,
                images: shown(&step.images, path, scope)?,
                talk: Box::new(Talk { limits: step.limits.clone(), ..Talk::default() }),
            })
        };
        let Some(output) = self.talk(path, &call)? else { return Ok(None) };
        let Some(text) = output.get("text").and_then(serde_json::Value::as_str) else {
            return Err(fault(path, "outcome", "the recorded reply has no text".to_owned()));
        };
        let mut fields = vec![("text".to_owned(), Value::from(text.trim()))];
        if step.parse == Parse::Score {
            let opening = prefill()?.unwrap_or_default();
            let reply = text.strip_prefix(opening.as_str()).unwrap_or(text);
            fields.push(("score".to_owned(), action::score(reply).map_or(Value::from(()), Value::from)));
        }
        if step.schema.is_some() {
            let value: serde_json::Value =
                serde_json::from_str(text).map_err(|error| fault(path, "outcome", format!("is no JSON: {error}")))?;
            fields.push(("output".to_owned(), Value::from(Serde(value))));
        }
        Ok(Some(Value::from_pairs(fields)))
    }

    fn tool(&mut self, step: &ToolStep, path: &StepPath, scope: &Scope) -> Result<Option<Value>, EvalError> {
        self.leaf(path, |_| {
            let json = |(name, value): (String, Value)| {
                let value = formula::json(&value).map_err(|message| fault(path, &format!("with.{name}"), message))?;
                Ok((name, value))
            };
            let with = values(&step.with, path, scope)?.into_iter().map(json).collect::<Result<_, _>>()?;
            Ok(Action::Tool(ToolCall { tool: step.tool.clone(), class: step.class, with }))
        })
    }

    fn map(
        &mut self,
        over: &str,
        item: &str,
        steps: &[Step],
        path: &StepPath,
        scope: &Scope,
    ) -> Result<Option<Value>, EvalError> {
        let list = self.value(over, "over", path, scope)?;
        let items = items(&list).map_err(|message| fault(path, "over", message))?;
        let mut outputs = Vec::new();
        let count = items.len();
        for (index, value) in items.into_iter().enumerate() {
            let output = self.in_turn(steps, &path.item(index), &mut scope.with(item, value))?;
            outputs.extend(output.as_ref().map(map));
        }
        Ok((outputs.len() == count).then(|| Value::from(outputs)))
    }

    fn repeat(
        &mut self,
        times_max: u32,
        until: &str,
        steps: &[Step],
        path: &StepPath,
        scope: &Scope,
    ) -> Result<Option<Value>, EvalError> {
        let mut previous = Outputs::new();
        let mut iterations = 0;
        for number in 1..=times_max {
            let state = [("iteration".to_owned(), Value::from(number)), ("previous".to_owned(), map(&previous))];
            let mut inner = scope.with("loop", Value::from_pairs(state));
            let at = path.iteration(number);
            let Some(outputs) = self.in_turn(steps, &at, &mut inner)? else {
                return Ok(None);
            };
            previous = outputs;
            iterations = number;
            if self.holds(until, "until", &at, &inner)? {
                break;
            }
        }
        Ok(Some(with_note(previous, "iterations", Value::from(iterations))))
    }

    fn value(&mut self, source: &str, field: &'static str, path: &StepPath, scope: &Scope) -> Result<Value, EvalError> {
        let evaluate = || engine::value(source, &scope.context()).map_err(|message| fault(path, field, message));
        self.settled.value(path, field, evaluate)
    }

    fn holds(&mut self, source: &str, field: &'static str, path: &StepPath, scope: &Scope) -> Result<bool, EvalError> {
        self.value(source, field, path, scope).map(|value| value.is_true())
    }
}

/// The chance of a model call: the same for each attempt at the same place.
fn seed(run: &str, path: &StepPath) -> u64 {
    let hash = blake3::hash(format!("{run}\n{path}").as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

fn with_note(mut outputs: Outputs, name: &str, value: Value) -> Value {
    outputs.insert(name.to_owned(), value);
    map(&outputs)
}

fn items(list: &Value) -> Result<Vec<Value>, String> {
    use minijinja::value::ValueKind;
    if !matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(format!("must give a list, and gave a {}", list.kind()));
    }
    let items: Vec<Value> = list.try_iter().map_err(|error| error.to_string())?.take(MAP_ITEMS_MAX + 1).collect();
    if items.len() > MAP_ITEMS_MAX {
        return Err(format!("gives more than {MAP_ITEMS_MAX} items"));
    }
    Ok(items)
}

fn values(with: &BTreeMap<String, Formula>, path: &StepPath, scope: &Scope) -> Result<Outputs, EvalError> {
    let context = scope.context();
    let value = |(name, formula): (&String, &Formula)| {
        let value = formula.value(&context).map_err(|message| fault(path, &format!("with.{name}"), message))?;
        Ok((name.clone(), value))
    };
    with.iter().map(value).collect()
}

fn check(text: &Formula, rules: &Formula, path: &StepPath, scope: &Scope) -> Result<Value, EvalError> {
    let context = scope.context();
    let text = text.text(&context).map_err(|message| fault(path, "text", message))?;
    let rules = rules.json(&context).map_err(|message| fault(path, "rules", message))?;
    let rules: PostRules = serde_json::from_value(rules).map_err(|error| fault(path, "rules", error.to_string()))?;
    let breaches: Vec<String> = rules.check(&text).iter().map(ToString::to_string).collect();
    let ok = ("ok".to_owned(), Value::from(breaches.is_empty()));
    Ok(Value::from_pairs([ok, ("breaches".to_owned(), Value::from(breaches))]))
}

/// The pictures of an agent step.
fn shown(images: &[Formula], path: &StepPath, scope: &Scope) -> Result<Vec<Image>, EvalError> {
    let wrong = |message| fault(path, "images", message);
    let context = scope.context();
    let mut shown = Vec::new();
    for formula in images {
        shape::pictures(&formula.json(&context).map_err(wrong)?, &mut shown).map_err(wrong)?;
    }
    Ok(shown)
}

fn draft(publisher: &str, post: &PostFormula, path: &StepPath, scope: &Scope) -> Result<PostDraft, EvalError> {
    let context = scope.context();
    let text = |field: &str, formula: &Formula| {
        formula.text(&context).map_err(|message| fault(path, &format!("post.{field}"), message))
    };
    Ok(PostDraft {
        publisher: publisher.to_owned(),
        title: text("title", &post.title)?,
        text: text("text", &post.text)?,
        link: post.link.as_ref().map(|link| text("link", link)).transpose()?,
    })
}
