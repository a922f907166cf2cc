//! Before an intent: a place with the guard, then the ledger's grant. Invariant:
//! what is prepared here either goes into an intent or gives itself back.

use std::time::Duration;

use actors::guard::{Guard, Permit, Refused};
use policies::money::Money;
use policies::span::Span;
use storage::journal::{StreamId, Version};
use supervisor::Gate;

use super::host::Conductor;
use crate::front::FrontError;
use crate::ledger::{HoldId, LedgerHandle, Reserve, ReserveError};
use crate::run::{Act, Answer, Attempt, Command, Due, Grant, Run, RunId, State};
use crate::workflow::Action;

/// How long is waited when a guard or the ledger cannot say when to come back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What was gathered for one attempt.
pub(super) struct Prepared {
    pub(super) permit: Permit,
    hold: Option<Hold>,
    /// Why the attempt fails at once, though it has its place.
    pub(super) fault: Option<String>,
}

impl Prepared {
    fn new(permit: Permit) -> Self {
        Self { permit, hold: None, fault: None }
    }

    /// The intent is durable: from here on the journal stands for the hold.
    pub(super) fn intended(mut self) -> (Permit, Option<String>) {
        if let Some(hold) = self.hold.take() {
            hold.keep();
        }
        (self.permit, self.fault)
    }
}

/// A hold of the ledger, released unless it is kept.
struct Hold {
    ledger: LedgerHandle,
    id: Option<HoldId>,
}

impl Hold {
    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.ledger.release(id);
        }
    }
}

/// What the ledger is asked for an attempt.
enum Worst {
    /// It costs nothing.
    Free,
    /// So much at most, by a model call of this agent.
    AtMost { agent: String, amount: Money },
    /// It cannot be made.
    Fault(String),
}

impl Conductor {
    /// The grants for all that would become due with the command and can start
    /// at once. What gets none stays due.
    pub(super) async fn gather(&self, state: &State, command: &Command) -> Vec<Grant> {
        let run = match (&state.order, &command.act) {
            (Some(order), _) => order.id.clone(),
            (None, Act::Accept(order)) => order.id.clone(),
            (None, _) => return Vec::new(),
        };
        if let Act::Accept(order) = &command.act
            && let Some(limit) = order.terms.cost_max
        {
            // Its first intents are in the batch that tells the ledger of it.
            self.stage.ledger.limit_run(run.as_str(), limit);
        }
        let account = self.reopen_account(&run, state, command).await;
        let mut grants = Vec::new();
        for due in Run::after(state, command) {
            if self.closed(&due.action).is_some() {
                self.wait_for_place(due, Duration::ZERO);
                continue;
            }
            if account.is_err() {
                self.wait_for_place(due, LOOK_AGAIN);
                continue;
            }
            let attempt = Attempt { key: due.key.clone(), number: due.attempt };
            let prepared = match self.take(&attempt) {
                Some(prepared) => Some(prepared),
                None => self.guard(&due.action).try_admit().map(Prepared::new),
            };
            let Some(prepared) = prepared else {
                self.wait_for_place(due, Duration::ZERO);
                continue;
            };
            let Some((answer, prepared)) = self.grant(run.as_str(), &due, prepared).await else {
                self.wait_for_place(due, LOOK_AGAIN);
                continue;
            };
            if let Some(prepared) = prepared {
                self.keep(attempt, prepared);
            }
            grants.push(Grant { path: due.path, attempt: due.attempt, answer });
        }
        grants
    }

    /// Has the ledger take up the account of a failed run that is told to go on.
    async fn reopen_account(&self, run: &RunId, state: &State, command: &Command) -> Result<(), FrontError> {
        match (&command.act, &state.order) {
            (Act::Resume { .. }, Some(order)) if state.has_failed() => {
                self.stage.ledger.reopen_run(run.as_str(), order.terms.cost_max, state.cost).await
            }
            _ => Ok(()),
        }
    }

    /// The ledger's answer for one attempt; nothing when it gives none now.
    async fn grant(&self, run: &str, due: &Due, mut prepared: Prepared) -> Option<(Answer, Option<Prepared>)> {
        let free = |condition| Answer::Reserved { amount: Money::ZERO, scopes: Vec::new(), condition };
        let (agent, amount) = match self.worst(&due.action) {
            Worst::Free => return Some((free(None), Some(prepared))),
            Worst::Fault(fault) => {
                prepared.fault = Some(fault);
                return Some((free(None), Some(prepared)));
            }
            Worst::AtMost { agent, amount } => (agent, amount),
        };
        let hold = HoldId { key: due.key.as_str().to_owned(), attempt: due.attempt };
        let scopes = self.stage.scopes(run, &agent);
        let reserve = Reserve { hold: hold.clone(), scopes: scopes.clone(), amount };
        match self.stage.ledger.reserve(reserve).await {
            Ok(grant) => {
                prepared.hold = Some(Hold { ledger: self.stage.ledger.clone(), id: Some(hold) });
                let condition: Option<(StreamId, Version)> = Some((grant.stream, grant.generation));
                Some((Answer::Reserved { amount: grant.reserved, scopes, condition }, Some(prepared)))
            }
            Err(ReserveError::Refused(refusal)) => Some((Answer::Refused(refusal), None)),
            Err(error @ ReserveError::Unanswered(_)) => {
                tracing::warn!(run, %error, "a step waits for the ledger");
                None
            }
        }
    }

    /// The worst case of an action.
    fn worst(&self, action: &Action) -> Worst {
        let Action::Agent(call) = action else { return Worst::Free };
        let Some(agent) = self.stage.agents.get(&call.agent) else {
            return Worst::Fault(format!("there is no agent `{}`; name one of the tree's", call.agent));
        };
        let spec = agent.spec();
        let request = spec.request(call);
        let input = spec.model.count(&request);
        let cpu_max = Span::from(spec.timeout);
        match self.stage.prices.worst_case(spec.model.price_key(), input, request.output_max, cpu_max) {
            Ok(amount) => Worst::AtMost { agent: call.agent.clone(), amount },
            Err(error) => Worst::Fault(error.to_string()),
        }
    }

    /// A gate that an operator has closed in front of an action: the run's own, or that of who carries it out.
    fn closed(&self, action: &Action) -> Option<Gate> {
        let gates = std::iter::once(self.gate.clone()).chain(self.stage.gates(action));
        gates.into_iter().find(|gate| !gate.is_open())
    }

    /// The guard around an action.
    pub(super) fn guard(&self, action: &Action) -> Guard {
        self.stage.guard(action)
    }

    /// Waits, in a task, until the guard lets a due attempt pass, but for `rest`
    /// at least, and has the run start it then. An open breaker or a closed gate pauses the step;
    /// it fails nothing.
    pub(super) fn wait_for_place(&self, due: Due, rest: Duration) {
        let attempt = Attempt { key: due.key.clone(), number: due.attempt };
        let Some(context) = self.context() else { return };
        if !self.begin_waiting(&attempt) {
            return;
        }
        let (this, host) = (self.clone(), context.clone());
        self.task(&context, "run.wait", async move {
            tokio::time::sleep(rest).await;
            while let Some(gate) = this.closed(&due.action) {
                gate.opened().await;
            }
            let permit = this.place(&due.action).await;
            this.keep(attempt.clone(), Prepared::new(permit));
            this.end_waiting(&attempt);
            this.tell(&host, Act::StartReady).await;
            // Something else may have started it meanwhile; then this place goes back.
            drop(this.take(&attempt));
        });
    }

    /// A place with the guard, however long it takes.
    pub(super) async fn place(&self, action: &Action) -> Permit {
        let guard = self.guard(action);
        loop {
            let deadline = tokio::time::Instant::now() + guard.policy().deadline.duration();
            match guard.admit(deadline).await {
                Ok(permit) => return permit,
                Err(Refused::Open(wait)) => tokio::time::sleep(wait.unwrap_or(LOOK_AGAIN)).await,
                Err(Refused::Deadline(_)) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}
