//! Following the talk of an agent step: model, tools, model, until it has its answer.
//!
//! Invariant: as for the whole walk, what comes next follows from the recorded outcomes alone. The first
//! turn is the step's own leaf, so that a step without tools is what it always was; each later turn and
//! each thing that a turn asks for is a leaf of its own, and those of one turn are ready side by side.

use std::sync::Arc;

use policies::history::HistoryPolicy;
use serde_json::{Value, json};

use super::action::{Action, AgentCall, Approval, score};
use super::advance::{EvalError, STEPS_MAX, Walk, fault};
use super::definition::OnReject;
use super::history::History;
use super::path::StepPath;
use super::talk::{Asked, Breach, ERROR, Errand, Judge, OnBreach, Side, TURN, TURNS_MAX, Talk, Turn};
use crate::model::{Message, Part, Role, ToolResult};
use crate::tool::apart;

/// What is asked for a talk's first turn.
type FirstCall<'f> = dyn Fn(&str) -> Result<AgentCall, EvalError> + 'f;

/// What comes after a turn.
enum After {
    /// It waits for what it asked for.
    Waits,
    /// The talk has its answer.
    Stands,
    /// The talk goes on, with this said.
    Goes(Vec<Message>),
}

impl Walk<'_> {
    /// The output of a talk at `path`, once it has one.
    pub(super) fn talk(&mut self, path: &StepPath, first: &FirstCall<'_>) -> Result<Option<Arc<Value>>, EvalError> {
        let (mut talk, mut history) = (Talk::default(), History::default());
        for number in 1..=TURNS_MAX + 1 {
            let at = path.turn(number);
            let call = |run: &str| {
                let call = first(run)?;
                let Talk { limits, depth, askers, let_in, .. } = *call.talk;
                let let_in = let_in || talk.let_in;
                let talk = Box::new(Talk { limits, depth, askers, let_in, ..talk.clone() });
                Ok(history.before(AgentCall { talk, ..call }))
            };
            let Some(output) = self.outcome(&at, call)? else { return Ok(None) };
            let turn = Turn::of(&output).map_err(|message| fault(&at, "outcome", message))?;
            let Some(turn) = turn else { return Ok(Some(output)) };
            self.count(&at, turn.calls.len() + turn.judges.len())?;
            talk.with = turn.with.clone().or(talk.with);
            match self.after(path, number, &turn, &mut talk)? {
                After::Waits => return Ok(None),
                After::Stands => return Ok(Some(output)),
                After::Goes(said) => history.add(said),
            }
            if let Some(policy) = &turn.history
                && !self.fits(path, number, policy, first, &mut history)?
            {
                return Ok(None);
            }
            talk.turns = number;
        }
        Err(fault(path, "turns", format!("the talk comes to more than {TURNS_MAX} turns")))
    }

    /// Cuts what is heard of a talk after a turn down to its limit; false while a summary is awaited. One
    /// that failed has the turns go without.
    fn fits(
        &mut self,
        path: &StepPath,
        number: u32,
        policy: &HistoryPolicy,
        first: &FirstCall<'_>,
        history: &mut History,
    ) -> Result<bool, EvalError> {
        if let Some(turns) = history.excess(policy) {
            let at = path.summary(number);
            self.count(&at, 0)?;
            let call = |run: &str| Ok(Action::Agent(history.summing_up(policy, turns, &first(run)?)));
            let Some(output) = self.outcome(&at, call)? else { return Ok(false) };
            let summary = output.get("text").and_then(Value::as_str).map(str::trim).unwrap_or_default();
            if !summary.is_empty() {
                history.sum_up(policy, turns, summary);
            }
        }
        history.trim(policy);
        Ok(true)
    }

    /// Counts what a turn comes to among the run's steps.
    fn count(&mut self, at: &StepPath, parts: usize) -> Result<(), EvalError> {
        self.visited += 1 + parts;
        if self.visited > STEPS_MAX {
            return Err(fault(at, "steps", format!("the run comes to more than {STEPS_MAX} steps")));
        }
        Ok(())
    }

    fn after(&mut self, path: &StepPath, number: u32, turn: &Turn, talk: &mut Talk) -> Result<After, EvalError> {
        let breach = match &turn.breach {
            Some(breach) => Some(breach.clone()),
            None if turn.judges.is_empty() => None,
            None => match self.judged(path, number, &turn.judges)? {
                None => return Ok(After::Waits),
                Some(None) => return Ok(passed(turn, talk)),
                Some(Some(breach)) => Some(breach),
            },
        };
        match breach {
            Some(breach) => self.breached(path, number, turn, talk, &breach),
            None => self.errands(path, number, turn),
        }
    }

    /// What the judges of a turn say; nothing while one of them has yet to.
    fn judged(&mut self, path: &StepPath, number: u32, judges: &[Judge]) -> Result<Option<Option<Breach>>, EvalError> {
        let mut outputs = Vec::new();
        for (index, judge) in judges.iter().enumerate() {
            let at = path.guardrail(number, Some(index));
            outputs.push(self.talk(&at, &|_| Ok(judge.call.clone()))?);
        }
        let mut breach = None;
        for (judge, output) in judges.iter().zip(outputs) {
            let Some(output) = output else { return Ok(None) };
            breach = breach.or_else(|| verdict(judge, &output));
        }
        Ok(Some(breach))
    }

    fn breached(
        &mut self,
        path: &StepPath,
        number: u32,
        turn: &Turn,
        talk: &mut Talk,
        breach: &Breach,
    ) -> Result<After, EvalError> {
        let told = format!("the guardrail `{}`: {}", breach.guard, breach.reason);
        match breach.then {
            OnBreach::Fail => Err(fault(&path.turn(number), "guard", format!("breaks {told}"))),
            OnBreach::Retry => {
                talk.breaches += 1;
                let again = format!("That answer breaks {told}\nAnswer again, and keep to it.");
                Ok(After::Goes(vec![Message::of(Role::Assistant, turn.content.clone()), Message::user(again)]))
            }
            OnBreach::Park => {
                let what = format!("{path} breaks {told} Let it pass?");
                let question = Approval { what, on_reject: OnReject::End, needs_person: true };
                let answer = self.outcome(&path.guardrail(number, None), |_| Ok(Action::Approve(question)))?;
                Ok(answer.map_or(After::Waits, |_| passed(turn, talk)))
            }
        }
    }

    /// What a turn asked for: all side by side, and the model hears of all at once.
    fn errands(&mut self, path: &StepPath, number: u32, turn: &Turn) -> Result<After, EvalError> {
        let mut results = Vec::new();
        for (index, Asked { id, errand }) in turn.calls.iter().enumerate() {
            let at = path.errand(number, index);
            let output = match errand {
                Errand::Refused { reason } => Some(Arc::new(json!({ ERROR: reason }))),
                Errand::Tool(call) => self.outcome(&at, |_| Ok(Action::Tool(call.clone())))?,
                Errand::Agent(call) => self.talk(&at, &|_| Ok((**call).clone()))?,
            };
            results.extend(output.map(|output| result(id, &output)));
        }
        if results.len() < turn.calls.len() {
            return Ok(After::Waits);
        }
        let said = Message::of(Role::Assistant, turn.content.clone());
        // A turn that its provider paused asks for nothing, and goes on when it hears itself.
        let answers = (!results.is_empty()).then(|| Message::results(results));
        Ok(After::Goes(std::iter::once(said).chain(answers).collect()))
    }
}

/// What follows when the guardrails, or a person, let a text pass.
fn passed(turn: &Turn, talk: &mut Talk) -> After {
    match turn.side {
        Side::Output => After::Stands,
        Side::Input => {
            talk.let_in = true;
            After::Goes(Vec::new())
        }
    }
}

/// What the model hears of what it asked for.
fn result(id: &str, output: &Value) -> ToolResult {
    if let Some(error) = output.get(ERROR) {
        return ToolResult::error(id, error.as_str().map_or_else(|| error.to_string(), str::to_owned));
    }
    if let Some((pictures, rest)) = apart(output) {
        let mut told = result(id, &Value::Object(rest));
        told.content.extend(pictures.into_iter().map(Part::Image));
        return told;
    }
    let is_text = output.as_object().is_some_and(|fields| fields.keys().all(|key| key == "text" || key == TURN));
    let text = output.as_str().or_else(|| output.get("text").filter(|_| is_text)?.as_str());
    ToolResult::text(id, text.map_or_else(|| output.to_string(), |text| text.trim().to_owned()))
}

/// Whether a judge finds that a text may not stand. One that gives no score finds so.
fn verdict(judge: &Judge, output: &Value) -> Option<Breach> {
    let text = output.get("text").and_then(Value::as_str).unwrap_or_default();
    let said = text.strip_prefix(judge.call.prefill.as_deref().unwrap_or_default()).unwrap_or(text);
    let given = score(said);
    if given.is_some_and(|given| given >= judge.score_min) {
        return None;
    }
    let given = given.map_or_else(|| "no score".to_owned(), |given| format!("{given} of 10"));
    let reason = format!("`{}` gives it {given}, and {} is the least.", judge.call.agent, judge.score_min);
    Some(Breach { guard: judge.guard.clone(), reason, then: judge.then })
}
