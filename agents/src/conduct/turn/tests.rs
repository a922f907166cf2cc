//! The talk of an agent with its tools: what is recorded, bounded, told and made again, with scripted models.

mod batch;
mod delegation;
mod guardrails;
mod history;
mod limits;
mod pictures;
mod pools;
mod servers;
mod shapes;
mod thinking;

use std::collections::{BTreeMap, BTreeSet};
use std::{sync::Arc, time::Duration};

use actors::durable::{Handle, Options, Spine};
use actors::entity::Entity;
use actors::guard::Guards;
use actors::latest::Latest;
use actors::mailbox::Bound;
use actors::telemetry::Metrics;
use actors::transport::Transport;
use policies::approval::ApprovalPolicy;
use policies::budget::{BudgetPolicy, ScopeId};
use policies::failure::FailureClass;
use policies::money::Money;
use policies::price::PriceTable;
use policies::tokens::Tokens;
use serde_json::{Value, json};
use supervisor::Gate;

use crate::agent::{AgentActor, AgentHandle, AgentSpec, AgentTerms, Kit};
use crate::conduct::{NamedModel, Stage};
use crate::context::ContextHandle;
use crate::evaluation::Ratings;
use crate::fixture::{self, Ground};
use crate::front::Front;
use crate::run::{Act, Command, EffectOutcome, End, Event, Order, Run, RunId, State, Terms, Then};
use crate::schema::Structured;
use crate::scripted::{Answer, Scripted};
use crate::tool::mcp::McpHandle;
use crate::tool::tests::{Page, Web, policy};
use crate::tool::{Permissions, Toolbox};
use crate::workflow::{self, EffectClass, Known, StepPath};

/// The price, in dollars for a million tokens either way: a thousand nano-dollars a token.
const PRICES: &str = "version = 1\nsource = 's'\ndate = 'd'\n[models.m]\ninput = '$1'\noutput = '$1'\nbatch = '50%'\n\
                      [models.cheap]\ninput = '$1'\noutput = '$1'\n[models.dear]\ninput = '$10'\noutput = '$10'\n";

struct House {
    ground: Ground,
    stage: Arc<Stage>,
    models: BTreeMap<&'static str, Arc<Scripted>>,
    web: Arc<Web>,
    budget: Latest<BudgetPolicy>,
}

/// An agent: its name, its script and what it has.
type Member = (&'static str, Scripted, Kit);

fn kit(tools: &[&str]) -> Kit {
    Kit { tools: Permissions::new(tools.iter().copied()), ..Kit::default() }
}

fn script() -> Scripted {
    Scripted::new("m")
}

fn fetch(page: &str) -> (String, Value) {
    ("http_fetch".to_owned(), json!({ "url": format!("https://shop.example/{page}") }))
}

impl House {
    async fn new(members: Vec<Member>) -> Self {
        Self::with_servers(members, Vec::new()).await
    }

    async fn with_servers(members: Vec<Member>, servers: Vec<McpHandle>) -> Self {
        Self::of(members, servers, Vec::new(), AgentTerms::default()).await
    }

    /// One whose agents have these terms, and these models beside their own.
    async fn of(
        members: Vec<Member>,
        servers: Vec<McpHandle>,
        named: Vec<(&'static str, Scripted)>,
        terms: AgentTerms,
    ) -> Self {
        let ground = Ground::new(7);
        let page = |text| Page::Says("text/plain", text);
        let pages = [
            ("https://shop.example/lamp", page("the lamp is blue")),
            ("https://shop.example/desk", page("the desk is green")),
        ];
        let names = [("shop.example", vec!["1.2.3.4"])];
        let pages = pages.into_iter().chain(long_pages(8)).collect();
        let web = Arc::new(Web { names: names.into(), pages, ..Web::default() });
        let budget = Latest::new(BudgetPolicy::default());
        let (ledger, _) = ground.ledger(budget.watch(), None).await;
        let spine = Spine::new(ground.world.clone(), ground.journal.clone(), ground.snapshots.clone(), Metrics::new());
        let names: Vec<&str> = members.iter().map(|(name, ..)| *name).collect();
        let tools =
            Toolbox::new(names, policy(&["shop.example"], &[]), servers, Arc::clone(&web) as Arc<dyn Transport>);
        let (mut models, mut agents) = (BTreeMap::new(), BTreeMap::new());
        for (name, script, kit) in members {
            let model = Arc::new(script);
            models.insert(name, Arc::clone(&model));
            let agent = AgentHandle::new(AgentSpec { terms: terms.clone(), ..spec(name, model, kit) });
            fixture::start(agent.front(), AgentActor::new(ground.world.clone()), agent.spec()).await;
            agents.insert(name.to_owned(), agent);
        }
        let mut others = BTreeMap::new();
        for (name, script) in named {
            let model = Arc::new(script);
            models.insert(name, Arc::clone(&model));
            others.insert(name.to_owned(), NamedModel { model, guard: format!("model/{name}") });
        }
        let stage = Arc::new(Stage {
            spine,
            workspace: "main".to_owned(),
            ledger,
            guards: Guards::new(ground.world.clone(), policies::guard::Guards::builtin().unwrap()),
            prices: policies::document::read::<PriceTable>("prices.toml", PRICES).unwrap(),
            agents,
            models: others,
            ratings: Ratings::default(),
            tools,
            context: ContextHandle::new(),
            publishers: BTreeMap::new(),
            aggregator: Front::new(),
            runs: Bound::default(),
        });
        Self { ground, stage, models, web, budget }
    }

    /// Starts a run of one step, which asks the writer, with these more lines.
    async fn accept(&self, lines: &str, approval: ApprovalPolicy) -> Handle<Run> {
        let text = format!(
            "name = \"w\"\n[[steps]]\nid = \"write\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"Write of lamps.\"\n\
             output_max = 20\n{lines}\n[outputs]\ntext = \"{{{{ steps.write.text }}}}\"\n"
        );
        self.follow(&text, approval).await
    }

    /// Starts a run of this workflow.
    async fn follow(&self, text: &str, approval: ApprovalPolicy) -> Handle<Run> {
        let servers = self.stage.tools.servers().keys().map(|name| (name.clone(), BTreeMap::new()));
        let known = Known::new(self.stage.agents.keys().cloned(), ["feed"]).with_servers(servers.collect());
        let workflow = Arc::new(workflow::check("w.toml", text, &known).unwrap());
        let order = Order {
            id: RunId::new("r"),
            version: workflow.version(),
            workflow,
            inputs: BTreeMap::new(),
            principal: "ann".to_owned(),
            terms: Terms { approval, ..Terms::default() },
        };
        let run = self.up().await;
        run.ask(Command::new(Act::Accept(Box::new(order)))).await.unwrap();
        run
    }

    async fn up(&self) -> Handle<Run> {
        self.stage.start("r", Options::default(), None, Gate::default()).await.unwrap()
    }

    /// The run's actor is killed …
    async fn kill(&self, run: &Handle<Run>) {
        run.cell().kill();
        self.until(|_| run.cell().get_status() == ractor::ActorStatus::Stopped).await;
    }

    /// … and its agent goes with it, and comes back.
    async fn restart_writer(&self) {
        let agent = &self.stage.agents["writer"];
        agent.front().slot().current().unwrap().kill();
        fixture::start(agent.front(), AgentActor::new(self.ground.world.clone()), agent.spec()).await;
    }

    fn events(&self) -> Vec<Event> {
        let events = self.ground.events();
        let runs = events.iter().filter(|event| event.kind.starts_with("run."));
        runs.map(|event| Run::decode(&event.kind, event.schema, &event.payload).unwrap()).collect()
    }

    fn state(&self) -> State {
        let mut state = State::default();
        self.events().iter().for_each(|event| Run::evolve(&mut state, event));
        state
    }

    async fn until(&self, is_there: impl Fn(&Self) -> bool) {
        /// Of paused time; nothing here takes as long.
        const LOOKS_MAX: usize = 100_000;
        for _ in 0..LOOKS_MAX {
            if is_there(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it does not come: {:#?}", self.events());
    }

    /// What the run hands back.
    async fn says(&self, lines: &str) -> String {
        self.accept(lines, ApprovalPolicy::default()).await;
        self.until(|house| house.state().end.is_some()).await;
        match self.state().end {
            Some(End::Finished { outputs }) => outputs["text"].as_str().unwrap().to_owned(),
            Some(End::Failed(failed)) => format!("failed: {}", failed.message),
            end => format!("{end:?}"),
        }
    }

    fn paths(&self) -> Vec<String> {
        let intended = |event| if let Event::Intended(intent) = event { Some(intent.path.to_string()) } else { None };
        self.events().into_iter().filter_map(intended).collect()
    }

    fn calls(&self, agent: &str) -> u64 {
        self.models[agent].calls()
    }
}

fn spec(name: &str, model: Arc<Scripted>, kit: Kit) -> AgentSpec {
    AgentSpec {
        name: name.to_owned(),
        model: Structured::around(model),
        guard: "model".to_owned(),
        timeout: Duration::from_secs(60),
        silence_max: None,
        output_max: Tokens(20),
        system: None,
        temperature: 0.0,
        terms: AgentTerms::default(),
        kit,
    }
}

/// Long pages `p1`, `p2` and so on, each of which leads to the next.
fn long_pages(count: usize) -> impl Iterator<Item = (&'static str, Page)> {
    let page = move |number: usize| {
        let leads = if number < count { format!("go to p{}.", number + 1) } else { "this is the end".to_owned() };
        let text = format!("{leads} {}", "lamps and desks ".repeat(60));
        (&*format!("https://shop.example/p{number}").leak(), Page::Says("text/plain", text.leak()))
    };
    (1..=count).map(page)
}

/// Reads two pages side by side, then writes.
fn reader() -> Scripted {
    let late = |text: &str| Answer::Late(Duration::from_millis(100), text.to_owned());
    script()
        .when("the desk is green", [late("The lamp is blue.")])
        .otherwise([Answer::Use(vec![fetch("lamp"), fetch("desk")])])
}

#[tokio::test(start_paused = true)]
async fn a_model_hears_of_the_tools_that_it_asked_for_which_are_used_side_by_side() {
    let house = House::new(vec![("writer", reader(), kit(&["http.fetch"]))]).await;
    assert_eq!(house.says("").await, "The lamp is blue.");
    assert_eq!(house.paths(), ["write", "write@1[0]", "write@1[1]", "write@2"]);
    let events = house.events();
    let at = |name: &str, kind: &str| {
        let is = |event: &&Event| match event {
            Event::Intended(intent) => kind == "intended" && intent.path.as_str() == name,
            Event::Resolved(resolved) => kind == "resolved" && resolved.path.as_str() == name,
            _ => false,
        };
        events.iter().position(|event| is(&event)).unwrap()
    };
    assert!(at("write@1[1]", "intended") < at("write@1[0]", "resolved"), "both are under way at once");
    assert!(at("write@1[1]", "resolved") < at("write@2", "intended"));
    let classes: Vec<EffectClass> = events
        .iter()
        .filter_map(|event| if let Event::Intended(intent) = event { Some(intent.class) } else { None })
        .collect();
    assert_eq!(classes, [EffectClass::Model, EffectClass::Read, EffectClass::Read, EffectClass::Model]);
}

#[tokio::test(start_paused = true)]
async fn a_step_without_tools_is_recorded_as_it_always_was() {
    let house = House::new(vec![("writer", script().otherwise([Answer::say("Lamps.")]), Kit::default())]).await;
    assert_eq!(house.says("").await, "Lamps.");
    let intended = house.events().into_iter().find_map(|event| match event {
        Event::Intended(intent) => Some(serde_json::to_value(&intent.request).unwrap()),
        _ => None,
    });
    let keys: Vec<String> = intended.unwrap()["agent"].as_object().unwrap().keys().cloned().collect();
    let wanted = ["agent", "prompt", "system", "prefill", "stop", "output_max", "temperature", "seed", "graded"];
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), wanted.iter().map(|key| (*key).to_owned()).collect());
    assert_eq!(*house.state().outcomes[&StepPath::from("write")], json!({ "text": "Lamps." }));
}

#[tokio::test(start_paused = true)]
async fn what_a_model_may_not_ask_for_it_is_told_and_nothing_is_done() {
    let wild = vec![
        ("rm_rf".to_owned(), json!({ "path": "/" })),
        ("context_search".to_owned(), json!({ "query": "x" })),
        ("http_fetch".to_owned(), json!("{\"url\": \"https://sho")),
        ("http_fetch".to_owned(), json!({ "url": "http://127.0.0.1/" })),
    ];
    let model =
        script().when("is not among those that may be read", [Answer::say("I see.")]).otherwise([Answer::Use(wild)]);
    let house = House::new(vec![("writer", model, kit(&["http.fetch"]))]).await;
    assert_eq!(house.says("").await, "I see.");
    assert_eq!(house.paths(), ["write", "write@1[3]", "write@2"], "only what fits was tried");
    assert!(house.web.asked.lock().unwrap().is_empty());
    let told = house.events().iter().any(
        |event| matches!(event, Event::Resolved(resolved) if resolved.then == Then::Told && resolved.path.as_str() == "write@1[3]"),
    );
    assert!(told);
    let state = house.state();
    let turn = &state.outcomes[&StepPath::from("write")]["turn"];
    let reasons: Vec<&str> =
        (0..3).map(|at| turn["calls"][at]["errand"]["refused"]["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].contains("there is no tool \"rm_rf\" here; there is: http_fetch"), "{reasons:?}");
    assert!(reasons[1].contains("there is no tool"), "it was not given to this agent: {reasons:?}");
    assert!(reasons[2].contains("not a JSON object but the text"), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_talk_ends_after_as_many_turns_as_it_may_have() {
    let model = || script().otherwise([Answer::Use(vec![fetch("lamp")])]);
    let house = House::new(vec![("writer", model(), Kit { turns_max: 5, ..kit(&["http.fetch"]) })]).await;
    assert!(house.says("turns_max = 3").await.contains("`writer` has no answer after 3 turns; raise turns_max"));
    assert_eq!(house.calls("writer"), 3);
    let house = House::new(vec![("writer", model(), Kit { turns_max: 2, ..kit(&["http.fetch"]) })]).await;
    assert!(house.says("").await.contains("after 2 turns"));
}

#[tokio::test(start_paused = true)]
async fn a_step_keeps_within_its_money_its_tokens_and_its_time() {
    let model = || script().otherwise([Answer::Use(vec![fetch("lamp")])]);
    for (line, wanted) in [
        ("cost_max = \"$0.00006\"", "`write` is at its cost_max"),
        ("tokens_max = 60", "`write` is at its tokens_max"),
        ("time_max = \"100ms\"", "`write` is at its time_max"),
    ] {
        let house = House::new(vec![("writer", model(), kit(&["http.fetch"]))]).await;
        let said = house.says(line).await;
        assert!(said.contains(wanted), "{said}");
        assert!((1..8).contains(&house.calls("writer")), "{line}: {}", house.calls("writer"));
        // A token costs a thousand nano-dollars.
        assert!(house.state().cost <= Money::from_nanos(60_000) || line.starts_with("time"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_asked_as_a_tool_draws_on_the_same_run_and_step() {
    let ask = ("agent_researcher".to_owned(), json!({ "task": "Find the colour." }));
    let writer =
        || script().when("it is blue", [Answer::say("Blue lamps.")]).otherwise([Answer::Use(vec![ask.clone()])]);
    let researcher =
        || script().when("the lamp is blue", [Answer::say("it is blue")]).otherwise([Answer::Use(vec![fetch("lamp")])]);
    let members = || vec![("writer", writer(), kit(&["agent.*"])), ("researcher", researcher(), kit(&["http.fetch"]))];
    let house = House::new(members()).await;
    assert_eq!(house.says("").await, "Blue lamps.");
    assert_eq!(house.paths(), ["write", "write@1[0]", "write@1[0]@1[0]", "write@1[0]@2", "write@2"]);
    let accounts = house.stage.ledger.accounts().await.unwrap();
    let spent = |agent: &str| accounts.account(&ScopeId::Agent(agent.to_owned())).spent;
    assert!(spent("researcher") > Money::ZERO);
    assert_eq!(spent("writer"), house.state().cost, "what it asks for is paid by it too");
    assert_eq!(house.state().tally(&StepPath::from("write")).cost, house.state().cost);
    // Its calls count against the bound of the step that asks.
    let house = House::new(members()).await;
    let said = house.says("tokens_max = 30").await;
    assert!(said.contains("tokens_max"), "{said}");
    assert_eq!((house.calls("writer"), house.calls("researcher")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn agents_ask_agents_only_so_deep_and_hear_of_what_failed_below() {
    let ask = |name: &str| (format!("agent_{name}"), json!({ "task": "Do it." }));
    let deep = script()
        .when("deep at most", [Answer::say("alone then")])
        .when("alone then", [Answer::say("done below")])
        .when("done below", [Answer::say("done below")]);
    let writer = script()
        .when("deep at most", [Answer::say("alone then")])
        .when("done below", [Answer::say("done")])
        .when("alone then", [Answer::say("done below")])
        .otherwise([Answer::Use(vec![ask("researcher")])]);
    let house = House::new(vec![
        ("writer", writer, kit(&["agent.*"])),
        ("researcher", deep.otherwise([Answer::Use(vec![ask("writer")])]), kit(&["agent.*"])),
    ])
    .await;
    let said = house.says("").await;
    assert!(said.starts_with("done"), "{said}");
    assert!(house.paths().iter().all(|path| path.matches('[').count() <= 3), "{:?}", house.paths());

    let writer =
        script().when("scripted", [Answer::say("Without help.")]).otherwise([Answer::Use(vec![ask("researcher")])]);
    let failing = script().otherwise([Answer::fail(FailureClass::Rejected)]);
    let house = House::new(vec![("writer", writer, kit(&["agent.*"])), ("researcher", failing, Kit::default())]).await;
    assert_eq!(house.says("").await, "Without help.");
}

/// What was done, and what it came to.
fn ledger_of(events: &[Event]) -> BTreeMap<String, (u32, u32)> {
    let mut known: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for event in events {
        match event {
            Event::Intended(intent) => {
                let seen = known.entry(intent.key.as_str().to_owned()).or_default();
                assert_eq!(seen.1, 0, "{} has its outcome and was begun again", intent.path);
                seen.0 += 1;
            }
            Event::Resolved(resolved) if matches!(resolved.outcome, EffectOutcome::Ok { .. }) => {
                known.entry(resolved.key.as_str().to_owned()).or_default().1 += 1;
            }
            _ => {}
        }
    }
    known
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_at_any_point_goes_on_and_makes_no_recorded_call_again() {
    let members = || vec![("writer", reader(), kit(&["http.fetch"]))];
    let whole = House::new(members()).await;
    let answer = whole.says("").await;
    let events = whole.events().len();
    assert!(events > 8, "{events}");
    for after in 1..events {
        for later in [0, 30] {
            let house = House::new(members()).await;
            let run = house.accept("", ApprovalPolicy::default()).await;
            house.until(|house| house.events().len() >= after).await;
            tokio::time::sleep(Duration::from_millis(later)).await;
            house.kill(&run).await;
            house.restart_writer().await;
            let _run = house.up().await;
            house.until(|house| house.state().end.is_some()).await;
            let Some(End::Finished { outputs }) = house.state().end else { panic!("{:?}", house.state().end) };
            assert_eq!(outputs["text"], answer.as_str(), "killed after event {after}");
            let done = ledger_of(&house.events());
            assert!(done.values().all(|(_, ok)| *ok == 1) && done.len() == 4, "after {after}: {done:?}");
        }
    }
}
