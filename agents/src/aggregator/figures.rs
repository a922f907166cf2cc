//! What is counted. Invariant: every figure is a sum over events, so that folding
//! them one by one or many at once gives the same.

use std::collections::BTreeMap;

use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;
use serde::{Deserialize, Serialize};

use super::costs::{Cost, Spent, step_of};
use crate::run::gist::{Accepted, Gist, Hold, Intended, Outcome, Request, Resolved, Settled};
use crate::run::{ModelCall, Status, Then};
use crate::workflow::StepPath;

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// The run.
    pub id: String,
    /// The name of its workflow.
    pub workflow: String,
    /// Where it stands.
    pub status: Status,
    /// When it was accepted.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it cost.
    pub cost: Money,
    /// What it used.
    pub usage: Usage,
    /// Attempts that were not the first of their effect.
    pub retries: u32,
    /// Why it failed.
    pub failure: Option<String>,
    /// The steps that were begun, by path.
    pub steps: BTreeMap<StepPath, StepFigures>,
    /// The posts that are out, in the order in which they were made.
    pub posts: Vec<PostFigures>,
    /// Restarts in the whole tree before it began …
    pub(super) restarts_before: u64,
    /// … and before it ended.
    pub(super) restarts_at_end: Option<u64>,
}

/// The figures of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepFigures {
    /// The agent, tool or publisher; empty for a question.
    pub target: String,
    /// Where it stands.
    pub phase: StepPhase,
    /// Attempts that were started.
    pub attempts: u32,
    /// Who stood in for the agent at the latest attempt, such as "model/local" …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
    /// … and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Which model of the agent's pool the latest attempt was made with, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// When it goes on by itself, where it waits for a budget's next window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes: Option<Timestamp>,
    /// When the first of them was started, or the question was asked.
    pub begun: Option<Timestamp>,
    /// When the last of them ended, or the question was answered.
    pub ended: Option<Timestamp>,
    /// The time that its attempts took together.
    pub took: Span,
    /// What it used.
    pub usage: Usage,
    /// What it cost.
    pub cost: Money,
    /// Calls of models that have ended.
    #[serde(default, skip_serializing_if = "is_none")]
    pub calls: u64,
    /// The model of the latest attempt, and the agent that called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelCall>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl StepFigures {
    /// What its calls of models came to.
    pub(super) fn model_calls(&self) -> Cost {
        Cost { calls: self.calls, cost: self.cost, usage: self.usage }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// An attempt is under way.
    #[default]
    Open,
    /// Another attempt follows.
    Again,
    /// A person is asked.
    Asked,
    /// A person must settle it.
    Parked,
    /// It is done.
    Done,
    /// Nothing more is tried.
    Over,
}

/// A post that is out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostFigures {
    /// The step that made it.
    pub path: StepPath,
    /// The publisher.
    pub publisher: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// The platform's name for it.
    pub remote_id: Option<String>,
    /// When it was out.
    pub at: Timestamp,
}

/// The figures of everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Runs that were accepted.
    pub runs: u64,
    /// Those that finished.
    pub finished: u64,
    /// Those that failed, were rejected or were cancelled.
    pub unfinished: u64,
    /// Posts that are out.
    pub posts: u64,
    /// What all cost.
    pub cost: Money,
    /// What all used.
    pub usage: Usage,
    /// Attempts that were not the first of their effect.
    pub retries: u64,
    /// Restarts in the supervision tree.
    pub restarts: u64,
    /// The same, by child.
    pub restarts_by_child: BTreeMap<String, u64>,
}

impl RunFigures {
    pub(super) fn new(run: &Accepted, restarts_before: u64) -> Self {
        Self {
            id: run.id.to_string(),
            workflow: run.workflow.name.clone(),
            status: Status::Running,
            started: run.at,
            finished: None,
            cost: Money::ZERO,
            usage: Usage::default(),
            retries: 0,
            failure: None,
            steps: BTreeMap::new(),
            posts: Vec::new(),
            restarts_before,
            restarts_at_end: None,
        }
    }

    /// What the calls of models of all its steps came to.
    pub(super) fn model_calls(&self) -> Cost {
        let mut cost = Cost::default();
        self.steps.values().filter(|step| step.calls > 0).for_each(|step| cost.add(&step.model_calls()));
        cost
    }

    /// Counts one event of the run, here and in the totals; and says what a call of a model came to that
    /// has ended with it.
    pub(super) fn count(&mut self, event: Gist, totals: &mut Totals) -> Option<Spent> {
        let mut spent = None;
        match event {
            // Counted when the figures were made.
            Gist::Accepted(_) => {}
            Gist::Intended(intent) => self.intended(intent, totals),
            Gist::Resolved(outcome) => spent = self.resolved(outcome, totals),
            Gist::ApprovalAsked(question) => self.question(&question.path, question.at, StepPhase::Asked),
            Gist::Approved(approved) => self.question(&approved.path, approved.at, StepPhase::Done),
            Gist::Rejected(rejected) if rejected.ends => {
                self.question(&rejected.path, rejected.at, StepPhase::Over);
                self.end(Status::Rejected, rejected.at, totals);
            }
            Gist::Rejected(rejected) => self.question(&rejected.path, rejected.at, StepPhase::Done),
            Gist::Parked(parked) => {
                let step = self.step(&parked.path);
                step.phase = StepPhase::Parked;
                step.wakes = match parked.hold {
                    Hold::Budget { refusal } => refusal.wakes_at(),
                    Hold::Doubt(_) | Hold::Poison(_) => None,
                };
            }
            Gist::Resumed(resumed) => match resumed.settled {
                Settled::Landed(_) => {
                    self.step(&resumed.path).phase = StepPhase::Done;
                    totals.posts += self.posts.iter().filter(|post| post.path == resumed.path).count() as u64;
                }
                Settled::Again => self.step(&resumed.path).phase = StepPhase::Again,
                Settled::Discarded => self.step(&resumed.path).phase = StepPhase::Over,
            },
            Gist::Finished(finished) => self.end(Status::Finished, finished.at, totals),
            Gist::Failed(failed) => {
                self.failure = Some(failed.message);
                self.end(Status::Failed, failed.at, totals);
            }
            Gist::Cancelled(cancelled) => self.end(Status::Cancelled, cancelled.at, totals),
            Gist::Reopened(_) => self.reopened(totals),
        }
        if self.finished.is_none() {
            self.status = self.movement();
        }
        spent
    }

    fn intended(&mut self, intent: Intended, totals: &mut Totals) {
        let retry = intent.attempt > 1;
        self.retries += u32::from(retry);
        totals.retries += u64::from(retry);
        let step = self.step(&intent.path);
        intent.request.target().clone_into(&mut step.target);
        step.attempts = intent.attempt;
        step.stand_in = intent.stand_in.as_ref().map(|stand_in| stand_in.name(&step.target));
        step.because = intent.stand_in.map(|stand_in| stand_in.because.to_string());
        step.choice = intent.choice.map(|choice| choice.to_string());
        step.begun.get_or_insert(intent.at);
        step.phase = StepPhase::Open;
        step.model = intent.call;
        if let Request::Publish(draft) = intent.request {
            self.posts.retain(|post| post.path != intent.path);
            self.posts.push(PostFigures {
                path: intent.path,
                publisher: draft.publisher,
                title: draft.title,
                text: draft.text,
                remote_id: None,
                at: intent.at,
            });
        }
    }

    fn resolved(&mut self, outcome: Resolved, totals: &mut Totals) -> Option<Spent> {
        let workflow = self.workflow.clone();
        let step = self.step(&outcome.path);
        step.calls += u64::from(step.model.is_some());
        let spent = step.model.as_ref().map(|call| Spent {
            agent: call.agent.clone(),
            model: call.model.clone(),
            at: outcome.at,
            step: step_of(&workflow, outcome.path.as_str()),
            cost: Cost { calls: 1, cost: outcome.cost, usage: outcome.usage },
        });
        step.took = Span(step.took.0.saturating_add(outcome.took.0));
        step.ended = Some(outcome.at);
        step.usage = step.usage + outcome.usage;
        step.cost = step.cost.saturating_add(outcome.cost);
        step.phase = match outcome.then {
            Then::Done | Then::Told => StepPhase::Done,
            Then::Retry { .. } => StepPhase::Again,
            Then::Park => StepPhase::Parked,
            Then::GiveUp => StepPhase::Over,
        };
        self.usage = self.usage + outcome.usage;
        self.cost = self.cost.saturating_add(outcome.cost);
        totals.usage = totals.usage + outcome.usage;
        totals.cost = totals.cost.saturating_add(outcome.cost);
        if let Outcome::Ok(_) = outcome.outcome {
            for post in self.posts.iter_mut().filter(|post| post.path == outcome.path) {
                post.remote_id.clone_from(&outcome.remote_id);
                post.at = outcome.at;
                totals.posts += 1;
            }
        }
        spent
    }

    fn question(&mut self, path: &StepPath, at: Timestamp, phase: StepPhase) {
        let step = self.step(path);
        step.phase = phase;
        step.begun.get_or_insert(at);
        if phase != StepPhase::Asked {
            step.ended = Some(at);
        }
    }

    fn end(&mut self, status: Status, at: Timestamp, totals: &mut Totals) {
        self.status = status;
        self.finished = Some(at);
        self.restarts_at_end = Some(totals.restarts);
        match status {
            Status::Finished => totals.finished += 1,
            _ => totals.unfinished += 1,
        }
    }

    fn reopened(&mut self, totals: &mut Totals) {
        (self.finished, self.restarts_at_end, self.failure) = (None, None, None);
        totals.unfinished = totals.unfinished.saturating_sub(1);
        for step in self.steps.values_mut().filter(|step| step.phase == StepPhase::Over) {
            step.phase = StepPhase::Again;
        }
    }

    /// Whether it has work to do, or an attempt whose outcome is not recorded:
    /// that one must be settled even when the run has ended.
    pub(super) fn is_moving(&self) -> bool {
        let wakes = |step: &StepFigures| step.phase == StepPhase::Parked && step.wakes.is_some();
        let is_going = self.finished.is_none();
        self.status == Status::Running
            || self.steps.values().any(|step| step.phase == StepPhase::Open || (is_going && wakes(step)))
    }

    /// As the run itself sees it.
    fn movement(&self) -> Status {
        let any = |phases: &[StepPhase]| self.steps.values().any(|step| phases.contains(&step.phase));
        if any(&[StepPhase::Open, StepPhase::Again]) {
            Status::Running
        } else if any(&[StepPhase::Parked]) {
            Status::Parked
        } else if any(&[StepPhase::Asked]) {
            Status::Waiting
        } else {
            Status::Running
        }
    }

    fn step(&mut self, path: &StepPath) -> &mut StepFigures {
        self.steps.entry(path.clone()).or_default()
    }
}
