//! What becomes of a step that no budget covers: it is refused, done more cheaply, put off, or asked about.

use policies::budget::{AtEnd, Window};

use super::*;
use crate::run::{Hold, Status};

/// What one call of the cheap model may cost at most, and what of the dear one.
pub(super) const CHEAP: u64 = 30_000;
pub(super) const DEAR: u64 = 300_000;

pub(super) fn run_limit(nanos: u64, at_end: AtEnd) -> BudgetPolicy {
    let run = Limits { at_end, ..Limits::total(Money::from_nanos(nanos)) };
    BudgetPolicy { run, ..BudgetPolicy::default() }
}

/// A house whose writer speaks with the dear model, and for whom the reviewer stands in with the cheap one.
async fn dear_writer(budget: BudgetPolicy) -> House {
    let house = House::new(&["agent/reviewer"], budget, AgentTerms::default()).await;
    for (agent, model) in [("writer", &house.spare), ("reviewer", &house.main)] {
        let spec = AgentSpec::clone(&house.stage.agents[agent].spec());
        let model = Arc::clone(model) as Arc<dyn Model>;
        house.stage.agents[agent].respecify(AgentSpec { model, ..spec });
    }
    house
}

#[tokio::test(start_paused = true)]
async fn a_cheaper_one_of_the_chain_is_asked_where_the_policy_says_so_and_the_intent_says_why() {
    let house = dear_writer(run_limit(CHEAP, AtEnd::Downgrade)).await;
    house.accept(1).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    let stand_in = house.intents()[0].stand_in.clone().unwrap();
    assert_eq!(stand_in.because, Outage::Budget { scope: ScopeId::Run("r".to_owned()) });
    assert_eq!(stand_in.because.to_string(), "the budget of run/r does not cover it");
    assert_eq!((stand_in.agent.as_str(), house.intents()[0].reserved.nanos()), ("reviewer", CHEAP));
    // What covers the dear one is used for it.
    let house = dear_writer(run_limit(DEAR, AtEnd::Downgrade)).await;
    house.accept(1).await;
    house.finished().await;
    assert_eq!((house.intents()[0].reserved.nanos(), &house.intents()[0].stand_in), (DEAR, &None));
}

#[tokio::test(start_paused = true)]
async fn without_a_cheaper_one_that_fits_the_call_is_refused() {
    for (limit, at_end) in [(CHEAP - 1, AtEnd::Downgrade), (CHEAP, AtEnd::Reject)] {
        let house = dear_writer(run_limit(limit, at_end)).await;
        house.accept(1).await;
        let Some(End::Failed(failed)) = house.finished().await.end else { panic!("{at_end:?}") };
        assert_eq!((failed.class, failed.refusal.unwrap().then), (FailureClass::BudgetSpent, at_end));
        assert_eq!((house.main.calls(), house.spare.calls()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_waits_for_the_next_window_and_goes_on_by_itself() {
    // Two calls, each reserved at 30 and charged 15: the second fits into the next hour.
    let hour = Some(Money::from_nanos(CHEAP));
    let workspace = Limits { hour, at_end: AtEnd::Wait, ..Limits::default() };
    let house = House::new(&[], BudgetPolicy { workspace, ..BudgetPolicy::default() }, AgentTerms::default()).await;
    let run = house.accept(2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = house.state();
    let (path, _, hold) = state.parked().next().unwrap();
    let wakes = hold.wakes_at().unwrap();
    assert_eq!((path.as_str(), state.status(), state.moves_by_itself()), ("s1", Status::Parked, true));
    let Hold::Budget { refusal } = hold else { panic!("{hold:?}") };
    assert_eq!(refusal.window, Some(Window::Hour));
    tokio::time::sleep(wakes.since(house.ground.world.now()) - Duration::from_millis(1)).await;
    assert_eq!(house.main.calls(), 1, "not before the window ends");
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    assert_eq!((house.main.calls(), state.cost.nanos()), (2, CHEAP));
    drop(run);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_asks_goes_on_once_the_limit_was_raised_and_somebody_says_so() {
    let house = House::new(&[], run_limit(CHEAP - 1, AtEnd::Ask), AgentTerms::default()).await;
    let run = house.accept(1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = house.state();
    assert_eq!((state.status(), state.moves_by_itself(), house.main.calls()), (Status::Parked, false, 0));
    // Nothing has changed, so it is asked again.
    run.ask(Command::new(Act::Resume { by: "ann".to_owned() })).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((house.state().status(), house.main.calls()), (Status::Parked, 0));
    house.budget.set(run_limit(CHEAP, AtEnd::Ask));
    run.ask(Command::new(Act::Resume { by: "ann".to_owned() })).await.unwrap();
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_billed_is_charged_at_what_was_reserved() {
    // A stream that is cut gives no usage, and its provider bills it all the same.
    let house = House::with(&[]).await;
    house.main.cut.store(true, Ordering::Relaxed);
    house.accept(1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    house.main.cut.store(false, Ordering::Relaxed);
    let state = house.finished().await;
    let cut = house.main.calls() - 1;
    assert!(cut >= 1);
    let billed = house.main.calls() * CHEAP / 2;
    let naive = state.usage.input.0 * 1_000 + state.usage.output.0 * 1_000;
    assert!(naive < billed, "what usage tells is less than the bill");
    assert_eq!(state.cost.nanos(), cut * CHEAP + CHEAP / 2);
    assert!(state.cost.nanos() >= billed);
}

/// An order of one call of the writer, which needs an input.
fn bounded(house: &House, cost_max: u64, inputs: BTreeMap<String, serde_json::Value>) -> Command {
    let text = "name = \"w\"\n[inputs]\nwhat = { type = \"text\", required = true }\n[[steps]]\nid = \"s\"\nkind = \"agent\"\n\
                agent = \"writer\"\nprompt = \"{{ inputs.what }}\"\noutput_max = 20\n";
    let order = house.order(text, Terms { cost_max: Some(Money::from_nanos(cost_max)), ..Terms::default() });
    Command::new(Act::Accept(Box::new(Order { inputs, ..order })))
}

#[tokio::test(start_paused = true)]
async fn only_an_order_that_is_taken_sets_its_runs_limit() {
    let house = House::with(&[]).await;
    let run = house.stage.start("r", Options::default(), None, Gate::default()).await.unwrap();
    let own = async || {
        let accounts = house.stage.ledger.accounts().await.unwrap();
        let scope = ScopeId::Run("r".to_owned());
        let is_open = accounts.iter().any(|(known, _)| *known == scope);
        is_open.then(|| accounts.account(&scope).limits.total.map(Money::nanos))
    };
    run.ask(bounded(&house, 5 * CHEAP, BTreeMap::new())).await.unwrap_err();
    assert_eq!(own().await, None, "its inputs do not fit");
    let what = BTreeMap::from([("what".to_owned(), "Lamps.".into())]);
    run.ask(bounded(&house, CHEAP, what.clone())).await.unwrap();
    assert_eq!(own().await, Some(Some(CHEAP)));
    run.ask(bounded(&house, 5 * CHEAP, what.clone())).await.unwrap_err();
    assert_eq!(own().await, Some(Some(CHEAP)), "a repeat changes nothing");
    house.finished().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(own().await, None, "the ledger has seen its end");
    run.ask(bounded(&house, CHEAP, what)).await.unwrap_err();
    assert_eq!(own().await, None, "nor does it open the account of a run that has ended");
}

/// Where the journal has it that the call was refused for the run's sake.
fn refused_scope(state: &State) -> Option<ScopeId> {
    let Some(End::Failed(failed)) = &state.end else { return None };
    failed.refusal.as_ref().map(|refusal| refusal.scope.clone())
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_opens_while_a_run_is_accepted_holds_it_to_its_own_limit() {
    let house = House::with(&[]).await;
    let front = house.stage.ledger.front();
    front.slot().current().unwrap().stop_and_wait(None, None).await.unwrap();
    let run = house.stage.start("r", Options::default(), None, Gate::default()).await.unwrap();
    let what = BTreeMap::from([("what".to_owned(), "Lamps.".into())]);
    let opens = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (_, actor) = house.ground.ledger(house.budget.watch(), None).await;
        front.slot().publish(actor);
    };
    let (accepted, ()) = tokio::join!(run.ask(bounded(&house, CHEAP - 1, what)), opens);
    accepted.unwrap();
    let state = house.finished().await;
    assert_eq!(refused_scope(&state), Some(ScopeId::Run("r".to_owned())), "{:?}", state.end);
    assert_eq!(house.main.calls(), 0);
}
