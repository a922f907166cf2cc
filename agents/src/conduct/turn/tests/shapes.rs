//! Answers that are to be JSON: asked for, put right, reserved for, and held to at the end of a talk.

use policies::money::Money;
use serde_json::json;

use super::{House, fetch, kit, script};
use crate::agent::Kit;
use crate::model::Ability;
use crate::run::Event;
use crate::scripted::{Answer, Scripted};
use crate::workflow::StepPath;

const SCHEMA: &str =
    "schema = { type = \"object\", properties = { colour = { type = \"string\" } }, required = [\"colour\"] }";
const GOOD: &str = "{\"colour\":\"blue\"}";

/// A model that cannot keep to a schema by itself.
fn unable() -> Scripted {
    script().without(&[Ability::Schema])
}

/// What was reserved for the first call of a run, and what it cost.
fn paid(house: &House) -> (Money, Money) {
    let events = house.events();
    let reserved = events.iter().find_map(|event| match event {
        Event::Intended(intent) => Some(intent.reserved),
        _ => None,
    });
    let cost = events.iter().find_map(|event| match event {
        Event::Resolved(resolved) => Some(resolved.cost),
        _ => None,
    });
    (reserved.unwrap(), cost.unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_put_right_and_was_reserved_for() {
    let model = || {
        unable()
            .when("has no `colour`", [Answer::say(GOOD)])
            .when("is no JSON", [Answer::say("{}")])
            .otherwise([Answer::say("It is blue.")])
    };
    let house = House::new(vec![("writer", model(), Kit::default())]).await;
    assert_eq!(house.says(SCHEMA).await, GOOD);
    assert_eq!((house.calls("writer"), house.paths()), (3, vec!["write".to_owned()]), "one step, one intent");
    let ((reserved, cost), plain) = (paid(&house), House::new(vec![("writer", model(), Kit::default())]).await);
    assert_eq!(plain.says("").await, "It is blue.");
    assert!(cost <= reserved, "{cost} of {reserved}");
    // A token is a thousand nano-dollars, and each of the three replies may have twenty.
    let (without, _) = paid(&plain);
    assert!(
        reserved >= without.saturating_add(Money::from_nanos(40_000)),
        "{reserved} is reserved, and {without} without"
    );
}

#[tokio::test(start_paused = true)]
async fn a_talk_with_tools_has_its_schema_for_the_answer() {
    let model = || script().when("the lamp is blue", [Answer::say(GOOD)]).otherwise([Answer::Use(vec![fetch("lamp")])]);
    for model in [model(), model().without(&[Ability::Schema])] {
        let house = House::new(vec![("writer", model, kit(&["http.fetch"]))]).await;
        assert_eq!(house.says(SCHEMA).await, GOOD);
        assert_eq!(house.paths(), ["write", "write@1[0]", "write@2"]);
        assert_eq!(*house.state().outcomes[&StepPath::from("write@2")], json!({ "text": GOOD }));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_fits_fails_the_step_with_what_is_wrong() {
    for model in [script(), unable()] {
        let house = House::new(vec![("writer", model.otherwise([Answer::say("{}")]), Kit::default())]).await;
        let said = house.says(SCHEMA).await;
        assert!(said.contains("is not the JSON that was asked for: the whole: has no `colour`"), "{said}");
    }
}
