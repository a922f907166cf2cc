//! Who carries an attempt out: whoever the step names, or a stand-in while that one is out.
//!
//! Invariant: a cast is chosen anew for each attempt, before its reservation; the effect's key and its
//! request stay those of the step. A stand-in is taken only by the rules of [`policies::fallback`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::guard::{Blocked, Line};
use policies::budget::ScopeId;
use policies::fallback::{self, Choice, Link, Outage, Readiness};
use policies::money::Money;
use policies::price::{Bounds, NoPrice};
use policies::retry::RetryPolicy;
use policies::span::Span;
use policies::tokens::Tokens;
use supervisor::Gate;

use super::Stage;
use crate::agent::{AgentHandle, AgentSpec, Voice};
use crate::run::{ModelCall, StandIn};
use crate::tool::Offered;
use crate::workflow::{Action, AgentCall};

/// Who carries one attempt out, and the way through the guards in front of it.
#[derive(Clone)]
pub(super) struct Cast {
    pub(super) line: Line,
    /// Who speaks, where an agent is asked.
    pub(super) speaker: Option<Box<Speaker>>,
    /// Why it is not the one that the step names; none where it is.
    pub(super) stand_in: Option<StandIn>,
    /// Its place in the chain of the one that the step names.
    pub(super) place: usize,
}

/// An agent, with what it speaks.
#[derive(Clone)]
pub(super) struct Speaker {
    pub(super) agent: AgentHandle,
    pub(super) spec: Arc<AgentSpec>,
    pub(super) voice: Voice,
    /// Whether that is another model than the agent's own.
    pub(super) borrows: bool,
    /// The tools that it may use, as they are now: what is reserved for is what is sent.
    pub(super) offered: Arc<[Offered]>,
}

/// Who may carry an attempt out, at one moment.
pub(super) enum Casting {
    /// This one does.
    Take(Cast),
    /// Nobody can now; the first that says when can then.
    Wait(Option<Duration>),
}

/// One of a chain, as it stands now.
struct Candidate {
    speaker: Speaker,
    line: Line,
    /// The model by its name, where it is not the agent's own.
    model: Option<String>,
    readiness: Readiness,
    wait: Option<Duration>,
}

impl Stage {
    /// Chooses who carries out an action that has failed so often. Stand-ins before the place `from` are
    /// passed over.
    pub(super) fn cast(&self, action: &Action, failures: u32, from: usize) -> Casting {
        let Some((name, agent)) = self.asked(action) else {
            let line = Line::new(self.guard(action));
            return Casting::Take(Cast { line, speaker: None, stand_in: None, place: 0 });
        };
        let spec = agent.spec();
        if spec.terms.fallback.is_empty() {
            let line = self.line(&spec);
            let offered = self.offered(&spec);
            let speaker = Speaker { agent: agent.clone(), voice: spec.voice(), spec, borrows: false, offered };
            return Casting::Take(Cast { line, speaker: Some(Box::new(speaker)), stand_in: None, place: 0 });
        }
        let mut chain = self.candidates(name, failures);
        chain.iter_mut().take(from).skip(1).for_each(|passed_over| passed_over.readiness = Readiness::Held);
        let readiness: Vec<Readiness> = chain.iter().map(|candidate| candidate.readiness.clone()).collect();
        match fallback::choose(&readiness) {
            Choice::Wait => Casting::Wait(chain.iter().filter_map(|candidate| candidate.wait).min()),
            Choice::Take(place) => {
                let because = chain.first().and_then(Candidate::outage);
                let Some(taken) = chain.into_iter().nth(place) else { return Casting::Wait(None) };
                let stand_in = because.filter(|_| place > 0).map(|because| StandIn {
                    agent: taken.speaker.spec.name.clone(),
                    model: taken.model.clone(),
                    because,
                });
                Casting::Take(Cast { line: taken.line, speaker: Some(Box::new(taken.speaker)), stand_in, place })
            }
        }
    }

    /// Casts the one at that place of the chain, since the scope's budget does not cover who is before it.
    pub(super) fn cast_at(&self, action: &Action, failures: u32, place: usize, scope: ScopeId) -> Option<Cast> {
        let (name, _) = self.asked(action)?;
        let taken = self.candidates(name, failures).into_iter().nth(place)?;
        let stand_in = StandIn {
            agent: taken.speaker.spec.name.clone(),
            model: taken.model.clone(),
            because: Outage::Budget { scope },
        };
        let speaker = Some(Box::new(taken.speaker));
        Some(Cast { line: taken.line, speaker, stand_in: Some(stand_in), place })
    }

    /// What the call of each of the chain may cost at most; none for one that cannot make it now.
    pub(super) fn worst_of_chain(&self, action: &Action, failures: u32) -> Vec<Option<Money>> {
        let (Action::Agent(call), Some((name, _))) = (action, self.asked(action)) else { return Vec::new() };
        let worst = |candidate: &Candidate| {
            let is_ready = candidate.readiness == Readiness::Ready;
            is_ready.then(|| self.worst_of(call, &candidate.speaker).ok()).flatten().map(|(_, worst)| worst)
        };
        self.candidates(name, failures).iter().map(worst).collect()
    }

    /// The call that this speaker would make, and the most that it may cost.
    ///
    /// # Errors
    /// When its model has no price.
    pub(super) fn worst_of(&self, call: &AgentCall, speaker: &Speaker) -> Result<(ModelCall, Money), NoPrice> {
        let Speaker { spec, voice, .. } = speaker;
        let request = speaker.request(call);
        let bounds = voice.model.bounds(&request);
        let model = voice.model.id().0;
        let input = self.ledger.factors().of(&model).reserve(voice.model.counting(), bounds.input);
        // Where one call may lead to several requests, its bill says nothing of how one is counted.
        let counted = if request.output_schema.is_some() { Tokens(0) } else { bounds.input };
        let bounds = Bounds { input, cpu: Span::from(voice.longest()), ..bounds };
        let worst = self.prices.worst_case(voice.model.price_key(), &bounds)?;
        let (agent, provider) = (spec.name.clone(), voice.model.provider().to_owned());
        Ok((ModelCall { model, agent, counted, provider }, worst))
    }

    /// Whether an action is one that this guard stands around, and nobody stands in.
    pub fn waits_for(&self, action: &Action, guard: &str) -> bool {
        match self.asked(action) {
            None => self.guard(action).name() == guard,
            Some((_, agent)) => {
                let is_around = self.line(&agent.spec()).breakers().any(|around| around.name() == guard);
                is_around && !matches!(self.cast(action, 0, 0), Casting::Take(cast) if cast.stand_in.is_some())
            }
        }
    }

    /// Whether an agent could speak now with a model that stands in for its own.
    pub fn can_borrow(&self, agent: &AgentHandle) -> bool {
        let spec = agent.spec();
        spec.terms.fallback.iter().any(|stand_in| match stand_in {
            fallback::StandIn::Model(name) => {
                self.models.get(name).is_some_and(|named| self.guards.get(&named.guard).open_for().is_none())
            }
            fallback::StandIn::Agent(_) => false,
        })
    }

    /// Whether anybody stands in for whom an action asks.
    pub(super) fn has_stand_ins(&self, action: &Action) -> bool {
        self.asked(action).is_some_and(|(_, agent)| !agent.spec().terms.fallback.is_empty())
    }

    /// Whether and when a failed attempt is made again: as the guard says through which it went, but as
    /// often as all of the chain may be tried.
    pub(super) fn retry(&self, action: &Action, cast: &Cast) -> RetryPolicy {
        let retry = cast.line.shared().policy().retry;
        let Some((name, _)) = self.asked(action).filter(|_| self.has_stand_ins(action)) else { return retry };
        let attempts = self.attempts(&self.links(name));
        let attempts_max = attempts.iter().fold(0_u32, |sum, most| sum.saturating_add(*most));
        RetryPolicy { attempts_max: attempts_max.max(retry.attempts_max), ..retry }
    }

    /// The agent that an action asks, if there is one.
    fn asked<'a>(&'a self, action: &'a Action) -> Option<(&'a str, &'a AgentHandle)> {
        let Action::Agent(call) = action else { return None };
        Some((&call.agent, self.agents.get(&call.agent)?))
    }

    /// The way of an agent's calls with its own model.
    pub fn line(&self, spec: &AgentSpec) -> Line {
        self.line_to(spec, &spec.guard, spec.terms.breaks)
    }

    fn line_to(&self, spec: &AgentSpec, guard: &str, breaks: bool) -> Line {
        let line = Line::new(self.guards.get(guard));
        if !breaks && !spec.terms.paced {
            return line;
        }
        line.behind(self.guards.get(&spec.own_guard()), breaks)
    }

    fn links(&self, agent: &str) -> Vec<Link> {
        let specs: BTreeMap<&str, Arc<AgentSpec>> =
            self.agents.iter().map(|(name, agent)| (name.as_str(), agent.spec())).collect();
        fallback::chain(agent, &|name: &str| specs.get(name).map_or(&[][..], |spec| &spec.terms.fallback))
    }

    /// How often one effect may be tried with each.
    fn attempts(&self, links: &[Link]) -> Vec<u32> {
        let attempts = |link: &Link| match self.speaker(link) {
            Some(speaker) => self.guards.get(&speaker.voice.guard).policy().retry.attempts_max,
            None => 0,
        };
        links.iter().map(attempts).collect()
    }

    fn speaker(&self, link: &Link) -> Option<Speaker> {
        let agent = self.agents.get(&link.agent)?;
        let spec = agent.spec();
        let voice = match &link.model {
            None => spec.voice(),
            Some(name) => {
                let named = self.models.get(name)?;
                let timeout = self.guards.get(&named.guard).policy().timeout.duration();
                Voice { model: Arc::clone(&named.model), guard: named.guard.clone(), timeout }
            }
        };
        let offered = self.offered(&spec);
        Some(Speaker { agent: agent.clone(), spec, voice, borrows: link.model.is_some(), offered })
    }

    fn offered(&self, spec: &AgentSpec) -> Arc<[Offered]> {
        self.tools.offered(&spec.name, &spec.kit.tools).into()
    }

    /// The chain of an agent as it stands now; what was not there at the start is left out.
    fn candidates(&self, agent: &str, failures: u32) -> Vec<Candidate> {
        let links: Vec<Link> = self.links(agent).into_iter().filter(|link| self.speaker(link).is_some()).collect();
        let spent = fallback::spent(&self.attempts(&links), failures);
        let candidate = |(place, link): (usize, Link)| {
            let speaker = self.speaker(&link)?;
            let breaks = speaker.spec.terms.breaks && link.model.is_none();
            let line = self.line_to(&speaker.spec, &speaker.voice.guard, breaks);
            let gate = speaker.agent.front().slot().gate();
            let (readiness, wait) = stands(gate, &line, &link.agent, place < spent);
            Some(Candidate { speaker, line, model: link.model, readiness, wait })
        };
        links.into_iter().enumerate().filter_map(candidate).collect()
    }
}

/// Whether somebody can act, and when the breaker in front lets the next call through.
fn stands(gate: Option<&Gate>, line: &Line, worker: &str, is_spent: bool) -> (Readiness, Option<Duration>) {
    if gate.is_some_and(Gate::is_down) {
        return (Readiness::Out(Outage::Down { worker: worker.to_owned() }), None);
    }
    if gate.is_some_and(|gate| !gate.is_open()) {
        return (Readiness::Held, None);
    }
    match line.blocked() {
        Some(Blocked { guard, wait }) => (Readiness::Out(Outage::Breaker { guard }), wait),
        None if is_spent => (Readiness::Spent, None),
        None => (Readiness::Ready, None),
    }
}

impl Candidate {
    /// Why it is not taken.
    fn outage(&self) -> Option<Outage> {
        match &self.readiness {
            Readiness::Out(outage) => Some(outage.clone()),
            Readiness::Spent => Some(Outage::Spent { guard: self.speaker.voice.guard.clone() }),
            Readiness::Ready | Readiness::Held => None,
        }
    }
}
