//! Which model of its pool an agent speaks with, what is told of it, and what becomes of budgets and failures.

use policies::budget::AtEnd;
use policies::choice::{Choose, Chosen, PoolPolicy, Rating};
use serde_json::json;

use super::spending::{CHEAP, DEAR, run_limit};
use super::*;
use crate::agent::Kit;
use crate::evaluation::Qualities;
use crate::tool::Permissions;

fn pool(models: &[&str], choose: Choose) -> PoolPolicy {
    PoolPolicy { models: models.iter().map(|model| (*model).to_owned()).collect(), choose, quality_min: None }
}

async fn house(pool: PoolPolicy, fallback: &[&str], budget: BudgetPolicy) -> House {
    House::new(fallback, budget, AgentTerms { pool: Some(Arc::new(pool)), ..AgentTerms::default() }).await
}

impl House {
    /// The model that would be spoken with now.
    fn chosen(&self) -> Option<Chosen> {
        self.cast(0).and_then(|cast| cast.choice).map(|choice| *choice)
    }

    fn model(&self) -> String {
        self.chosen().map_or_else(|| "nobody".to_owned(), |chosen| chosen.model)
    }

    /// What each intent says of its choice.
    fn told(&self) -> Vec<String> {
        let told = |intent: &Arc<Intended>| intent.choice.as_ref().map(ToString::to_string).unwrap_or_default();
        self.intents().iter().map(told).collect()
    }
}

fn open(guard: &str) -> Option<Outage> {
    Some(Outage::Breaker { guard: guard.to_owned() })
}

#[tokio::test(start_paused = true)]
async fn the_cheapest_speaks_the_next_takes_over_while_its_breaker_is_open_and_it_comes_back() {
    let house = house(pool(&["spare", "main"], Choose::Cheapest), &[], BudgetPolicy::default()).await;
    assert_eq!(house.model(), "main");
    house.break_guard("model/main").await;
    let chosen = house.chosen().unwrap();
    assert_eq!((chosen.model.as_str(), &chosen.considered[0].out), ("spare", &open("model/main")));
    house.accept(1).await;
    house.finished().await;
    let intent = house.intents().remove(0);
    assert_eq!((intent.reserved.nanos(), &intent.stand_in), (DEAR, &None), "it is the writer, at the other's price");
    let prices: Vec<_> = chosen.considered.iter().map(|one| one.price.unwrap().nanos()).collect();
    assert_eq!((prices, intent.call.as_ref().unwrap().model.as_str()), (vec![CHEAP, DEAR], "dear"));
    assert_eq!(house.told(), ["spare, the cheapest of 2; not main, because the breaker of model/main is open"]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(house.model(), "main", "its trial call");
}

#[tokio::test(start_paused = true)]
async fn a_better_evaluation_changes_the_choice_and_one_under_the_least_is_not_used() {
    let policy = PoolPolicy { quality_min: Rating::of(0.5), ..pool(&["main", "spare"], Choose::Best) };
    let mut house = house(policy, &[], BudgetPolicy::default()).await;
    assert_eq!(house.model(), "main", "nothing is known, so the first of the list");
    let mut evaluate = async |model: &str, score: f64| {
        let answer = json!({ "Ok": { "breaches": [], "grade": null, "score": score, "passed": true, "model": model,
                                     "usage": {}, "cost": 0, "took": "1s", "judge_cost": 0 } });
        let cases = json!([{ "case": "a", "run": "r", "answer": answer }]);
        let evaluation = json!({ "agent": "writer", "model": "pool", "at": 0, "cases": cases });
        house.ground.append("evaluation/writer", "evaluation.finished", &evaluation, None).await.unwrap();
        house.stage.ratings.set("writer", Qualities::read(&house.ground.journal, "writer").unwrap());
        house.model()
    };
    assert_eq!(evaluate("cheap", 0.6).await, "main", "who is not known counts as the mean, and stands behind it");
    assert_eq!(evaluate("dear", 0.9).await, "spare");
    assert_eq!(evaluate("cheap", 0.95).await, "main", "the last evaluation counts");
    assert_eq!(evaluate("cheap", 0.4).await, "spare");
    house.break_guard("model/spare").await;
    assert_eq!(house.model(), "nobody", "worse than the least, it is not used while the other is out");
}

#[tokio::test(start_paused = true)]
async fn what_was_measured_lately_makes_the_fastest_and_outlives_the_agents_actor() {
    let house = house(pool(&["main", "spare"], Choose::Fastest), &[], BudgetPolicy::default()).await;
    // Each is asked once, since it is not known yet; then the faster.
    house.accept(2).await;
    house.finished().await;
    assert_eq!((house.main.calls(), house.spare.calls()), (1, 1));
    house.stage.guards.get("model/main").measure(Duration::from_secs(1));
    let writer = &house.stage.agents["writer"];
    writer.front().slot().current().unwrap().stop_and_wait(None, None).await.unwrap();
    fixture::start(writer.front(), AgentActor::new(house.ground.world.clone()), writer.spec()).await;
    let latencies = house.chosen().unwrap().considered;
    let latencies: Vec<_> = latencies.iter().map(|one| (one.model.as_str(), one.latency.unwrap())).collect();
    assert_eq!(latencies, [("spare", Span::from_millis(100)), ("main", Span::from_millis(280))]);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(house.chosen().unwrap().considered.iter().all(|one| one.latency.is_none()), "it is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_wants_it_cheaper_has_the_cheaper_of_the_pool_speak() {
    let best = || pool(&["spare", "main"], Choose::Chain);
    let house = house(best(), &[], run_limit(CHEAP, AtEnd::Downgrade)).await;
    house.accept(1).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    let intent = house.intents().remove(0);
    assert_eq!((intent.reserved.nanos(), &intent.stand_in, house.spare.calls()), (CHEAP, &None, 0));
    assert_eq!(house.told(), ["main, the first of 2; not spare, because the budget of run/r does not cover it"]);
    let house = self::house(best(), &[], run_limit(CHEAP, AtEnd::Reject)).await;
    house.accept(1).await;
    assert!(house.finished().await.has_failed() && house.main.calls() == 0);
}

#[tokio::test(start_paused = true)]
async fn one_between_that_is_out_is_said_to_be_out_and_not_to_be_too_dear() {
    let three = pool(&["spare", "other", "third", "main"], Choose::Chain);
    let mut house = house(three, &[], run_limit(CHEAP, AtEnd::Downgrade)).await;
    for name in ["other", "third"] {
        let named = NamedModel { model: Moody::new("dear"), guard: format!("model/{name}") };
        Arc::get_mut(&mut house.stage).unwrap().models.insert(name.to_owned(), named);
    }
    house.break_guard("model/other").await;
    house.accept(1).await;
    house.finished().await;
    let intent = house.intents().remove(0);
    let out: Vec<_> = intent.choice.as_ref().unwrap().considered.iter().map(|one| one.out.clone()).collect();
    let dear = || Some(Outage::Budget { scope: ScopeId::Run("r".to_owned()) });
    assert_eq!(out, [dear(), open("model/other"), dear(), None]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_too_dear_while_the_first_is_out_fails_nothing() {
    let budget = run_limit(DEAR - 1, AtEnd::Reject);
    let house = house(pool(&["main", "spare"], Choose::Cheapest), &[], budget).await;
    house.break_guard("model/main").await;
    house.accept(1).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    assert_eq!((house.main.calls(), house.spare.calls()), (1, 0), "it waited for the first");
}

#[tokio::test(start_paused = true)]
async fn failures_are_held_against_the_model_that_they_were_made_with() {
    let house = house(pool(&["spare", "main"], Choose::Cheapest), &[], BudgetPolicy::default()).await;
    house.try_twice();
    house.main.turn(true);
    house.accept(1).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    assert_eq!((house.main.calls(), house.spare.calls()), (2, 1));
    let leaf = state.leaves.values().next().unwrap();
    assert_eq!((leaf.failures, leaf.failed_with.get("main")), (2, Some(&2)));
    assert!(house.told()[2].starts_with("spare, the cheapest of 2; not main, because its attempts with model/main"));
}

#[tokio::test(start_paused = true)]
async fn who_stands_in_acts_when_all_of_the_pool_is_out() {
    let house = house(pool(&["main", "spare"], Choose::Cheapest), &["agent/reviewer"], BudgetPolicy::default()).await;
    house.break_guard("model/main").await;
    assert_eq!((house.who().as_str(), house.model().as_str()), ("writer", "spare"));
    house.break_guard("model/spare").await;
    assert_eq!((house.who().as_str(), house.chosen()), ("agent/reviewer", None));
    house.accept(1).await;
    house.finished().await;
    let stand_in = house.intents()[0].stand_in.clone().unwrap();
    assert_eq!(stand_in.because, open("model/main").unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_none_of_the_pool_can_make_fails_with_what_each_lacks() {
    let house = house(pool(&["main", "spare"], Choose::Cheapest), &[], BudgetPolicy::default()).await;
    let writer = &house.stage.agents["writer"];
    let kit = Kit { tools: Permissions::new(["http.fetch"]), ..Kit::default() };
    writer.respecify(AgentSpec { kit, ..AgentSpec::clone(&writer.spec()) });
    house.accept(1).await;
    let Some(End::Failed(failed)) = house.finished().await.end else { panic!("it did not fail") };
    let wanted = "no model of the pool of `writer` can make this call: main: it cannot use tools; spare: it cannot";
    assert!(failed.message.contains(wanted), "{}", failed.message);
    assert_eq!((house.main.calls(), house.spare.calls()), (0, 0));
}

#[test]
fn an_intent_of_before_there_was_a_choice_is_read() {
    let intent = fixture::intended("s", "k", 1, Money::ZERO, Vec::new());
    let written = serde_json::to_value(&intent).unwrap();
    assert!(written.get("choice").is_none(), "and written as it was: {written}");
    assert_eq!(serde_json::from_value::<Intended>(written).unwrap(), intent);
}
