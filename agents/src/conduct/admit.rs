//! Before an intent: a place with the guard and one in the mailbox, then the ledger's grant. Invariant:
//! what is prepared here either goes into an intent or gives itself back.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::guard::{Guard, Permit, Refused};
use actors::mailbox::Credit;
use policies::budget::{self, AtEnd, Refusal, ScopeId};
use policies::fallback::Outage;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::priority::{Priority, Rank};
use storage::journal::{StreamId, Version};
use supervisor::Gate;
use tokio::time::Instant;

use super::casting::{Cast, Casting};
use super::host::Conductor;
use super::limits;
use crate::front::FrontError;
use crate::ledger::{Granted, HoldId, LedgerHandle, Reserve, ReserveError, Stood};
use crate::run::{Act, Answer, Attempt, Command, Due, Failures, Grant, ModelCall, Run, RunId, State};
use crate::workflow::Action;

/// How long is waited when a guard or the ledger cannot say when to come back, and the longest between
/// two looks at who could stand in.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait for a breaker before it is looked who could carry the step out: the policies may
/// have changed meanwhile.
const RECAST_AFTER: Duration = Duration::from_secs(10);
/// Before the next is asked of a chain whose breaker opened on the way to it.
const ASK_NEXT: Duration = Duration::from_millis(10);

/// What was gathered for one attempt.
pub(super) struct Prepared {
    admitted: Admitted,
    cast: Cast,
    hold: Option<Hold>,
    /// Which model is called, where one is.
    call: Option<ModelCall>,
    /// Why the attempt fails at once, though it has its place.
    fault: Option<String>,
}

/// The places of an attempt, and its time.
pub(super) struct Admitted {
    /// With the guard.
    pub(super) permit: Permit,
    /// In the mailbox of whoever carries it out.
    pub(super) place: Credit,
    /// When a call has to have ended for the sake of its step.
    pub(super) until: Option<Instant>,
}

impl Prepared {
    fn new(permit: Permit, place: Credit, cast: Cast) -> Self {
        Self { admitted: Admitted { permit, place, until: None }, cast, hold: None, call: None, fault: None }
    }

    /// The intent is durable: from here on the journal stands for the hold.
    pub(super) fn intended(mut self) -> (Admitted, Cast, Option<String>) {
        if let Some(hold) = self.hold.take() {
            hold.keep();
        }
        (self.admitted, self.cast, self.fault)
    }

    /// Whether it is done for one that may yet act itself: then a budget that does not cover it fails
    /// nothing.
    fn may_wait(&self) -> bool {
        self.cast.because.as_ref().is_some_and(Outage::passes)
    }
}

/// The run that pays, with what the ledger has to know of it: which of its generations is asked shows only in the
/// answer.
struct Payer {
    run: RunId,
    /// The most that it may spend, if it has a limit of its own.
    cost_max: Option<Money>,
    /// Where it stood, if it had failed and is told to go on.
    stood: Option<Stood>,
}

impl Payer {
    fn of(state: &State, command: &Command) -> Option<Self> {
        let (run, cost_max) = match (&state.order, &command.act) {
            (Some(order), _) => (order.id.clone(), order.terms.cost_max),
            (None, Act::Accept(order)) => (order.id.clone(), order.terms.cost_max),
            (None, _) => return None,
        };
        let goes_on = matches!(command.act, Act::Resume { .. }) && state.has_failed();
        let stood = goes_on.then_some(Stood { limit: cost_max, spent: state.cost, ended: state.ended });
        Some(Self { run, cost_max, stood })
    }
}

/// What came of asking for one attempt.
enum Granting {
    /// The ledger has answered; what was prepared goes with a yes.
    Answered(Answer, Option<Box<Prepared>>),
    /// No budget covers this one, which is not the first of its chain: the next may be asked.
    TooDear(Box<Cast>, ScopeId),
    /// A budget that does not cover this one wants the one at this place of its chain asked instead.
    Cheaper(Box<Cast>, usize, ScopeId),
    /// The ledger gives no answer now.
    Unanswered,
}

/// A hold of the ledger, released unless it is kept.
struct Hold {
    ledger: LedgerHandle,
    granted: Option<Granted>,
}

impl Hold {
    fn keep(mut self) {
        self.granted = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(granted) = self.granted.take() {
            self.ledger.release(granted);
        }
    }
}

/// What the ledger is asked for an attempt.
enum Worst {
    /// It costs nothing.
    Free,
    /// So much at most, by this call.
    AtMost { call: ModelCall, amount: Money },
    /// It cannot be made.
    Fault(String),
}

impl Conductor {
    /// The grants for all that would become due with the command and can start
    /// at once. What gets none stays due.
    pub(super) async fn gather(&self, state: &State, command: &Command) -> Vec<Grant> {
        let Some(payer) = Payer::of(state, command) else { return Vec::new() };
        let account = self.reopen_account(&payer).await;
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
            match self.ask(&payer, &due, &grants, command.now).await {
                Ok(grant) => grants.push(grant),
                Err(rest) => self.wait_for_place(due, rest),
            }
        }
        grants
    }

    /// The grant for one attempt, by the first of its chain that has a place and that a budget covers;
    /// else how long to rest before a place is waited for.
    async fn ask(&self, payer: &Payer, due: &Due, beside: &[Grant], now: Timestamp) -> Result<Grant, Duration> {
        let attempt = Attempt { key: due.key.clone(), number: due.attempt };
        let mut prepared =
            self.take(&attempt).or_else(|| self.at_once(due, self.stage.cast(&due.action, &due.failures)));
        // Each round asks one that is further down a chain, which has an end.
        while let Some(asked) = prepared.take() {
            let (stand_in, choice) = (asked.cast.stand_in.clone(), asked.cast.choice.clone());
            match self.grant(payer, due, beside, asked, now).await {
                Granting::Cheaper(cast, place, scope) => {
                    let cheaper = self.stage.cast_at(&cast, &due.failures, place, scope);
                    prepared = cheaper.and_then(|cast| self.at_once(due, Casting::Take(Box::new(cast))));
                }
                Granting::Answered(answer, kept) => {
                    let call = kept.as_ref().and_then(|kept| kept.call.clone());
                    if let Some(kept) = kept {
                        self.keep(attempt.clone(), *kept);
                    }
                    return Ok(Grant { path: due.path.clone(), attempt: due.attempt, answer, stand_in, choice, call });
                }
                Granting::TooDear(cast, scope) => {
                    prepared = self.at_once(due, self.stage.cast_after(&cast, &due.failures, scope));
                }
                Granting::Unanswered => {}
            }
            if prepared.is_none() {
                return Err(LOOK_AGAIN);
            }
        }
        Err(Duration::ZERO)
    }

    /// Whoever is cast, if there is a place with it at once.
    fn at_once(&self, due: &Due, casting: Casting) -> Option<Prepared> {
        let Casting::Take(cast) = casting else { return None };
        if cast.line.shared().short_for(|| self.stage.need(&due.action, &cast)).is_some() {
            return None;
        }
        let place = self.stage.entrance(&due.action, &cast).try_enter().ok()?;
        let rank = Rank::of(due.priority, self.stage.spine.world.elapsed());
        cast.line.try_admit_as(rank).map(|permit| Prepared::new(permit, place, *cast))
    }

    /// Has the ledger take up the account of a failed run that is told to go on.
    async fn reopen_account(&self, payer: &Payer) -> Result<(), FrontError> {
        match payer.stood {
            Some(stood) => self.stage.ledger.reopen_run(payer.run.as_str(), stood).await,
            None => Ok(()),
        }
    }

    /// The ledger's answer for one attempt.
    async fn grant(
        &self,
        payer: &Payer,
        due: &Due,
        beside: &[Grant],
        mut prepared: Prepared,
        now: Timestamp,
    ) -> Granting {
        let run = payer.run.as_str();
        let free = Answer::Reserved { amount: Money::ZERO, scopes: Vec::new(), at: None, condition: None };
        let (call, amount) = match self.worst(&due.action, &prepared.cast) {
            Worst::Free => return Granting::Answered(free, Some(Box::new(prepared))),
            Worst::Fault(fault) => {
                prepared.fault = Some(fault);
                return Granting::Answered(free, Some(Box::new(prepared)));
            }
            Worst::AtMost { call, amount } => (call, amount),
        };
        if let Err(fault) = limits::allow(due, beside, (&call, amount), now) {
            prepared.fault = Some(fault);
            return Granting::Answered(free, Some(Box::new(prepared)));
        }
        prepared.admitted.until = limits::time_left(due, now).and_then(|left| Instant::now().checked_add(left));
        let hold = HoldId { key: due.key.shared(), attempt: due.attempt };
        let scopes = self.stage.scopes(run, &call.agent, askers(&due.action));
        prepared.call = Some(call);
        let Payer { cost_max, stood, .. } = *payer;
        let reserve = Reserve { hold, scopes: scopes.clone(), amount, now, cost_max, stood };
        match self.stage.ledger.reserve(reserve).await {
            Ok(grant) => {
                prepared.hold = Some(Hold { ledger: self.stage.ledger.clone(), granted: Some(grant.granted()) });
                let condition: Option<(StreamId, Version)> = Some((grant.stream, grant.generation));
                let (amount, at) = (grant.reserved, Some(grant.at));
                Granting::Answered(Answer::Reserved { amount, scopes, at, condition }, Some(Box::new(prepared)))
            }
            Err(ReserveError::Refused(refusal)) => self.not_granted(run, due, &prepared, refusal),
            Err(error @ ReserveError::Unanswered(_)) => {
                tracing::warn!(run, %error, "a step waits for the ledger");
                Granting::Unanswered
            }
        }
    }

    /// What follows when no budget covers this one.
    fn not_granted(&self, run: &str, due: &Due, prepared: &Prepared, refusal: Refusal) -> Granting {
        let cast = || Box::new(prepared.cast.clone());
        let worst = || self.stage.worst_of_chain(&prepared.cast, &due.action, &due.failures);
        if refusal.then == AtEnd::Downgrade
            && let Some(next) = budget::downgrade(&refusal, prepared.cast.place, &worst())
        {
            tracing::info!(run, %refusal, "a cheaper model is asked");
            return Granting::Cheaper(cast(), next, refusal.scope);
        }
        if prepared.may_wait() {
            tracing::info!(run, %refusal, "who could do it now is too dear, so the step waits");
            return Granting::TooDear(cast(), refusal.scope);
        }
        Granting::Answered(Answer::Refused(refusal), None)
    }

    /// The worst case of an action, by the model that will be used.
    fn worst(&self, action: &Action, cast: &Cast) -> Worst {
        let Action::Agent(call) = action else { return Worst::Free };
        let Some(speaker) = &cast.speaker else {
            return Worst::Fault(format!("there is no agent `{}`; name one of the tree's", call.agent));
        };
        if let Some(never) = &cast.never {
            return Worst::Fault(never.clone());
        }
        match self.stage.worst_of(call, speaker) {
            Ok((call, amount)) => Worst::AtMost { call, amount },
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
            let prepared = this.prepared(&due).await;
            this.keep(attempt.clone(), prepared);
            this.end_waiting(&attempt);
            this.tell(&host, Act::StartReady).await;
            // Something else may have started it meanwhile; then this place goes back.
            drop(this.take(&attempt));
        });
    }

    /// A place with the guard and one in the mailbox, however long it takes. Whoever waits for the guard
    /// takes no place of the mailbox meanwhile.
    async fn prepared(&self, due: &Due) -> Prepared {
        loop {
            let (permit, cast) = self.place(&due.action, &due.failures, due.priority).await;
            match self.stage.entrance(&due.action, &cast).enter().await {
                Ok(place) => return Prepared::new(permit, place, cast),
                Err(_) => drop(permit),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A place in the mailbox, however long it takes.
    pub(super) async fn entered(&self, action: &Action, cast: &Cast) -> Credit {
        loop {
            match self.stage.entrance(action, cast).enter().await {
                Ok(place) => return place,
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// A place with whoever can carry out an action that has failed so often, however long it takes.
    pub(super) async fn place(&self, action: &Action, failures: &Failures, priority: Priority) -> (Permit, Cast) {
        // However often it is tried anew, it waits since now.
        let rank = Rank::of(priority, self.stage.spine.world.elapsed());
        // Until when what each guard's other side says is left is heeded.
        let mut heeded: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let cast = match self.stage.cast(action, failures) {
                Casting::Take(cast) => *cast,
                Casting::Wait(wait) => {
                    tokio::time::sleep(wait.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)).await;
                    continue;
                }
            };
            if let Some(wait) = cast.line.shared().short_for(|| self.stage.need(action, &cast)) {
                // Each answer to a smaller call puts the moment off at which all is there again. The first that
                // was heard counts, or a large call would wait for as long as small ones are made.
                let until = heeded.entry(cast.line.shared().name().to_owned());
                let until = *until.or_insert_with(|| Instant::now() + wait);
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    // A newer word may tell that there is enough again, or who could stand in.
                    tokio::time::sleep(left.min(wait).min(RECAST_AFTER)).await;
                    continue;
                }
            }
            let deadline = Instant::now() + cast.line.shared().policy().deadline.duration();
            match cast.line.admit_as(rank, deadline).await {
                Ok(permit) if self.is_still(&cast, action, failures) => return (permit, cast),
                // The one that is named can act again, which may take its own place then.
                Ok(_) => {}
                Err(Refused::Open(_)) if self.stage.has_others(action) => tokio::time::sleep(ASK_NEXT).await,
                Err(Refused::Open(wait)) => tokio::time::sleep(wait.unwrap_or(LOOK_AGAIN).min(RECAST_AFTER)).await,
                Err(Refused::Deadline(_)) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Whether who is not the first is needed still, after it had to wait for its place.
    fn is_still(&self, cast: &Cast, action: &Action, failures: &Failures) -> bool {
        let is_back = || match self.stage.cast(action, failures) {
            Casting::Take(now) => now.because.is_none(),
            Casting::Wait(_) => false,
        };
        cast.because.is_none() || !is_back()
    }
}

/// Those for whose sake an action is asked for, beside its own agent.
fn askers(action: &Action) -> &[String] {
    if let Action::Agent(call) = action { &call.talk.askers } else { &[] }
}
