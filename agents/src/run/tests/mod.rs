//! Runs carried out by hand: a host whose ledger grants everything, and whose
//! journal is a list.

mod deciding;
mod laws;
mod poison;

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::letters::Death;
use policies::budget::{Refusal as BudgetRefusal, ScopeId};
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::poison::PoisonPolicy;
use policies::retry::RetryPolicy;
use policies::span::Span;
use policies::tokens::Usage;
use serde_json::{Value, json};

use super::*;
use crate::workflow::{self, Action, EffectClass, Known, Workflow, canonical};

/// What each attempt is granted and costs here.
const PRICE: Money = Money::from_nanos(10);

/// A host without a world.
#[derive(Clone)]
struct Host {
    state: State,
    /// The events of each append.
    appends: Vec<Vec<Event>>,
    now: i64,
    /// Whether the ledger answers; if not, nothing starts.
    grants: bool,
    refusal: Option<BudgetRefusal>,
    retry: RetryPolicy,
    poison: PoisonPolicy,
    /// What went to the dead letters, or came from there.
    letters: Vec<letters::Event>,
}

impl Host {
    fn new() -> Self {
        let (retry, poison) = (RetryPolicy::default(), PoisonPolicy::default());
        let (state, appends, letters) = (State::default(), Vec::new(), Vec::new());
        Self { state, appends, now: 0, grants: true, refusal: None, retry, poison, letters }
    }

    fn accepted(workflow: &Arc<Workflow>, terms: Terms) -> Self {
        let mut host = Self::new();
        host.tell(Act::Accept(order(workflow, terms))).unwrap();
        host
    }

    /// Has a command prepared, decided, written, read back and folded.
    fn tell(&mut self, act: Act) -> Result<Reply, Refusal> {
        self.now += 1_000_000;
        let mut command = Command { now: Timestamp::from_micros(self.now), ..Command::new(act) };
        if self.grants {
            let answer = match &self.refusal {
                Some(refusal) => Answer::Refused(refusal.clone()),
                None => Answer::Reserved {
                    amount: PRICE,
                    scopes: vec![ScopeId::Run("r".to_owned())],
                    at: None,
                    condition: None,
                },
            };
            let due = Run::after(&self.state, &command);
            let grant = |due: Due| Grant {
                path: due.path,
                attempt: due.attempt,
                answer: answer.clone(),
                stand_in: None,
                choice: None,
                call: None,
            };
            command.grants = due.into_iter().map(grant).collect();
        }
        let decision = Run::decide(&self.state, command)?;
        for event in &decision.events {
            let stored = serde_json::to_vec(event).unwrap();
            let gist = gist::Gist::read(event.kind(), Run::SCHEMA, &stored).unwrap();
            assert_eq!(gist, gist::Gist::from(event));
            assert!(gist::Gist::read(event.kind(), Run::SCHEMA + 1, &stored).is_err());
            let event = Run::decode(event.kind(), Run::SCHEMA, &stored).unwrap();
            Run::evolve(&mut self.state, &event);
        }
        assert!(decision.beside.is_empty() || !decision.events.is_empty(), "it would not be written");
        for beside in decision.beside {
            assert_eq!(beside.stream.as_str(), letters::STREAM);
            let event: letters::Event = serde_json::from_value(beside.payload).unwrap();
            assert_eq!(event.kind(), beside.kind);
            self.letters.push(event);
        }
        if !decision.events.is_empty() {
            self.appends.push(decision.events);
        }
        Ok(decision.reply)
    }

    fn open(&self) -> Vec<Intended> {
        self.state.open_intents().cloned().collect()
    }

    fn resolve(&mut self, intent: &Intended, outcome: EffectOutcome) -> Result<Reply, Refusal> {
        self.end(intent, outcome, None)
    }

    /// The attempt kills whoever is at it, or vanishes with them.
    fn kill(&mut self, intent: &Intended, certain: bool) -> Result<Reply, Refusal> {
        let death = Death::new(Timestamp::from_micros(self.now), "writer", FailureClass::Bug, "it panicked", certain);
        self.end(intent, EffectOutcome::Unknown { reason: "it panicked".to_owned() }, Some(death))
    }

    fn lose(&mut self, attempts: Vec<Attempt>) -> Result<Reply, Refusal> {
        let (reason, child) = ("crash".to_owned(), "run/r".to_owned());
        self.tell(Act::Lost { attempts, reason, child, poison: self.poison })
    }

    fn end(&mut self, intent: &Intended, outcome: EffectOutcome, death: Option<Death>) -> Result<Reply, Refusal> {
        self.tell(Act::Outcome(Box::new(Outcome {
            of: attempt(intent),
            outcome,
            cost: PRICE,
            usage: Usage::default(),
            remote_id: None,
            took: Span::from_millis(3),
            retry: self.retry,
            death,
            poison: self.poison,
            replied: None,
        })))
    }

    /// Resolves everything in order until nothing is under way.
    fn play(&mut self) {
        while let Some(intent) = self.open().first() {
            self.resolve(intent, answer(&intent.request)).unwrap();
        }
    }

    fn outputs(&self) -> Value {
        match &self.state.end {
            Some(End::Finished { outputs }) => json!(outputs),
            other => panic!("not finished: {other:?} {:?}", self.state.status()),
        }
    }

    fn kinds(&self) -> Vec<Vec<&'static str>> {
        self.appends.iter().map(|events| events.iter().map(Event::kind).collect()).collect()
    }
}

fn order(workflow: &Arc<Workflow>, terms: Terms) -> Box<Order> {
    Box::new(Order {
        id: RunId::new("r"),
        workflow: Arc::clone(workflow),
        version: workflow.version(),
        inputs: BTreeMap::new(),
        principal: "ann".to_owned(),
        terms,
    })
}

fn workflow(text: &str) -> Arc<Workflow> {
    let mut known = Known::new(["writer"], ["feed"]);
    known.tools.insert("mail.send".to_owned(), EffectClass::Once);
    Arc::new(workflow::check("w.toml", text, &known).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}")))
}

fn attempt(intent: &Intended) -> Attempt {
    Attempt { key: intent.key.clone(), number: intent.attempt }
}

/// What the world answers here: a text made of what was asked.
fn answer(action: &Action) -> EffectOutcome {
    let hash = canonical::hash(action).to_hex();
    EffectOutcome::ok(json!({ "text": &hash[..8] }))
}
