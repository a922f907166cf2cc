//! Whoever is asked draws on the budget of whoever asks.

use std::collections::BTreeMap;

use policies::budget::{BudgetPolicy, Limits, ScopeId};
use policies::history::{HistoryPolicy, How};
use policies::money::Money;
use policies::tokens::Tokens;
use serde_json::json;

use super::{House, Member, fetch, kit, script};
use crate::agent::{Guardrail, Kit, Rule};
use crate::run::{End, Event};
use crate::scripted::{Answer, Scripted};
use crate::workflow::{OnBreach, Side};

fn asks(whom: &str) -> Answer {
    Answer::Use(vec![(format!("agent_{whom}"), json!({ "task": "Find the colour." }))])
}

/// A writer who asks a researcher, who asks a reader.
fn chain() -> Vec<Member> {
    let writer = script().when("it is blue", [Answer::say("Blue lamps.")]).otherwise([asks("researcher")]);
    let researcher = script().when("so blue", [Answer::say("it is blue")]).otherwise([asks("reader")]);
    let reader = script().otherwise([Answer::say("so blue")]);
    vec![
        ("writer", writer, kit(&["agent.*"])),
        ("researcher", researcher, kit(&["agent.*"])),
        ("reader", reader, Kit::default()),
    ]
}

/// Which agents' budgets pay for the calls at each path.
fn payers(house: &House) -> BTreeMap<String, Vec<String>> {
    let intended = |event| if let Event::Intended(intent) = event { Some(intent) } else { None };
    let intents = house.events().into_iter().filter_map(intended).filter(|intent| intent.call.is_some());
    let agent = |scope: &ScopeId| if let ScopeId::Agent(name) = scope { Some(name.clone()) } else { None };
    intents.map(|intent| (intent.path.to_string(), intent.scopes.iter().filter_map(agent).collect())).collect()
}

fn spent(accounts: &policies::budget::Accounts, agent: &str) -> Money {
    accounts.account(&ScopeId::Agent(agent.to_owned())).spent
}

#[tokio::test(start_paused = true)]
async fn a_call_is_paid_from_the_budget_of_each_that_had_it_made_over_restarts_too() {
    let house = House::new(chain()).await;
    assert_eq!(house.says("").await, "Blue lamps.");
    let payers = payers(&house);
    assert_eq!(payers["write"], ["writer"]);
    assert_eq!(payers["write@1[0]"], ["researcher", "writer"]);
    assert_eq!(payers["write@1[0]@1[0]"], ["reader", "writer", "researcher"]);
    assert_eq!(payers["write@1[0]@2"], ["researcher", "writer"]);
    let accounts = house.stage.ledger.accounts().await.unwrap();
    let (all, some, least) = (spent(&accounts, "writer"), spent(&accounts, "researcher"), spent(&accounts, "reader"));
    assert_eq!(all, house.state().cost);
    assert!(all > some && some > least && least > Money::ZERO, "{all} {some} {least}");
    // A ledger that folds the journal anew finds the same.
    let (anew, _) = house.ground.ledger(house.budget.watch(), None).await;
    let anew = anew.accounts().await.unwrap();
    assert_eq!((spent(&anew, "writer"), spent(&anew, "researcher"), spent(&anew, "reader")), (all, some, least));
}

#[tokio::test(start_paused = true)]
async fn an_agent_at_the_end_of_its_budget_does_not_go_on_by_asking_another() {
    let house = House::new(chain()).await;
    house.says("").await;
    let first = house.events().into_iter().find_map(|event| match event {
        Event::Intended(intent) => Some(intent.reserved),
        _ => None,
    });
    // What the first call leaves of its worst case is less than the second may cost.
    let first = first.unwrap();
    let house = House::new(chain()).await;
    let agents = BTreeMap::from([("writer".to_owned(), Limits::total(first))]);
    house.budget.set(BudgetPolicy { agents, ..BudgetPolicy::default() });
    house.says("").await;
    let Some(End::Failed(failed)) = house.state().end else { panic!("{:?}", house.state().end) };
    assert_eq!(failed.refusal.unwrap().scope, ScopeId::Agent("writer".to_owned()));
    assert_eq!((house.calls("writer"), house.calls("researcher")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_judges_or_sums_up_draws_on_the_budget_of_whom_it_serves() {
    let rule = Rule::Judge { agent: "reviewer".to_owned(), criteria: "Is it kind?".to_owned(), score_min: 6.0 };
    let (name, on) = ("house".to_owned(), Side::Output);
    let judge = Guardrail { name, on, rule, then: OnBreach::Fail, retries_max: 2, otherwise: OnBreach::Fail };
    let by = Some("reviewer".to_owned());
    let history = HistoryPolicy {
        keep_last: 2,
        how: How::Summarise,
        by,
        summary_max: Tokens(20),
        ..HistoryPolicy::of(Tokens(500))
    };
    let read = |script: Scripted, page: usize| {
        script.when(format!("go to p{page}."), [Answer::Use(vec![fetch(&format!("p{page}"))])])
    };
    let writer = (2..=8).rev().fold(script().when("this is the end", [Answer::say("Kind lamps.")]), read);
    let writer = writer.otherwise([Answer::Use(vec![fetch("p1")])]);
    let reviewer = script().when("Kind lamps.", [Answer::say("9")]).otherwise([Answer::say("Pages were read.")]);
    let kit = Kit { guardrails: vec![judge], history: Some(history), turns_max: 20, ..kit(&["http.fetch"]) };
    let house = House::new(vec![("writer", writer, kit), ("reviewer", reviewer, Kit::default())]).await;
    assert_eq!(house.says("").await, "Kind lamps.");
    let payers = payers(&house);
    let served = |end: &str| payers.iter().filter(|(path, _)| path.ends_with(end)).collect::<Vec<_>>();
    for (_, payers) in served("~").into_iter().chain(served("?0")) {
        assert_eq!(*payers, ["reviewer", "writer"]);
    }
    assert!(!served("~").is_empty() && !served("?0").is_empty(), "{payers:?}");
}
