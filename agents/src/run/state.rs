//! Where a run stands: the fold of its events.
//!
//! Invariant: only what cannot be computed is kept: the order, what became of
//! each leaf, and the sums. Whose turn it is follows from those.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actors::letters::{Death, HISTORY_MAX};
use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::{Attempt, Due};
use super::event::{Accepted, ApprovalAsked, Event, Failed, Hold, Intended, Rejected, Resolved, Settled, Then};
use super::event::{EffectOutcome, Reopened, Resumed};
use super::id::{EffectKey, RunId};
use super::walks::Walks;
use crate::workflow::{ERROR, EvalError, Next, Outcomes, ReadyStep, StepPath};

/// The state of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What was accepted; nothing before that.
    pub order: Option<Arc<Accepted>>,
    /// What became of each leaf that was begun.
    pub leaves: BTreeMap<StepPath, Leaf>,
    /// The outputs of the leaves that are done.
    pub outcomes: Outcomes,
    /// What all attempts cost together.
    pub cost: Money,
    /// What all attempts used together.
    pub usage: Usage,
    /// How many attempts were not the first of their effect.
    pub retries: u32,
    /// How it ended.
    pub end: Option<End>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What was evaluated of the workflow so far; it follows from the rest.
    #[serde(skip)]
    walks: Walks,
}

/// What became of a leaf.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// The effect; nothing for a question.
    pub key: Option<EffectKey>,
    /// The attempts that were started.
    pub attempts: u32,
    /// Those that failed.
    pub failures: u32,
    /// Those of them that were made with a model of a pool, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_with: BTreeMap<String, u32>,
    /// Those that vanished.
    pub losses: u32,
    /// Those that vanished because they killed whoever was at them.
    #[serde(default)]
    pub kills: u32,
    /// The latest deaths, the eldest first.
    #[serde(default)]
    pub deaths: Vec<Death>,
    /// When its first attempt was started.
    #[serde(default)]
    pub began: Option<Timestamp>,
    /// What its attempts cost together.
    #[serde(default)]
    pub cost: Money,
    /// What they used.
    #[serde(default)]
    pub usage: Usage,
    /// Where it stands.
    pub phase: Phase,
}

/// Where a leaf stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// An attempt is under way.
    Open(Arc<Intended>),
    /// Another attempt follows, not before this.
    Again {
        /// When.
        due: Timestamp,
        /// The delay that was decided: nobody waits longer, whatever the wall clock says since.
        #[serde(default)]
        wait: Span,
    },
    /// A person is asked.
    Asked(ApprovalAsked),
    /// A person must settle it.
    Parked(Hold),
    /// It is done.
    Done,
    /// Nothing more is tried.
    #[default]
    Over,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every step is done.
    Finished {
        /// What the run hands back.
        outputs: BTreeMap<String, Value>,
    },
    /// A step failed for good.
    Failed(Failed),
    /// A person said no.
    Rejected(Rejected),
    /// Someone stopped it.
    Cancelled {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Where a run stands, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody accepted it.
    #[default]
    Absent,
    /// Something is under way or due.
    Running,
    /// Nothing but a person's approval is waited for.
    Waiting,
    /// Nothing moves until a person settles something.
    Parked,
    /// Every step is done.
    Finished,
    /// A step failed for good.
    Failed,
    /// A person said no.
    Rejected,
    /// Someone stopped it.
    Cancelled,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Absent => "absent",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A run for lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub id: RunId,
    /// The name of its workflow.
    pub workflow: String,
    /// Where it stands.
    pub status: Status,
    /// When it was accepted.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it cost so far.
    pub cost: Money,
    /// What it used so far.
    pub usage: Usage,
    /// How many attempts were not the first of their effect.
    pub retries: u32,
    /// The steps under way.
    pub open: Vec<StepPath>,
    /// The steps that wait for a person.
    pub held: Vec<StepPath>,
    /// Why it did not finish.
    pub failure: Option<String>,
}

impl State {
    /// Where the run stands.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.end {
            _ if self.order.is_none() => Status::Absent,
            Some(End::Finished { .. }) => Status::Finished,
            Some(End::Failed(_)) => Status::Failed,
            Some(End::Rejected(_)) => Status::Rejected,
            Some(End::Cancelled { .. }) => Status::Cancelled,
            None => self.movement(),
        }
    }

    fn movement(&self) -> Status {
        let any = |test: fn(&Phase) -> bool| self.leaves.values().any(|leaf| test(&leaf.phase));
        if any(|phase| matches!(phase, Phase::Open(_) | Phase::Again { .. })) {
            Status::Running
        } else if any(|phase| matches!(phase, Phase::Parked(_))) {
            Status::Parked
        } else if any(|phase| matches!(phase, Phase::Asked(_))) {
            Status::Waiting
        } else {
            Status::Running
        }
    }

    /// Whether it was accepted and has not ended.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.order.is_some() && self.end.is_none()
    }

    /// Whether a step of it failed for good; then it may be reopened.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.end, Some(End::Failed(_)))
    }

    /// The attempts under way, in the order of their paths: what recovery has
    /// to settle.
    pub fn open_intents(&self) -> impl Iterator<Item = &Intended> {
        self.leaves.values().filter_map(|leaf| match &leaf.phase {
            Phase::Open(intent) => Some(&**intent),
            _ => None,
        })
    }

    /// The questions that wait for an answer.
    pub fn asked(&self) -> impl Iterator<Item = &ApprovalAsked> {
        self.leaves.values().filter_map(|leaf| match &leaf.phase {
            Phase::Asked(question) => Some(question),
            _ => None,
        })
    }

    /// The effects that wait for a person to settle them, or for money.
    pub fn parked(&self) -> impl Iterator<Item = (&StepPath, &EffectKey, &Hold)> {
        self.leaves.iter().filter_map(|(path, leaf)| match (&leaf.phase, &leaf.key) {
            (Phase::Parked(hold), Some(key)) => Some((path, key, hold)),
            _ => None,
        })
    }

    /// When the next retry is due, as a host without a clock sees it.
    #[cfg(test)]
    pub(super) fn retry_due(&self) -> Option<Timestamp> {
        let due = self.leaves.values().filter_map(|leaf| match leaf.phase {
            Phase::Again { due, .. } => Some(due),
            _ => None,
        });
        if self.is_going() { due.min() } else { None }
    }

    /// Whether something of it goes on by itself: an attempt, a retry, or what waits for a budget's next
    /// window.
    #[must_use]
    pub fn moves_by_itself(&self) -> bool {
        let wakes = |leaf: &Leaf| matches!(&leaf.phase, Phase::Parked(hold) if hold.wakes_at().is_some());
        self.is_going() && (self.status() == Status::Running || self.leaves.values().any(wakes))
    }

    /// The retry, or the end of a budget's window, that comes first of those that are not due yet: when it is due, and how long that is to
    /// be waited for at `now`, never longer than was decided; a clock that was set back would have it
    /// wait for as long as it was set back by. The host then says [`super::Act::StartReady`].
    #[must_use]
    pub fn next_retry(&self, now: Timestamp) -> Option<(Timestamp, Duration)> {
        let waits = self.leaves.values().filter_map(|leaf| match leaf.phase {
            Phase::Again { due, wait } if due > now => Some((due, due.since(now).min(wait.duration()))),
            Phase::Parked(ref hold) => hold.wakes_at().filter(|due| *due > now).map(|due| (due, due.since(now))),
            _ => None,
        });
        if self.is_going() { waits.min_by_key(|(_, wait)| *wait) } else { None }
    }

    /// The effects whose turn it is at `now` and that are not under way.
    ///
    /// # Errors
    /// [`EvalError`] when the workflow cannot be evaluated.
    pub fn due(&self, now: Timestamp) -> Result<Vec<Due>, EvalError> {
        if !self.is_going() {
            return Ok(Vec::new());
        }
        let next = self.next()?;
        Ok(self.due_of(&next, now))
    }

    pub(super) fn due_of(&self, next: &Next, now: Timestamp) -> Vec<Due> {
        let Some(order) = &self.order else { return Vec::new() };
        let due = |step: &ReadyStep| {
            let leaf = self.leaves.get(&step.path);
            let attempt = match leaf.map(|leaf| &leaf.phase) {
                None => 1,
                Some(Phase::Again { due, .. }) if *due <= now => leaf.map_or(0, |leaf| leaf.attempts) + 1,
                Some(Phase::Parked(hold)) if hold.wakes_at().is_some_and(|due| due <= now) => {
                    leaf.map_or(0, |leaf| leaf.attempts) + 1
                }
                Some(_) => return None,
            };
            let class = step.action.class()?;
            let failures = leaf.map(Leaf::failures).unwrap_or_default();
            let ReadyStep { path, action, hash } = step.clone();
            let key = EffectKey::hashed(&order.id, &path, &hash);
            let (tally, priority) = (self.tally_for(&path, &action), order.terms.priority_of(&action));
            Some(Due { key, path, attempt, failures, class, action, hash, tally, priority })
        };
        next.ready.iter().filter_map(due).collect()
    }

    /// What the workflow says comes next.
    pub(super) fn next(&self) -> Result<Arc<Next>, EvalError> {
        match &self.order {
            Some(order) => self.walks.next(order, &self.outcomes),
            None => Ok(Arc::default()),
        }
    }

    /// The intent of an attempt, if that is under way.
    pub(super) fn open(&self, of: &Attempt) -> Option<&Intended> {
        self.open_intents().find(|intent| intent.key == of.key && intent.attempt == of.number)
    }

    pub(super) fn leaf_of(&self, key: &EffectKey) -> Option<(&StepPath, &Leaf)> {
        self.leaves.iter().find(|(_, leaf)| leaf.key.as_ref() == Some(key))
    }

    /// The run for lists; nothing before it is accepted.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        let order = self.order.as_ref()?;
        let paths = |test: fn(&Phase) -> bool| {
            self.leaves.iter().filter(|(_, leaf)| test(&leaf.phase)).map(|(path, _)| path.clone()).collect()
        };
        let failure = match &self.end {
            Some(End::Failed(failed)) => Some(failed.message.clone()),
            Some(End::Cancelled { by, reason }) => Some(format!("cancelled by {by}: {reason}")),
            Some(End::Rejected(no)) => Some(format!("rejected by {}: {}", no.by, no.reason)),
            _ => None,
        };
        Some(Summary {
            id: order.id.clone(),
            workflow: order.workflow.name.clone(),
            status: self.status(),
            started: order.at,
            finished: self.ended,
            cost: self.cost,
            usage: self.usage,
            retries: self.retries,
            open: paths(|phase| matches!(phase, Phase::Open(_))),
            held: paths(|phase| matches!(phase, Phase::Asked(_) | Phase::Parked(_))),
            failure,
        })
    }

    /// The state after an event.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Accepted(order) => self.order = Some(Arc::clone(order)),
            Event::Intended(intent) => self.intended(intent),
            Event::Resolved(resolved) => self.resolved(resolved),
            Event::ApprovalAsked(question) => {
                self.leaf(&question.path, None).phase = Phase::Asked(question.clone());
            }
            Event::Approved(approved) => self.answered(&approved.path, true, &approved.by),
            Event::Rejected(rejected) if rejected.ends => {
                self.leaf(&rejected.path, None).phase = Phase::Over;
                self.end(End::Rejected(rejected.clone()), rejected.at);
            }
            Event::Rejected(rejected) => self.answered(&rejected.path, false, &rejected.by),
            Event::Parked(parked) => {
                self.leaf(&parked.path, Some(&parked.key)).phase = Phase::Parked(parked.hold.clone());
            }
            Event::Resumed(resumed) => self.resumed(resumed),
            Event::Finished(finished) => {
                self.end(End::Finished { outputs: finished.outputs.clone() }, finished.at);
            }
            Event::Failed(failed) => self.end(End::Failed(failed.clone()), failed.at),
            Event::Cancelled(cancelled) => {
                let end = End::Cancelled { by: cancelled.by.clone(), reason: cancelled.reason.clone() };
                self.end(end, cancelled.at);
            }
            Event::Reopened(reopened) => self.reopened(reopened),
        }
    }

    fn intended(&mut self, intent: &Arc<Intended>) {
        let leaf = self.leaf(&intent.path, Some(&intent.key));
        leaf.attempts = intent.attempt;
        leaf.began.get_or_insert(intent.at);
        leaf.phase = Phase::Open(Arc::clone(intent));
        self.retries += u32::from(intent.attempt > 1);
    }

    fn resolved(&mut self, resolved: &Resolved) {
        let leaf = self.leaf(&resolved.path, Some(&resolved.key));
        let model = leaf.model();
        leaf.cost = leaf.cost.saturating_add(resolved.cost);
        leaf.usage = leaf.usage + resolved.usage;
        leaf.phase = match resolved.then {
            Then::Done | Then::Told => Phase::Done,
            Then::Retry { at } => Phase::Again { due: at, wait: Span::from(at.since(resolved.at)) },
            // The event after this one says why it is parked.
            Then::Park | Then::GiveUp => Phase::Over,
        };
        match &resolved.outcome {
            EffectOutcome::Ok { output } => {
                self.outcomes.insert(resolved.path.clone(), Arc::clone(output));
            }
            EffectOutcome::Failed { message, .. } => {
                leaf.failures += 1;
                if let Some(model) = model {
                    *leaf.failed_with.entry(model).or_default() += 1;
                }
                if resolved.then == Then::Told {
                    let output = serde_json::json!({ ERROR: message });
                    self.outcomes.insert(resolved.path.clone(), Arc::new(output));
                }
            }
            EffectOutcome::Unknown { .. } => leaf.lose(resolved.death.as_ref()),
        }
        self.cost = self.cost.saturating_add(resolved.cost);
        self.usage = self.usage + resolved.usage;
    }

    fn answered(&mut self, path: &StepPath, approved: bool, by: &str) {
        self.leaf(path, None).phase = Phase::Done;
        self.outcomes.insert(path.clone(), Arc::new(serde_json::json!({ "approved": approved, "by": by })));
    }

    fn resumed(&mut self, resumed: &Resumed) {
        let leaf = self.leaf(&resumed.path, None);
        let was_poison = matches!(leaf.phase, Phase::Parked(Hold::Poison { .. }));
        match &resumed.settled {
            Settled::Again => {
                leaf.phase = Phase::Again { due: resumed.at, wait: Span::ZERO };
                if was_poison {
                    leaf.forgive();
                }
            }
            Settled::Discarded => leaf.phase = Phase::Over,
            Settled::Landed { output } => {
                leaf.phase = Phase::Done;
                self.outcomes.insert(resumed.path.clone(), Arc::new(output.clone()));
            }
        }
    }

    /// What was given up is tried again, under the key that it had.
    fn reopened(&mut self, reopened: &Reopened) {
        (self.end, self.ended) = (None, None);
        for leaf in self.leaves.values_mut().filter(|leaf| matches!(leaf.phase, Phase::Over)) {
            leaf.failures = 0;
            leaf.failed_with.clear();
            leaf.forgive();
            leaf.phase = Phase::Again { due: reopened.at, wait: Span::ZERO };
        }
    }

    fn end(&mut self, end: End, at: Timestamp) {
        self.end = Some(end);
        self.ended = Some(at);
    }

    fn leaf(&mut self, path: &StepPath, key: Option<&EffectKey>) -> &mut Leaf {
        let leaf = self.leaves.entry(path.clone());
        let fresh = || Leaf { key: key.cloned(), phase: Phase::Over, ..Leaf::default() };
        leaf.or_insert_with(fresh)
    }
}

impl Leaf {
    fn lose(&mut self, death: Option<&Death>) {
        self.losses += 1;
        self.kills += u32::from(death.is_some_and(|death| death.certain));
        self.deaths.extend(death.cloned());
        let spare = self.deaths.len().saturating_sub(HISTORY_MAX);
        self.deaths.drain(..spare);
    }

    /// What it did is no longer held against it.
    fn forgive(&mut self) {
        (self.losses, self.kills) = (0, 0);
        self.deaths.clear();
    }
}
