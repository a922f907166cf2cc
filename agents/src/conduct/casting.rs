//! Who carries an attempt out: whoever the step names, with one of the models of its pool if it has one, or
//! a stand-in while that one is out.
//!
//! Invariant: a cast is chosen anew for each attempt, before its reservation; the effect's key and its
//! request stay those of the step. One model is taken before another only by the rules of
//! [`policies::choice`], a stand-in only by those of [`policies::fallback`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::guard::{Blocked, Line, Need};
use policies::budget::ScopeId;
use policies::choice::Chosen;
use policies::fallback::{self, Choice, Link, Outage, Readiness};
use policies::money::Money;
use policies::price::{Bounds, NoPrice};
use policies::retry::RetryPolicy;
use policies::span::Span;
use policies::tokens::Tokens;
use supervisor::Gate;

use super::Stage;
use super::pool::{Member, Pool};
use crate::agent::{AgentHandle, AgentSpec, Voice};
use crate::model::ModelRequest;
use crate::run::{Failures, ModelCall, StandIn};
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
    /// Why it is this model of its agent's pool; none where it has none.
    pub(super) choice: Option<Box<Chosen>>,
    /// What keeps the one that is asked first from it; none where this is that one.
    pub(super) because: Option<Outage>,
    /// Why nobody can ever make this call.
    pub(super) never: Option<String>,
    /// Its place in the chain of the one that the step names.
    pub(super) place: usize,
    order: Arc<Order>,
}

/// An agent, with what it speaks.
#[derive(Clone)]
pub(super) struct Speaker {
    pub(super) agent: AgentHandle,
    pub(super) spec: Arc<AgentSpec>,
    pub(super) voice: Voice,
    /// Whether that is a model that stands in, neither the agent's own nor one of its pool.
    pub(super) borrows: bool,
    /// The model by its name, where it is one of the agent's pool.
    pub(super) pooled: Option<String>,
    /// The tools that it may use, as they are now: what is reserved for is what is sent.
    pub(super) offered: Arc<[Offered]>,
}

/// Who may carry an attempt out, at one moment.
pub(super) enum Casting {
    /// This one does.
    Take(Box<Cast>),
    /// Nobody can now; the first that says when can then.
    Wait(Option<Duration>),
}

/// A chain in the order in which it is asked for one attempt. It stays as it is while the ledger is asked of
/// one after the other, whatever is measured meanwhile.
#[derive(Clone, Default)]
struct Order {
    places: Vec<Place>,
    pools: Vec<Pool>,
    /// Those that no budget covers, by their places.
    dear: BTreeMap<usize, ScopeId>,
}

/// One place of a chain.
#[derive(Clone)]
struct Place {
    speaker: Speaker,
    /// The model by its name, where it is not the agent's own or one of its pool.
    borrowed: Option<String>,
    /// The pool that its model is one of.
    pool: Option<usize>,
    /// Whether it is the one that the step names.
    is_own: bool,
    /// Why it cannot make the call, whoever is up.
    bar: Option<Outage>,
}

/// One of a chain, as it stands now.
struct Candidate {
    line: Line,
    readiness: Readiness,
    wait: Option<Duration>,
    guard: String,
}

impl Stage {
    /// Chooses who carries out an action that has failed so often.
    pub(super) fn cast(&self, action: &Action, failures: &Failures) -> Casting {
        let Some((call, agent)) = self.asked(action) else {
            return Casting::Take(Box::new(Cast::of(Line::new(self.guard(action)), None)));
        };
        let speaker = self.own(agent);
        let terms = &speaker.spec.terms;
        if terms.fallback.is_empty() && terms.pool.is_none() {
            return Casting::Take(Box::new(Cast::of(self.line(&speaker.spec), Some(Box::new(speaker)))));
        }
        self.cast_of(self.order(call), failures)
    }

    /// Chooses anew among the same, since that scope's budget does not cover the one that was cast.
    pub(super) fn cast_after(&self, cast: &Cast, failures: &Failures, scope: ScopeId) -> Casting {
        let mut order = Order::clone(&cast.order);
        order.dear.insert(cast.place, scope);
        self.cast_of(order, failures)
    }

    /// Casts the one at that place of the same chain, since the scope's budget does not cover who was cast,
    /// nor those between them that could act.
    pub(super) fn cast_at(&self, cast: &Cast, failures: &Failures, place: usize, scope: ScopeId) -> Option<Cast> {
        let mut order = Order::clone(&cast.order);
        let chain = self.candidates(&order, failures);
        let is_ready = |at: &usize| chain.get(*at).is_some_and(|one| one.readiness == Readiness::Ready);
        let between = (cast.place + 1..place).filter(is_ready);
        order.dear.extend(std::iter::once(cast.place).chain(between).map(|dear| (dear, scope.clone())));
        order.taken(chain, place, Some(Outage::Budget { scope }))
    }

    fn cast_of(&self, order: Order, failures: &Failures) -> Casting {
        let chain = self.candidates(&order, failures);
        let readiness: Vec<Readiness> = chain.iter().map(|candidate| candidate.readiness.clone()).collect();
        let (place, never) = match fallback::choose(&readiness) {
            Choice::Take(place) => (place, None),
            Choice::Wait => match order.never() {
                Some(never) => (0, Some(never)),
                None => return Casting::Wait(chain.iter().filter_map(|candidate| candidate.wait).min()),
            },
        };
        let cast = order.taken(chain, place, None);
        cast.map_or(Casting::Wait(None), |cast| Casting::Take(Box::new(Cast { never, ..cast })))
    }

    /// The agent that a call asks, with its own model or that one of its pool, whatever its breaker says.
    pub(super) fn cast_own(&self, call: &AgentCall, pooled: Option<&str>) -> Option<Cast> {
        let own = self.own(self.agents.get(&call.agent)?);
        let speaker = match pooled {
            Some(name) => self.member(&own, name)?,
            None => own,
        };
        Some(Cast::of(self.line_to(&speaker.spec, &speaker.voice.guard), Some(Box::new(speaker))))
    }

    /// What the call of each of the same chain may cost at most; none for one that cannot make it now.
    pub(super) fn worst_of_chain(&self, cast: &Cast, action: &Action, failures: &Failures) -> Vec<Option<Money>> {
        let Action::Agent(call) = action else { return Vec::new() };
        let worst = |(place, candidate): (&Place, Candidate)| {
            let is_ready = candidate.readiness == Readiness::Ready;
            is_ready.then(|| self.worst_of(call, &place.speaker).ok()).flatten().map(|(_, worst)| worst)
        };
        cast.order.places.iter().zip(self.candidates(&cast.order, failures)).map(worst).collect()
    }

    /// The call that this speaker would make, and the most that it may cost.
    ///
    /// # Errors
    /// When its model has no price that bounds what it may cost.
    pub(super) fn worst_of(&self, call: &AgentCall, speaker: &Speaker) -> Result<(ModelCall, Money), NoPrice> {
        self.worst_of_request(&speaker.request(call, &self.prices), speaker, speaker.waits_for_batch(call))
    }

    /// The same for a request that is made already; `waits` is whether a batch may answer it.
    pub(super) fn worst_of_request(
        &self,
        request: &ModelRequest,
        speaker: &Speaker,
        waits: bool,
    ) -> Result<(ModelCall, Money), NoPrice> {
        let Speaker { spec, voice, .. } = speaker;
        let model = voice.model.id().0;
        let factor = self.ledger.factors().of(&model);
        let whole = |bounds: Bounds| {
            let input = factor.reserve(bounds.input);
            Bounds { input, cpu: Span::from(voice.longest()), ..bounds }
        };
        let priced = |bounds: &Bounds| self.prices.covering(voice.model.price_key(), bounds);
        // A batch is answered once.
        let once = waits.then(|| voice.model.bounds_once(request));
        let by_batch = once.and_then(|once| Some((once, priced(&whole(once)).ok()?.by_batch()?)));
        let (batch, counted, bounds, worst) = match by_batch {
            Some((once, price)) => (true, once.input, whole(once), price.worst_case(&whole(once))),
            None => {
                let all = voice.model.bounds(request);
                // Where one call may lead to several requests, its bill says nothing of how one is counted.
                let counted = if request.output_schema.is_some() { Tokens(0) } else { all.input };
                let bounds = whole(all);
                (false, counted, bounds, priced(&bounds)?.worst_case(&bounds))
            }
        };
        let (agent, provider) = (spec.name.clone(), voice.model.provider().to_owned());
        let bound = bounds.input + bounds.output;
        Ok((ModelCall { model, agent, counted, bound, provider, batch }, worst))
    }

    /// What a call needs of its provider's limits at the most, by its first request: those that put a reply right come
    /// later, if at all. Nothing where it asks no model, or by batch, which has limits of its own.
    pub(super) fn need(&self, action: &Action, cast: &Cast) -> Need {
        let (Action::Agent(call), Some(speaker)) = (action, &cast.speaker) else { return Need::default() };
        if speaker.waits_for_batch(call) {
            return Need::default();
        }
        let model = &speaker.voice.model;
        let bounds = model.bounds_once(&speaker.request(call, &self.prices));
        let input = self.ledger.factors().of(&model.id().0).reserve(bounds.input);
        Need { input, output: bounds.output }
    }

    /// Whether an action is one that this guard stands around, and nobody else does it.
    pub fn waits_for(&self, action: &Action, guard: &str) -> bool {
        let Some((_, agent)) = self.asked(action) else { return self.guard(action).name() == guard };
        let lines = self.lines(&agent.spec());
        let is_around = lines.iter().flat_map(Line::breakers).any(|around| around.name() == guard);
        let is_done_elsewhere = |cast: &Cast| cast.because.is_some() || cast.choice.is_some();
        let casting = || self.cast(action, &Failures::default());
        is_around && !matches!(casting(), Casting::Take(cast) if is_done_elsewhere(&cast))
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

    /// Whether anybody else may do what an action asks for: a stand-in, or another model of the pool.
    pub(super) fn has_others(&self, action: &Action) -> bool {
        self.asked(action).is_some_and(|(_, agent)| {
            let terms = &agent.spec().terms;
            !terms.fallback.is_empty() || terms.pool.as_ref().is_some_and(|pool| pool.models.len() > 1)
        })
    }

    /// Whether and when a failed attempt is made again: as the guard says through which it went, but as
    /// often as all of the chain may be tried.
    pub(super) fn retry(&self, cast: &Cast) -> RetryPolicy {
        let retry = cast.line.shared().policy().retry;
        let able = cast.order.places.iter().filter(|place| place.bar.is_none());
        let attempts_max = able.fold(0_u32, |sum, place| sum.saturating_add(self.attempts_max(place)));
        RetryPolicy { attempts_max: attempts_max.max(retry.attempts_max), ..retry }
    }

    /// The agent that an action asks, if there is one.
    fn asked<'a>(&'a self, action: &'a Action) -> Option<(&'a AgentCall, &'a AgentHandle)> {
        let Action::Agent(call) = action else { return None };
        Some((call, self.agents.get(&call.agent)?))
    }

    /// The way of an agent's calls: with its own model, or with the one of its pool that lets calls through
    /// soonest.
    pub fn line(&self, spec: &AgentSpec) -> Line {
        let lines = self.lines(spec).into_iter();
        let soonest = lines.min_by_key(Line::open_for);
        soonest.unwrap_or_else(|| self.line_to(spec, &spec.guard))
    }

    /// The ways of an agent's calls with each model that it may speak with by itself.
    fn lines(&self, spec: &AgentSpec) -> Vec<Line> {
        let Some(pool) = &spec.terms.pool else { return vec![self.line_to(spec, &spec.guard)] };
        let there = pool.models.iter().filter_map(|name| self.models.get(name));
        there.map(|named| self.line_to(spec, &named.guard)).collect()
    }

    /// Its own breaker is about its own model alone.
    fn line_to(&self, spec: &AgentSpec, guard: &str) -> Line {
        let line = Line::new(self.guards.get(guard));
        let breaks = spec.terms.breaks && guard == spec.guard;
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

    /// How often one effect may be tried with whoever is at this place.
    fn attempts_max(&self, place: &Place) -> u32 {
        self.guards.get(&place.speaker.voice.guard).policy().retry.attempts_max
    }

    /// An agent with its own model.
    fn own(&self, agent: &AgentHandle) -> Speaker {
        let spec = agent.spec();
        let offered = self.tools.offered(&spec.name, &spec.kit.tools).into();
        Speaker { agent: agent.clone(), voice: spec.voice(), spec, borrows: false, pooled: None, offered }
    }

    /// The chain of the agent that a call asks, in the order in which it is asked; what was not there at
    /// the start is left out.
    fn order(&self, call: &AgentCall) -> Order {
        let mut order = Order::default();
        for Link { agent, model } in self.links(&call.agent) {
            let Some(own) = self.agents.get(&agent).map(|agent| self.own(agent)) else { continue };
            let is_own = agent == call.agent && model.is_none();
            let pool = own.spec.terms.pool.clone().filter(|_| model.is_none());
            match (model, pool) {
                (Some(name), _) => {
                    let Some(voice) = self.voice(&name) else { continue };
                    let speaker = Speaker { voice, borrows: true, ..own };
                    order.places.push(Place { speaker, borrowed: Some(name), pool: None, is_own, bar: None });
                }
                (None, None) => {
                    order.places.push(Place { speaker: own, borrowed: None, pool: None, is_own, bar: None });
                }
                (None, Some(policy)) => {
                    let (pool, members) = self.pool(call, &own, &policy);
                    let at = Some(order.pools.len());
                    order.pools.push(pool);
                    order.places.extend(members.into_iter().map(|Member { speaker, bar }| Place {
                        speaker,
                        borrowed: None,
                        pool: at,
                        is_own,
                        bar,
                    }));
                }
            }
        }
        order
    }

    /// A chain as it stands now.
    fn candidates(&self, order: &Order, failures: &Failures) -> Vec<Candidate> {
        let alone = order.places.iter().filter(|place| place.pool.is_none());
        let attempts: Vec<u32> = alone.map(|place| self.attempts_max(place)).collect();
        let (spent, mut seen) = (fallback::spent(&attempts, failures.elsewhere()), 0);
        let candidate = |(at, place): (usize, &Place)| {
            let Speaker { agent, spec, voice, pooled, .. } = &place.speaker;
            let is_spent = match pooled {
                Some(model) => failures.with(model) >= self.attempts_max(place).max(1),
                None => {
                    seen += 1;
                    seen <= spent
                }
            };
            let line = self.line_to(spec, &voice.guard);
            let (readiness, wait) = match (&place.bar, order.dear.get(&at)) {
                (Some(bar), _) => (Readiness::Out(bar.clone()), None),
                (None, Some(scope)) if at > 0 => (Readiness::Out(Outage::Budget { scope: scope.clone() }), None),
                _ => stands(agent.front().slot().gate(), &line, &spec.name, is_spent),
            };
            Candidate { line, readiness, wait, guard: voice.guard.clone() }
        };
        order.places.iter().enumerate().map(candidate).collect()
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

impl Cast {
    /// Whoever is asked alone.
    fn of(line: Line, speaker: Option<Box<Speaker>>) -> Self {
        let order = Arc::default();
        Self { line, speaker, stand_in: None, choice: None, because: None, never: None, place: 0, order }
    }
}

impl Order {
    /// Casts whoever is at a place; `because` says why it is not the first, where that stands for no outage.
    fn taken(self, mut chain: Vec<Candidate>, place: usize, because: Option<Outage>) -> Option<Cast> {
        let Place { speaker, borrowed, pool, is_own, .. } = self.places.get(place)?.clone();
        let because = because.or_else(|| chain.first().and_then(Candidate::outage).filter(|_| place > 0));
        let out = |at: usize| match self.dear.get(&at) {
            Some(scope) => Some(Outage::Budget { scope: scope.clone() }),
            None => chain.get(at).and_then(Candidate::outage),
        };
        let choice = pool.zip(speaker.pooled.as_ref()).and_then(|(pool, model)| {
            let members = (0..self.places.len()).filter(|at| self.places[*at].pool == Some(pool));
            Some(Box::new(self.pools.get(pool)?.chosen(model, members.map(out))))
        });
        let stand_in = because.clone().filter(|_| !is_own).map(|because| StandIn {
            agent: speaker.spec.name.clone(),
            model: borrowed,
            because,
        });
        let line = chain.swap_remove(place).line;
        let speaker = Some(Box::new(speaker));
        Some(Cast { line, speaker, stand_in, choice, because, never: None, place, order: Arc::new(self) })
    }

    /// Why nobody of it can ever make the call; none where somebody could.
    fn never(&self) -> Option<String> {
        let why = |place: &Place| Some(format!("{}: {}", place.speaker.pooled.as_ref()?, place.bar.as_ref()?));
        let all = self.places.iter().map(why).collect::<Option<Vec<_>>>()?;
        let agent = self.places.first()?.speaker.spec.name.as_str();
        let all = all.join("; ");
        Some(format!("no model of the pool of `{agent}` can make this call: {all}; ask for less, or name another"))
    }
}

impl Candidate {
    /// Why it is not taken.
    fn outage(&self) -> Option<Outage> {
        match &self.readiness {
            Readiness::Out(outage) => Some(outage.clone()),
            Readiness::Spent => Some(Outage::Spent { guard: self.guard.clone() }),
            Readiness::Ready | Readiness::Held => None,
        }
    }
}
