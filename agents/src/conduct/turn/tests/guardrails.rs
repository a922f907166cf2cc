//! Guardrails: what is told to the model, held for a person, judged, and recorded.

use policies::approval::ApprovalPolicy;
use policies::budget::ScopeId;
use policies::money::Money;
use policies::rules::PostRules;
use serde_json::json;

use super::{House, script};
use crate::agent::{Guardrail, Kit, Rule};
use crate::run::{Act, Command, End, Status};
use crate::scripted::Answer;
use crate::workflow::{OnBreach, Side, StepPath};

fn guardrail(rule: Rule, then: OnBreach, side: Side) -> Guardrail {
    let otherwise = OnBreach::Fail;
    Guardrail { name: "house".to_owned(), on: side, rule, then, retries_max: 2, otherwise }
}

fn guarded(rule: Rule, then: OnBreach, side: Side) -> Kit {
    Kit { guardrails: vec![guardrail(rule, then, side)], ..Kit::default() }
}

fn no_prices() -> Rule {
    Rule::Forbid(regex::Regex::new(r"\$\d+").unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_a_guardrail_is_written_again_a_few_times_with_the_reason() {
    let model = script()
        .when("breaks the guardrail `house`: It holds what `\\$\\d+` describes", [Answer::say("Cheap lamps.")])
        .otherwise([Answer::say("Lamps for $9.")]);
    let house = House::new(vec![("writer", model, guarded(no_prices(), OnBreach::Retry, Side::Output))]).await;
    assert_eq!(house.says("").await, "Cheap lamps.");
    let turn = house.state().outcomes[&StepPath::from("write")]["turn"].clone();
    assert_eq!((&turn["breach"]["guard"], &turn["breach"]["then"]), (&json!("house"), &json!("retry")));
    let stubborn = script().otherwise([Answer::say("Lamps for $9.")]);
    let house = House::new(vec![("writer", stubborn, guarded(no_prices(), OnBreach::Retry, Side::Output))]).await;
    assert!(house.says("").await.starts_with("failed: the answer breaks the guardrail `house`"));
    assert_eq!(house.calls("writer"), 3);
    let rules = Rule::Text(PostRules { graphemes_max: Some(5), ..PostRules::default() });
    let house = House::new(vec![(
        "writer",
        script().otherwise([Answer::say("Lamps!!")]),
        guarded(rules, OnBreach::Fail, Side::Output),
    )])
    .await;
    assert!(house.says("").await.contains("may have at most 5"));
}

#[tokio::test(start_paused = true)]
async fn a_breach_may_wait_for_a_person_even_where_the_policy_approves_all() {
    let lamps = regex::Regex::new("(?i)lamps").unwrap();
    for side in [Side::Output, Side::Input] {
        let rule = Rule::Forbid(lamps.clone());
        let model = script().otherwise([Answer::say("Lamps.")]);
        let house = House::new(vec![("writer", model, guarded(rule, OnBreach::Park, side))]).await;
        let run = house.accept("", ApprovalPolicy::Automatic).await;
        house.until(|house| house.state().status() == Status::Waiting).await;
        let question = house.state().asked().next().unwrap().clone();
        assert_eq!(question.path.as_str(), "write@1?");
        assert!(question.what.contains("breaks the guardrail `house`"), "{}", question.what);
        assert_eq!(house.calls("writer"), u64::from(side == Side::Output), "nothing is asked before it is let in");
        run.ask(Command::new(Act::Approve { path: question.path, by: "ann".to_owned() })).await.unwrap();
        house.until(|house| house.state().end.is_some()).await;
        assert!(matches!(house.state().end, Some(End::Finished { .. })), "{:?}", house.state().end);
        assert_eq!(house.calls("writer"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_judges_what_another_has_written_and_its_call_is_paid_for_like_any_other() {
    let judge = || Rule::Judge { agent: "reviewer".to_owned(), criteria: "Is it kind?".to_owned(), score_min: 6.0 };
    let writer = || {
        script()
            .when("gives it 3 of 10, and 6 is the least", [Answer::say("Kind lamps.")])
            .otherwise([Answer::say("Bad lamps.")])
    };
    let reviewer = || script().when("Kind lamps.", [Answer::say("9")]).otherwise([Answer::say("3")]);
    let members = |then| {
        vec![("writer", writer(), guarded(judge(), then, Side::Output)), ("reviewer", reviewer(), Kit::default())]
    };
    let house = House::new(members(OnBreach::Retry)).await;
    assert_eq!(house.says("").await, "Kind lamps.");
    assert_eq!(house.paths(), ["write", "write@1?0", "write@2", "write@2?0"]);
    let accounts = house.stage.ledger.accounts().await.unwrap();
    assert!(accounts.account(&ScopeId::Agent("reviewer".to_owned())).spent > Money::ZERO);
    let house = House::new(members(OnBreach::Fail)).await;
    assert!(house.says("").await.contains("breaks the guardrail `house`: `reviewer` gives it 3 of 10"));
}
