//! What follows from a command: the events of one decision.
//!
//! Invariant: an outcome and the intents of what it makes ready go into one
//! decision; an outcome that is recorded never changes; nothing starts in a
//! run that has ended, unless a failed one is reopened, and what is under way
//! there is still resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::letters::{self, Death, Letter, LetterId};
use policies::budget::ScopeId;
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::poison::{self, PoisonPolicy};
use policies::retry::{RetryDecision, RetryPolicy};
use policies::span::Span;
use policies::tokens::Usage;
use storage::journal::{StreamId, Version};

use super::command::{Act, Answer, Attempt, Command, Due, Grant, Order, Outcome, Refusal, Reply};
use super::event::{
    Accepted, ApprovalAsked, Approved, Cancelled, EffectOutcome, Event, Failed, Finished, Hold, Intended, Parked,
    Rejected, Reopened, Resolved, Resumed, Settled, Then, WhenSpent,
};
use super::id::EffectKey;
use super::state::{End, Phase, State};
use crate::workflow::{Action, Approval, EvalError, OnReject, STEPS_MAX, StepPath};

/// Who approves where the policy does.
pub const AUTOMATIC: &str = "policy:automatic";

/// A decision in the making: the state as it will be, and the events that make
/// it so.
pub(super) struct Draft {
    pub(super) state: State,
    pub(super) events: Vec<Event>,
    pub(super) preconditions: Vec<(StreamId, Version)>,
    /// What goes to the dead letters, or comes from there.
    pub(super) letters: Vec<letters::Event>,
    now: Timestamp,
    chance: f64,
}

impl Draft {
    /// Decides the command.
    pub(super) fn of(state: &State, command: Command) -> Result<Self, Refusal> {
        let Command { act, now, chance, grants } = command;
        let (events, preconditions, letters) = (Vec::new(), Vec::new(), Vec::new());
        let mut draft = Self { state: state.clone(), events, preconditions, letters, now, chance };
        draft.act(act)?;
        draft.carry_on(&grants);
        Ok(draft)
    }

    pub(super) fn reply(&self) -> Reply {
        let started = self.events.iter().filter_map(|event| match event {
            Event::Intended(intent) => Some(Attempt { key: intent.key.clone(), number: intent.attempt }),
            _ => None,
        });
        Reply { status: self.state.status(), started: started.collect() }
    }

    fn push(&mut self, event: Event) {
        self.state.apply(&event);
        self.events.push(event);
    }

    fn act(&mut self, act: Act) -> Result<(), Refusal> {
        if let Act::Accept(order) = act {
            return self.accept(*order);
        }
        if self.state.order.is_none() {
            return Err(Refusal::Absent);
        }
        match act {
            // What is under way is resolved, whatever became of the run.
            Act::Outcome(outcome) => return self.outcome(*outcome),
            Act::Lost { attempts, reason, child, poison } => return self.lost(attempts, &reason, &child, poison),
            Act::Discard { letter, by, reason } => return self.discard(&letter, by, reason),
            Act::Settle { key, landed, by } => {
                let (path, letter) = self.in_doubt(&key)?;
                if let Some(id) = letter {
                    let (at, by) = (self.now, by.clone());
                    self.letters.push(match landed {
                        None => letters::Event::Replayed { id, at, by },
                        Some(_) => letters::Event::Discarded { id, at, by, reason: "it was done".to_owned() },
                    });
                }
                let settled = landed.map_or(Settled::Again, |output| Settled::Landed { output });
                self.push(Event::Resumed(Resumed { at: self.now, path, by, settled }));
            }
            Act::Resume { by } if self.state.has_failed() => self.reopen(by),
            _ if self.state.end.is_some() => return Err(Refusal::Ended(self.state.status())),
            Act::Approve { path, by } => {
                self.question(&path)?;
                self.push(Event::Approved(Approved { at: self.now, path, by }));
            }
            Act::Reject { path, by, reason } => {
                let ends = self.question(&path)?;
                self.push(Event::Rejected(Rejected { at: self.now, path, by, reason, ends }));
            }
            Act::Replay { letter, by } => self.replay(letter, by)?,
            Act::Resume { by } => self.resume(&by),
            Act::Cancel { by, reason } => self.push(Event::Cancelled(Cancelled { at: self.now, by, reason })),
            Act::StartReady | Act::Accept(_) => {}
        }
        Ok(())
    }

    fn accept(&mut self, order: Order) -> Result<(), Refusal> {
        if self.state.order.is_some() {
            return Err(Refusal::Exists(order.id));
        }
        let inputs = order.workflow.bind(order.inputs).map_err(Refusal::Inputs)?;
        self.push(Event::Accepted(Arc::new(Accepted {
            at: self.now,
            id: order.id,
            version: order.version,
            workflow: order.workflow,
            inputs,
            principal: order.principal,
            terms: order.terms,
        })));
        Ok(())
    }

    fn outcome(&mut self, outcome: Outcome) -> Result<(), Refusal> {
        let Outcome { of, outcome, cost, usage, remote_id, took, retry, death, poison, replied } = outcome;
        let intent = match self.state.open(&of) {
            Some(intent) => intent.clone(),
            None => return Err(self.not_open(of)),
        };
        let is_poison = self.is_poison(&intent, death.as_ref(), poison);
        let then = self.then(&intent, &outcome, retry, is_poison.then_some(poison.then));
        self.push(Event::Resolved(Box::new(Resolved {
            at: self.now,
            key: of.key,
            path: intent.path.clone(),
            attempt: of.number,
            outcome: outcome.clone(),
            cost,
            usage,
            remote_id,
            took,
            then,
            death,
            replied,
        })));
        match (then, outcome) {
            (Then::Park, EffectOutcome::Unknown { reason }) if is_poison && poison.then == poison::Then::DeadLetter => {
                self.bury(intent, reason);
            }
            (Then::Park, EffectOutcome::Unknown { reason }) => {
                let hold = Hold::Doubt { attempt: intent.attempt, reason, request: Box::new(intent.request) };
                self.push(Event::Parked(Parked { at: self.now, path: intent.path, key: intent.key, hold }));
            }
            (Then::GiveUp, EffectOutcome::Failed { class, message, .. }) => self.fail(intent.path, class, message),
            (Then::GiveUp, EffectOutcome::Unknown { reason }) => {
                let losses = self.state.leaves.get(&intent.path).map_or(0, |leaf| leaf.losses);
                let message = format!("given up after {losses} attempts that vanished; the last: {reason}");
                self.fail(intent.path, FailureClass::Poison, message);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether an attempt that vanishes now makes its effect poison.
    fn is_poison(&self, intent: &Intended, death: Option<&Death>, policy: PoisonPolicy) -> bool {
        let (losses, kills) = self.state.leaves.get(&intent.path).map_or((0, 0), |leaf| (leaf.losses, leaf.kills));
        let kills = kills + u32::from(death.is_some_and(|death| death.certain));
        policy.is_poison(kills, (losses + 1).saturating_sub(kills))
    }

    /// What follows from an outcome; `poison` is what becomes of the effect if it is poison by now.
    fn then(
        &self,
        intent: &Intended,
        outcome: &EffectOutcome,
        retry: RetryPolicy,
        poison: Option<poison::Then>,
    ) -> Then {
        let leaf = self.state.leaves.get(&intent.path);
        match (outcome, poison) {
            (EffectOutcome::Ok { .. }, _) => Then::Done,
            (EffectOutcome::Unknown { .. }, _) if !intent.class.may_repeat() => Then::Park,
            _ if self.state.end.is_some() => Then::GiveUp,
            (EffectOutcome::Unknown { .. }, Some(poison::Then::DeadLetter)) => Then::Park,
            (EffectOutcome::Unknown { .. }, Some(poison::Then::Fail)) => Then::GiveUp,
            (EffectOutcome::Unknown { .. }, None) => Then::Retry { at: self.now },
            (EffectOutcome::Failed { class, retry_after, .. }, _) => {
                let failures = leaf.map_or(0, |leaf| leaf.failures) + 1;
                match retry.decide(*class, failures, retry_after.map(Span::duration), self.chance) {
                    RetryDecision::After(delay) => Then::Retry { at: self.now.plus(delay) },
                    RetryDecision::GiveUp if intent.path.is_errand() => Then::Told,
                    RetryDecision::GiveUp => Then::GiveUp,
                }
            }
        }
    }

    /// Takes an effect out of circulation: its step is held, and it goes to the dead letters.
    fn bury(&mut self, intent: Intended, reason: String) {
        let Intended { key, path, attempt, class, request, .. } = intent;
        let id = LetterId::of_effect(key.as_str(), attempt);
        let deaths = self.state.leaves.get(&path).map_or_else(Vec::new, |leaf| leaf.deaths.clone());
        let in_doubt = !class.may_repeat();
        self.letters.push(letters::Event::Dead(Letter {
            id: id.clone(),
            at: self.now,
            kind: letters::Kind::Effect,
            stream: self.state.order.as_ref().map_or_else(String::new, |order| format!("run/{}", order.id)),
            what: path.to_string(),
            child: deaths.last().map_or_else(String::new, |death| death.child.clone()),
            in_doubt,
            content: letters::content(self.state.request(&key, &request).as_ref()),
            deaths: deaths.clone(),
        }));
        let hold = Hold::Poison { letter: id, attempt, reason, request: Box::new(request), deaths, in_doubt };
        self.push(Event::Parked(Parked { at: self.now, path, key, hold }));
    }

    /// The step and the effect that a letter holds.
    fn held_by(&self, letter: &LetterId) -> Result<(StepPath, EffectKey, bool), Refusal> {
        let held = self.state.parked().find(|(_, _, hold)| hold.letter() == Some(letter));
        held.map(|(path, key, hold)| (path.clone(), key.clone(), hold.is_doubtful()))
            .ok_or_else(|| Refusal::NoLetter(letter.clone()))
    }

    fn replay(&mut self, letter: LetterId, by: String) -> Result<(), Refusal> {
        let (path, key, is_doubtful) = self.held_by(&letter)?;
        if is_doubtful {
            return Err(Refusal::Doubtful(key));
        }
        self.letters.push(letters::Event::Replayed { id: letter, at: self.now, by: by.clone() });
        self.push(Event::Resumed(Resumed { at: self.now, path, by, settled: Settled::Again }));
        Ok(())
    }

    fn discard(&mut self, letter: &LetterId, by: String, reason: String) -> Result<(), Refusal> {
        let (path, ..) = self.held_by(letter)?;
        let (id, at) = (letter.clone(), self.now);
        let message = format!("the dead letter {letter} was discarded by {by}: {reason}");
        self.letters.push(letters::Event::Discarded { id, at, by: by.clone(), reason });
        self.push(Event::Resumed(Resumed { at, path: path.clone(), by, settled: Settled::Discarded }));
        self.fail(path, FailureClass::Poison, message);
        Ok(())
    }

    fn lost(&mut self, attempts: Vec<Attempt>, reason: &str, child: &str, poison: PoisonPolicy) -> Result<(), Refusal> {
        for of in attempts {
            let cost = self.state.open(&of).map_or(Money::ZERO, |intent| intent.reserved);
            self.outcome(Outcome {
                of,
                outcome: EffectOutcome::Unknown { reason: reason.to_owned() },
                cost,
                usage: Usage::default(),
                remote_id: None,
                took: Span::ZERO,
                // What vanished did not fail: it is tried again whatever the policy.
                retry: RetryPolicy::default(),
                // Nobody knows what ended whoever was at it.
                death: Some(Death::new(self.now, child, FailureClass::Shutdown, reason, false)),
                poison,
                replied: None,
            })?;
        }
        Ok(())
    }

    fn not_open(&self, of: Attempt) -> Refusal {
        let started = self.state.leaf_of(&of.key).is_some_and(|(_, leaf)| (1..=leaf.attempts).contains(&of.number));
        let Attempt { key, number } = of;
        if started { Refusal::Resolved { key, number } } else { Refusal::NeverStarted { key, number } }
    }

    /// Whether a "no" to the question at `path` ends the run.
    fn question(&self, path: &StepPath) -> Result<bool, Refusal> {
        match self.state.leaves.get(path).map(|leaf| &leaf.phase) {
            Some(Phase::Asked(question)) => Ok(question.no_ends),
            _ => Err(Refusal::NotAsked(path.clone())),
        }
    }

    /// The step of an effect in doubt, and the dead letter that it is.
    fn in_doubt(&self, key: &EffectKey) -> Result<(StepPath, Option<LetterId>), Refusal> {
        match self.state.parked().find(|(_, held, _)| *held == key) {
            Some((path, _, hold)) if hold.is_doubtful() => Ok((path.clone(), hold.letter().cloned())),
            _ => Err(Refusal::NotInDoubt(key.clone())),
        }
    }

    fn resume(&mut self, by: &str) {
        let held =
            self.state.leaves.iter().filter(|(_, leaf)| matches!(leaf.phase, Phase::Parked(Hold::Budget { .. })));
        let held: Vec<StepPath> = held.map(|(path, _)| path.clone()).collect();
        for path in held {
            self.push(Event::Resumed(Resumed { at: self.now, path, by: by.to_owned(), settled: Settled::Again }));
        }
    }

    fn reopen(&mut self, by: String) {
        let Some(End::Failed(Failed { path, .. })) = &self.state.end else { return };
        let cost_max = self.state.order.as_ref().and_then(|order| order.terms.cost_max);
        let (at, path, spent, ended) = (self.now, path.clone(), self.state.cost, self.state.ended);
        self.push(Event::Reopened(Reopened { at, path, by, spent, cost_max, ended }));
    }

    fn fail(&mut self, path: StepPath, class: FailureClass, message: String) {
        if self.state.end.is_none() {
            self.push(Event::Failed(Failed { at: self.now, path, class, message, refusal: None }));
        }
    }

    /// Takes the run as far as outcomes, approvals and grants allow.
    fn carry_on(&mut self, grants: &[Grant]) {
        for _ in 0..=STEPS_MAX {
            if !self.state.is_going() {
                return;
            }
            let next = match self.state.next() {
                Ok(next) => next,
                Err(EvalError { path, field, message }) => {
                    return self.fail(
                        path,
                        FailureClass::Rejected,
                        format!("{field}: {message}; mend the workflow or its inputs"),
                    );
                }
            };
            if let Some(outputs) = &next.finished {
                return self.push(Event::Finished(Finished { at: self.now, outputs: outputs.clone() }));
            }
            let questions: Vec<(StepPath, Approval)> = next
                .ready
                .iter()
                .filter_map(|step| match &*step.action {
                    Action::Approve(question) if !self.state.leaves.contains_key(&step.path) => {
                        Some((step.path.clone(), question.clone()))
                    }
                    _ => None,
                })
                .collect();
            if !self.ask(questions) {
                let due = self.state.due_of(&next, self.now);
                return self.start(due, grants);
            }
        }
    }

    /// Puts questions to a person, or answers them by policy; whether any of
    /// them has its answer now.
    fn ask(&mut self, questions: Vec<(StepPath, Approval)>) -> bool {
        use policies::approval::ApprovalPolicy;
        let approval = self.state.order.as_ref().map(|order| order.terms.approval).unwrap_or_default();
        let mut answered = false;
        for (path, Approval { what, on_reject, needs_person }) in questions {
            let automatic = approval == ApprovalPolicy::Automatic && !needs_person;
            answered |= automatic;
            let at = self.now;
            self.push(if automatic {
                Event::Approved(Approved { at, path, by: AUTOMATIC.to_owned() })
            } else {
                Event::ApprovalAsked(ApprovalAsked { at, path, what, no_ends: on_reject == OnReject::End })
            });
        }
        answered
    }

    /// Starts what is due and granted. What a budget refuses for good ends the run
    /// before anything else of it starts, or is parked; what it puts off is parked,
    /// for a person or until its window ends.
    fn start(&mut self, due: Vec<Due>, grants: &[Grant]) {
        let answers: BTreeMap<_, _> = grants.iter().map(|grant| ((&grant.path, grant.attempt), grant)).collect();
        let when_spent = self.state.order.as_ref().map(|order| order.terms.when_spent).unwrap_or_default();
        let answered = due.into_iter().filter_map(|due| {
            let grant = *answers.get(&(&due.path, due.attempt))?;
            Some((due, grant))
        });
        let answered: Vec<(Due, &Grant)> = answered.collect();
        let refused = answered.iter().find_map(|(due, grant)| match &grant.answer {
            Answer::Refused(refusal) if refusal.is_final() => Some((due.path.clone(), refusal.clone())),
            Answer::Refused(_) | Answer::Reserved { .. } => None,
        });
        if let (WhenSpent::Fail, Some((path, refusal))) = (when_spent, refused) {
            let message = refusal.to_string();
            let class = FailureClass::BudgetSpent;
            return self.push(Event::Failed(Failed { at: self.now, path, class, message, refusal: Some(refusal) }));
        }
        for (due, grant) in answered {
            match &grant.answer {
                Answer::Refused(refusal) => {
                    let Due { key, path, .. } = due;
                    let hold = Hold::Budget { refusal: refusal.clone() };
                    self.push(Event::Parked(Parked { at: self.now, path, key, hold }));
                }
                Answer::Reserved { amount, scopes, at, condition } => {
                    let granted = at.filter(|at| *at != self.now);
                    self.intend(due, *amount, (scopes, granted), grant);
                    let fresh = condition.iter().filter(|condition| !self.preconditions.contains(condition));
                    let fresh: Vec<_> = fresh.cloned().collect();
                    self.preconditions.extend(fresh);
                }
            }
        }
    }

    fn intend(&mut self, due: Due, reserved: Money, (scopes, granted): (&[ScopeId], Option<Timestamp>), grant: &Grant) {
        let Due { key, path, attempt, class, action, hash, .. } = due;
        self.push(Event::Intended(Arc::new(Intended {
            at: self.now,
            key,
            path,
            attempt,
            class,
            request_hash: hash.to_string(),
            request: action.unsaid(),
            reserved,
            scopes: scopes.to_vec(),
            granted,
            stand_in: grant.stand_in.clone(),
            choice: grant.choice.clone(),
            call: grant.call.clone(),
        })));
    }
}
