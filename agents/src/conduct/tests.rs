//! Stand-ins: who is cast, what is reserved and charged for it, and that the effect stays the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actors::durable::{Handle, Options, Spine};
use actors::entity::Entity;
use actors::guard::{CallOutcome, Guards};
use actors::latest::Latest;
use actors::mailbox::Bound;
use actors::telemetry::Metrics;
use actors::transport;
use async_trait::async_trait;
use policies::budget::{BudgetPolicy, Limits, ScopeId};
use policies::failure::FailureClass;
use policies::fallback::Outage;
use policies::guard::GuardPolicy;
use policies::money::Money;
use policies::price::PriceTable;
use policies::span::Span;
use policies::tokens::{Tokens, Usage};
use supervisor::Gate;

use super::casting::{Cast, Casting};
use super::{NamedModel, Stage};
use crate::agent::{AgentActor, AgentHandle, AgentSpec, AgentTerms};
use crate::context::ContextHandle;
use crate::evaluation::Ratings;
use crate::fixture::{self, Ground};
use crate::front::Front;
use crate::model::{Finish, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress};
use crate::run::{Act, Command, End, Event, Failures, Intended, Order, Run, RunId, State, Terms};
use crate::tool::{FetchPolicy, Toolbox};
use crate::workflow::{self, Action, AgentCall, Known};

/// The prices, in dollars for a million tokens either way.
const PRICES: &str = "version = 1\nsource = 's'\ndate = 'd'\n[models.cheap]\ninput = '$1'\noutput = '$1'\nbatch = '50%'\n\
                      [models.dear]\ninput = '$10'\noutput = '$10'\n";

/// A model that is well or down, as the test has it.
struct Moody {
    price: &'static str,
    down: Arc<AtomicBool>,
    /// Whether its streams break off, with nobody told of the bill.
    cut: AtomicBool,
    calls: AtomicU64,
    heard: std::sync::Mutex<Vec<ModelRequest>>,
    /// What its next call ends in, if not as usual.
    next: std::sync::Mutex<Option<Result<ModelReply, ModelError>>>,
}

impl Moody {
    fn new(price: &'static str) -> Arc<Self> {
        let (calls, cut) = (AtomicU64::new(0), AtomicBool::new(false));
        let (heard, next) = (std::sync::Mutex::default(), std::sync::Mutex::default());
        Arc::new(Self { price, down: Arc::default(), cut, calls, heard, next })
    }

    fn turn(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Model for Moody {
    fn id(&self) -> ModelId {
        ModelId(self.price.to_owned())
    }

    fn price_key(&self) -> &str {
        self.price
    }

    fn count(&self, _: &ModelRequest) -> Tokens {
        Tokens(10)
    }

    async fn call(&self, request: ModelRequest, _: &Progress) -> Result<ModelReply, ModelError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.heard.lock().unwrap().push(request);
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some(next) = self.next.lock().unwrap().take() {
            return next;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(ModelError::free(FailureClass::ProviderDown, "503"));
        }
        if self.cut.load(Ordering::Relaxed) {
            return Err(ModelError::unknown(FailureClass::ProviderDown, "the stream broke off"));
        }
        let usage = Usage { input: Tokens(10), output: Tokens(5), ..Usage::default() };
        Ok(ModelReply::saying("Done.", usage, Finish::Stop))
    }
}

mod limits;
mod pools;
mod spending;
mod urgency;

/// A stage with a writer whose model may be down, and who may stand in for it.
struct House {
    ground: Ground,
    stage: Arc<Stage>,
    main: Arc<Moody>,
    spare: Arc<Moody>,
    budget: Latest<BudgetPolicy>,
}

impl House {
    async fn new(fallback: &[&str], budget: BudgetPolicy, terms: AgentTerms) -> Self {
        let ground = Ground::new(5);
        let (main, spare) = (Moody::new("cheap"), Moody::new("dear"));
        let mut guards = policies::guard::Guards::default();
        let mut guard = GuardPolicy::default();
        guard.breaker.failures = 2;
        guard.breaker.open = Span::from_secs(10);
        guards.set("default", guard);
        let spec = |name: &str, model: &Arc<Moody>, guard: &str, terms| AgentSpec {
            name: name.to_owned(),
            model: Arc::clone(model) as Arc<dyn Model>,
            guard: guard.to_owned(),
            timeout: Duration::from_secs(60),
            silence_max: None,
            output_max: Tokens(20),
            system: Some(format!("You are the {name}.")),
            temperature: 0.0,
            terms,
            kit: crate::agent::Kit::default(),
        };
        let fallback = fallback.iter().map(|stand_in| stand_in.parse().unwrap()).collect();
        let agents = [
            spec("writer", &main, "model/main", AgentTerms { fallback, ..terms }),
            spec("reviewer", &spare, "model/other", AgentTerms::default()),
        ];
        let budget = Latest::new(budget);
        let (ledger, _) = ground.ledger(budget.watch(), None).await;
        let spine = Spine::new(ground.world.clone(), ground.journal.clone(), ground.snapshots.clone(), Metrics::new());
        let named = |name: &str, model: &Arc<Moody>| {
            let (model, guard) = (Arc::clone(model) as Arc<dyn Model>, format!("model/{name}"));
            (name.to_owned(), NamedModel { model, guard })
        };
        let agents: BTreeMap<_, _> =
            agents.into_iter().map(|spec| (spec.name.clone(), AgentHandle::new(spec))).collect();
        for agent in agents.values() {
            fixture::start(agent.front(), AgentActor::new(ground.world.clone()), agent.spec()).await;
        }
        let stage = Arc::new(Stage {
            spine,
            workspace: "main".to_owned(),
            ledger,
            guards: Guards::new(ground.world.clone(), guards),
            prices: policies::document::read::<PriceTable>("prices.toml", PRICES).unwrap(),
            agents,
            models: BTreeMap::from([named("main", &main), named("spare", &spare)]),
            ratings: Ratings::default(),
            tools: Toolbox::new(["writer", "reviewer"], FetchPolicy::default(), [], transport::unplugged()),
            context: ContextHandle::new(),
            publishers: BTreeMap::new(),
            aggregator: Front::new(),
            runs: Bound::default(),
        });
        Self { ground, stage, main, spare, budget }
    }

    async fn with(fallback: &[&str]) -> Self {
        Self::new(fallback, BudgetPolicy::default(), AgentTerms::default()).await
    }

    /// Starts a run of so many calls of the writer, one after the other.
    async fn accept(&self, steps: usize) -> Handle<Run> {
        let step = |step: usize| {
            format!(
                "[[steps]]\nid = \"s{step}\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"{step}\"\noutput_max = 20\n"
            )
        };
        self.take_on(&(0..steps).map(step).collect::<String>(), Terms::default()).await
    }

    /// Starts a run of these steps.
    async fn take_on(&self, steps: &str, terms: Terms) -> Handle<Run> {
        let order = self.order(&format!("name = \"w\"\n{steps}"), terms);
        let run = self.stage.start("r", Options::default(), None, Gate::default()).await.unwrap();
        run.ask(Command::new(Act::Accept(Box::new(order)))).await.unwrap();
        run
    }

    /// An order of this workflow, without inputs.
    fn order(&self, text: &str, terms: Terms) -> Order {
        let known = Known::new(self.stage.agents.keys().cloned(), ["feed"]);
        let workflow = Arc::new(workflow::check("w.toml", text, &known).unwrap());
        Order {
            id: RunId::new("r"),
            version: workflow.version(),
            workflow,
            inputs: BTreeMap::new(),
            principal: "ann".to_owned(),
            terms,
        }
    }

    /// From now on each makes two attempts, and no breaker opens.
    fn try_twice(&self) {
        let mut guards = policies::guard::Guards::default();
        let mut guard = GuardPolicy::default();
        (guard.breaker.failures, guard.breaker.failure_rate, guard.retry.attempts_max) = (99, None, 2);
        guards.set("default", guard);
        self.stage.guards.govern(guards);
    }

    fn state(&self) -> State {
        let mut state = State::default();
        for event in self.events() {
            Run::evolve(&mut state, &event);
        }
        state
    }

    fn events(&self) -> Vec<Event> {
        let events = self.ground.events();
        let runs = events.iter().filter(|event| event.kind.starts_with("run."));
        runs.map(|event| Run::decode(&event.kind, event.schema, &event.payload).unwrap()).collect()
    }

    fn intents(&self) -> Vec<Arc<Intended>> {
        let intended = |event| if let Event::Intended(intent) = event { Some(intent) } else { None };
        self.events().into_iter().filter_map(intended).collect()
    }

    async fn finished(&self) -> State {
        /// Of paused time; nothing here takes as long.
        const LOOKS_MAX: usize = 10_000;
        for _ in 0..LOOKS_MAX {
            let state = self.state();
            if state.end.is_some() {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not end: {:?}", self.events());
    }

    fn cast(&self, failures: u32) -> Option<Cast> {
        match self.stage.cast(&call(), &Failures { all: failures, ..Failures::default() }) {
            Casting::Take(cast) => Some(*cast),
            Casting::Wait(_) => None,
        }
    }

    /// Who would do the writer's next call.
    fn who(&self) -> String {
        let Some(cast) = self.cast(0) else { return "nobody".to_owned() };
        cast.stand_in.map_or_else(|| "writer".to_owned(), |stand_in| stand_in.name("writer"))
    }

    async fn break_guard(&self, guard: &str) {
        for _ in 0..2 {
            let guard = self.stage.guards.get(guard);
            let permit = guard.try_admit().unwrap();
            permit.finish(CallOutcome { class: Some(FailureClass::ProviderDown), took: Duration::ZERO });
        }
    }
}

fn call() -> Action {
    Action::Agent(AgentCall {
        agent: "writer".to_owned(),
        prompt: "Write.".to_owned(),
        output_max: Tokens(20),
        ..AgentCall::default()
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_reserved_and_charged_is_the_stand_ins_price_under_the_steps_key() {
    let house = House::with(&["model/spare"]).await;
    house.main.turn(true);
    house.accept(1).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    let intents = house.intents();
    let told: Vec<_> =
        intents.iter().map(|intent| (intent.attempt, intent.reserved.nanos(), intent.stand_in.clone())).collect();
    let because = Outage::Breaker { guard: "model/main".to_owned() };
    let stand_in = crate::run::StandIn { agent: "writer".to_owned(), model: Some("spare".to_owned()), because };
    // Ten tokens in and twenty out at the most.
    assert_eq!(told, [(1, 30_000, None), (2, 30_000, None), (3, 300_000, Some(stand_in))]);
    assert!(intents.iter().all(|intent| intent.key == intents[0].key && intent.request == intents[0].request));
    assert_eq!(state.cost.nanos(), 150_000, "ten tokens and five");
    let account = house.stage.ledger.accounts().await.unwrap().account(&ScopeId::Agent("writer".to_owned()));
    assert_eq!((account.spent.nanos(), account.reserved), (150_000, Money::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_no_use_fails_the_step_at_what_it_used() {
    /// 24 MiB of it are more than the 16 MiB that the journal takes of one event.
    const TOO_LARGE: &str = "too much";
    let usage = Usage { input: Tokens(10), output: Tokens(5), ..Usage::default() };
    for (next, cost) in [
        (Ok(ModelReply::saying("Never.", usage, Finish::Refusal)), 15_000),
        (Ok(ModelReply::saying("", usage, Finish::ContentFilter)), 15_000),
        (Ok(ModelReply::saying(TOO_LARGE.repeat(3 << 20), usage, Finish::Stop)), 15_000),
        (Err(ModelError::used(FailureClass::Rejected, "no JSON", usage)), 15_000),
        (Err(ModelError::free(FailureClass::Rejected, "no such model")), 0),
        (Err(ModelError::unknown(FailureClass::Rejected, "it broke off")), 30_000),
    ] {
        let house = House::with(&[]).await;
        *house.main.next.lock().unwrap() = Some(next);
        house.accept(1).await;
        let state = house.finished().await;
        assert!(matches!(state.end, Some(End::Failed { .. })), "{:?}", state.end);
        assert_eq!((state.cost.nanos(), house.main.calls()), (cost, 1));
        let account = house.stage.ledger.accounts().await.unwrap().account(&ScopeId::Agent("writer".to_owned()));
        assert_eq!((account.spent.nanos(), account.reserved), (cost, Money::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn another_agent_stands_in_with_its_own_words_and_pays_from_its_own_budget() {
    let house = House::with(&["agent/reviewer"]).await;
    house.break_guard("model/main").await;
    house.accept(1).await;
    house.finished().await;
    assert_eq!((house.main.calls(), house.spare.calls()), (0, 1));
    assert_eq!(house.spare.heard.lock().unwrap()[0].messages[0].text(), "You are the reviewer.");
    let accounts = house.stage.ledger.accounts().await.unwrap();
    let spent = |agent: &str| accounts.account(&ScopeId::Agent(agent.to_owned())).spent.nanos();
    assert_eq!((spent("writer"), spent("reviewer")), (0, 150_000));
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_that_no_budget_covers_fails_nothing_and_the_step_waits_for_who_is_named() {
    let run = Limits::total(Money::from_nanos(100_000));
    let house =
        House::new(&["model/spare"], BudgetPolicy { run, ..BudgetPolicy::default() }, AgentTerms::default()).await;
    house.break_guard("model/main").await;
    house.accept(2).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    assert_eq!((house.main.calls(), house.spare.calls()), (2, 0));
    assert!(house.intents().iter().all(|intent| intent.stand_in.is_none()));
}

#[tokio::test(start_paused = true)]
async fn the_next_of_a_chain_is_asked_when_a_budget_does_not_cover_the_first_stand_in() {
    let run = Limits::total(Money::from_nanos(100_000));
    let house = House::new(
        &["model/spare", "agent/reviewer"],
        BudgetPolicy { run, ..BudgetPolicy::default() },
        AgentTerms::default(),
    )
    .await;
    let cheap = AgentSpec {
        model: Arc::clone(&house.main) as Arc<dyn Model>,
        ..AgentSpec::clone(&house.stage.agents["reviewer"].spec())
    };
    house.stage.agents["reviewer"].respecify(cheap);
    house.break_guard("model/main").await;
    house.accept(1).await;
    house.finished().await;
    let who: Vec<_> = house.intents().iter().map(|intent| intent.stand_in.clone().unwrap().name("writer")).collect();
    assert_eq!(who, ["agent/reviewer"]);
}

#[tokio::test(start_paused = true)]
async fn half_open_the_trial_call_goes_to_who_is_named_and_the_others_to_the_stand_in() {
    let house = House::with(&["model/spare"]).await;
    assert_eq!(house.who(), "writer");
    house.break_guard("model/main").await;
    assert_eq!(house.who(), "model/spare");
    tokio::time::advance(Duration::from_secs(10)).await;
    let trial = house.cast(0).unwrap();
    assert!(trial.stand_in.is_none(), "the trial call is for who is named");
    let permit = trial.line.try_admit().unwrap();
    assert_eq!(house.who(), "model/spare", "while it is under way");
    permit.finish(CallOutcome { class: None, took: Duration::ZERO });
    assert_eq!(house.who(), "writer", "it was handed back");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_with_a_stand_in_is_handed_back_too() {
    let house = House::with(&["model/spare"]).await;
    house.break_guard("model/main").await;
    let spare = house.stage.guards.get("model/spare");
    let held: Vec<_> = std::iter::from_fn(|| spare.try_admit()).collect();
    house.accept(1).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(held);
    house.finished().await;
    assert_eq!((house.main.calls(), house.spare.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_is_tried_as_often_as_its_chain_allows() {
    let house = House::with(&["model/spare"]).await;
    house.try_twice();
    house.main.turn(true);
    house.spare.turn(true);
    house.accept(1).await;
    let state = house.finished().await;
    assert!(state.has_failed());
    assert_eq!((house.main.calls(), house.spare.calls()), (2, 2));
    let last = house.intents().pop().unwrap();
    let spent = Outage::Spent { guard: "model/main".to_owned() };
    assert_eq!(last.stand_in.as_ref().map(|stand_in| stand_in.because.clone()), Some(spent));
}

#[tokio::test(start_paused = true)]
async fn an_own_breaker_is_about_the_own_model_only_and_outlives_the_actor() {
    let terms = AgentTerms { breaks: true, ..AgentTerms::default() };
    let house = House::new(&["model/spare"], BudgetPolicy::default(), terms).await;
    house.break_guard("agent/writer").await;
    assert_eq!(house.who(), "model/spare");
    let stood_in = house.cast(0).unwrap();
    stood_in.line.try_admit().unwrap().finish(CallOutcome { class: None, took: Duration::ZERO });
    let writer = &house.stage.agents["writer"];
    let old = writer.front().slot().current().unwrap();
    old.stop_and_wait(None, None).await.unwrap();
    fixture::start(writer.front(), AgentActor::new(house.ground.world.clone()), writer.spec()).await;
    assert_eq!(house.who(), "model/spare", "the next life finds it open");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(house.who(), "writer");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_can_act_the_step_waits_and_fails_nothing() {
    let house = House::with(&["model/spare"]).await;
    house.break_guard("model/main").await;
    house.break_guard("model/spare").await;
    assert_eq!(house.who(), "nobody");
    house.accept(1).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(house.intents().is_empty());
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
}
