//! The spans of one run, folded from its events.
//!
//! ```text
//! invoke_workflow announce
//! └─ invoke_agent writer            one step, or one errand of another agent
//!    ├─ chat claude-haiku-5-5       one attempt at one turn
//!    └─ execute_tool context.search one attempt at what the model asked for
//! ```
//!
//! Invariant: what an event tells follows from the events before it alone; a parent's id is known before its
//! end is.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::telemetry::convention as name;
use policies::instant::Timestamp;
use policies::tokens::Usage;

use super::content;
use super::span::{Failure, NAME_BYTES_MAX, Span, SpanId, TEXT_BYTES_MAX, Value, clip};
use crate::run::{EffectOutcome, Event, Intended, ModelCall, Replied, Resolved, Then};
use crate::workflow::{Action, StepPath, Turn};

/// Of our own: the step, the attempt, and what it cost.
const STEP: &str = "callboard.step";
const ATTEMPT: &str = "callboard.attempt";
const NANODOLLARS: &str = "callboard.cost.nanodollars";
/// The class of a run that somebody stopped.
const CANCELLED: &str = "cancelled";
/// The class of a run that a person's "no" ended.
const REJECTED: &str = "rejected";

/// What is known of one run.
#[derive(Debug)]
pub(super) struct RunTrace {
    trace: u128,
    run: String,
    workflow: String,
    /// How often it was reopened: what is done again then is told apart from what was done before.
    life: u32,
    started: Timestamp,
    /// Agents' steps that are not over.
    steps: BTreeMap<StepPath, Step>,
    open: BTreeMap<(StepPath, u32), Arc<Intended>>,
    has_ended: bool,
    /// Whether its words are told.
    has_words: bool,
}

/// An agent at one step.
#[derive(Debug)]
struct Step {
    agent: String,
    begun: Timestamp,
    ended: Timestamp,
    usage: Usage,
    failure: Option<Failure>,
}

impl RunTrace {
    /// A run that has just been accepted, and whether its words are told; nothing for any other event.
    pub(super) fn begin(event: &Event, trace: u128, has_words: bool) -> Option<Self> {
        let Event::Accepted(accepted) = event else { return None };
        let run = accepted.id.to_string();
        let of_run = |run: &str| {
            let (high, low) = (SpanId::of(&["trace", run]), SpanId::of(&["trace", run, ""]));
            (u128::from(high.0) << 64) | u128::from(low.0)
        };
        Some(Self {
            trace: if trace == 0 { of_run(&run) } else { trace },
            run,
            workflow: accepted.workflow.name.clone(),
            life: 0,
            started: accepted.at,
            steps: BTreeMap::new(),
            open: BTreeMap::new(),
            has_ended: false,
            has_words,
        })
    }

    /// Whether nothing more is to come unless it is reopened.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended && self.open.is_empty()
    }

    /// Folds an event, and says what ended with it.
    pub(super) fn fold(&mut self, event: &Event) -> Vec<Span> {
        match event {
            Event::Intended(intent) => {
                self.intended(intent);
                Vec::new()
            }
            Event::Resolved(outcome) => self.resolved(outcome),
            Event::Finished(finished) => self.end(finished.at, None),
            Event::Failed(failed) => self.end(failed.at, Some(self.failed_so(failed.class.as_str(), &failed.message))),
            Event::Cancelled(cancelled) => self.end(cancelled.at, Some(Failure { class: CANCELLED, words: None })),
            Event::Rejected(rejected) if rejected.ends => {
                self.end(rejected.at, Some(Failure { class: REJECTED, words: None }))
            }
            Event::Reopened(reopened) => {
                (self.life, self.started, self.has_ended) = (self.life + 1, reopened.at, false);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn intended(&mut self, intent: &Arc<Intended>) {
        if let Action::Agent(call) = &intent.request {
            let agent = intent.call.as_ref().map_or(&call.agent, |call| &call.agent);
            let step = Step {
                agent: agent.clone(),
                begun: intent.at,
                ended: intent.at,
                usage: Usage::default(),
                failure: None,
            };
            self.steps.entry(invocation(&intent.path)).or_insert(step);
        }
        self.open.insert((intent.path.clone(), intent.attempt), Arc::clone(intent));
    }

    fn resolved(&mut self, outcome: &Resolved) -> Vec<Span> {
        let Some(intent) = self.open.remove(&(outcome.path.clone(), outcome.attempt)) else { return Vec::new() };
        let failure = self.failure(&outcome.outcome);
        let mut spans = Vec::new();
        let span = match &intent.request {
            Action::Agent(_) => intent.call.as_ref().and_then(|call| self.chat(&intent, call, outcome)),
            Action::Tool(call) => Some(self.tool(&intent, &call.tool, outcome)),
            Action::Publish(post) => Some(self.tool(&intent, &format!("publisher/{}", post.publisher), outcome)),
            Action::Approve(_) => None,
        };
        if let Some(mut span) = span {
            if let Some(failure) = &failure {
                span.fail(failure.clone());
            }
            if self.has_words {
                content::add(&mut span, &intent.request, &outcome.outcome);
            }
            spans.push(span);
        }
        if matches!(intent.request, Action::Agent(_)) {
            let at = invocation(&outcome.path);
            if let Some(step) = self.steps.get_mut(&at) {
                step.ended = outcome.at;
                step.usage = step.usage + outcome.usage;
                step.failure = failure.filter(|_| matches!(outcome.then, Then::GiveUp | Then::Told));
            }
            if is_last(outcome) {
                spans.extend(self.steps.remove(&at).map(|step| self.step(&at, step)));
            }
        }
        spans
    }

    /// The call of a model; nothing where none was made: a guardrail or a kept reply stood before it.
    fn chat(&self, intent: &Intended, call: &ModelCall, outcome: &Resolved) -> Option<Span> {
        let is_ok = matches!(outcome.outcome, EffectOutcome::Ok { .. });
        if is_ok && outcome.usage.input_total().0 == 0 {
            return None;
        }
        let parent = self.step_id(&invocation(&intent.path));
        let mut span = self.attempt(intent, outcome, name::CHAT, &call.model, parent);
        span.is_call = true;
        if !call.provider.is_empty() {
            span.text(name::PROVIDER, &call.provider);
        }
        span.text(name::REQUEST_MODEL, &call.model);
        span.text(name::AGENT, &call.agent);
        if let Action::Agent(asked) = &intent.request {
            span.whole(name::REQUEST_MAX_TOKENS, asked.output_max.0);
        }
        if let Some(id) = &outcome.remote_id {
            span.text(name::RESPONSE_ID, clip(id, NAME_BYTES_MAX));
        }
        if let Some(Replied { finish, model, first_chunk }) = &outcome.replied {
            span.text(name::RESPONSE_MODEL, clip(model.as_ref().unwrap_or(&call.model), NAME_BYTES_MAX));
            span.attributes.push((name::FINISH_REASONS, Value::Texts(vec![finish.as_str().to_owned()])));
            if let Some(first) = first_chunk {
                span.attributes.push((name::FIRST_CHUNK, Value::Real(first.0.as_secs_f64())));
            }
        }
        used(&mut span, &outcome.usage);
        span.whole(NANODOLLARS, outcome.cost.nanos());
        Some(span)
    }

    fn tool(&self, intent: &Intended, tool: &str, outcome: &Resolved) -> Span {
        let parent = self.parent(&intent.path);
        let mut span = self.attempt(intent, outcome, name::EXECUTE_TOOL, tool, parent);
        span.text(name::TOOL, tool);
        span
    }

    fn attempt(
        &self,
        intent: &Intended,
        outcome: &Resolved,
        operation: &'static str,
        of: &str,
        parent: SpanId,
    ) -> Span {
        let attempt = intent.attempt.to_string();
        let id = self.id(&[operation, intent.path.as_str(), &attempt]);
        let mut span = self.span(id, Some(parent), operation, of, (intent.at, outcome.at));
        span.text(STEP, intent.path.as_str());
        span.whole(ATTEMPT, u64::from(intent.attempt));
        span
    }

    /// An agent's step that is over.
    fn step(&self, at: &StepPath, step: Step) -> Span {
        let Step { agent, begun, ended, usage, failure } = step;
        let (id, parent) = (self.step_id(at), self.parent(at));
        let mut span = self.span(id, Some(parent), name::INVOKE_AGENT, &agent, (begun, ended));
        span.text(name::AGENT, agent);
        span.text(STEP, at.as_str());
        used(&mut span, &usage);
        if let Some(failure) = failure {
            span.fail(failure);
        }
        span
    }

    /// The run is over, and with it all that it still had to do.
    fn end(&mut self, at: Timestamp, failure: Option<Failure>) -> Vec<Span> {
        self.has_ended = true;
        let steps = std::mem::take(&mut self.steps);
        let mut spans: Vec<Span> = steps.into_iter().map(|(path, step)| self.step(&path, step)).collect();
        // Lives after the first are parts of it, so that a trace has one root.
        let parent = (self.life > 0).then(|| SpanId::of(&[name::INVOKE_WORKFLOW, &self.run, "0"]));
        let mut span = self.span(self.root(), parent, name::INVOKE_WORKFLOW, &self.workflow, (self.started, at));
        span.text(name::WORKFLOW, &self.workflow);
        if let Some(failure) = failure {
            span.fail(failure);
        }
        spans.push(span);
        spans
    }

    fn failure(&self, outcome: &EffectOutcome) -> Option<Failure> {
        match outcome {
            EffectOutcome::Ok { .. } => None,
            EffectOutcome::Failed { class, message, .. } => Some(self.failed_so(class.as_str(), message)),
            EffectOutcome::Unknown { reason } => Some(self.failed_so(name::OTHER, reason)),
        }
    }

    /// A failure, in words only where those are told: they may repeat what a model said.
    fn failed_so(&self, class: &'static str, words: &str) -> Failure {
        Failure { class, words: self.has_words.then(|| clip(words, TEXT_BYTES_MAX)) }
    }

    fn span(
        &self,
        id: SpanId,
        parent: Option<SpanId>,
        operation: &'static str,
        of: &str,
        (start, end): (Timestamp, Timestamp),
    ) -> Span {
        let mut span = Span {
            trace: self.trace,
            id,
            parent,
            name: format!("{operation} {of}"),
            is_call: false,
            start,
            // The wall clock may have been set back in between.
            end: end.max(start),
            attributes: Vec::new(),
            failure: None,
        };
        span.text(name::OPERATION, operation);
        span.text(name::CONVERSATION, &self.run);
        span
    }

    fn root(&self) -> SpanId {
        SpanId::of(&[name::INVOKE_WORKFLOW, &self.run, &self.life.to_string()])
    }

    fn id(&self, words: &[&str]) -> SpanId {
        let life = self.life.to_string();
        SpanId::of(&[words, &[&self.run, &life]].concat())
    }

    fn step_id(&self, at: &StepPath) -> SpanId {
        self.id(&[name::INVOKE_AGENT, at.as_str()])
    }

    /// The agent that asked for it, or else the workflow.
    fn parent(&self, path: &StepPath) -> SpanId {
        match path.as_str().rsplit_once('@') {
            Some((asker, _)) => self.step_id(&StepPath::from(asker)),
            None => self.root(),
        }
    }
}

/// The step, errand or question that a model call is a turn of.
fn invocation(path: &StepPath) -> StepPath {
    match path.as_str().rsplit_once('@') {
        Some((step, turn)) if turn.bytes().all(|byte| byte.is_ascii_digit()) => StepPath::from(step),
        _ => path.clone(),
    }
}

/// Whether an agent has nothing more to say at this step. Where a judge or a person has the last word, that is
/// known only when the run ends.
fn is_last(outcome: &Resolved) -> bool {
    match (&outcome.then, &outcome.outcome) {
        (Then::Done, EffectOutcome::Ok { output }) => matches!(Turn::of(output), Ok(None)),
        (Then::GiveUp | Then::Told, _) => true,
        _ => false,
    }
}

fn used(span: &mut Span, usage: &Usage) {
    span.whole(name::INPUT_TOKENS, usage.input_total().0);
    span.whole(name::OUTPUT_TOKENS, usage.output.0);
    let written = usage.cache_write + usage.cache_write_1h;
    let rare = [
        (name::CACHE_READ_TOKENS, usage.cache_read),
        (name::CACHE_CREATION_TOKENS, written),
        (name::REASONING_TOKENS, usage.reasoning),
    ];
    for (name, tokens) in rare.into_iter().filter(|(_, tokens)| tokens.0 > 0) {
        span.whole(name, tokens.0);
    }
}
