//! How much a model thinks: as its step or its agent says, reserved for, and no hindrance to a stand-in.

use policies::failure::FailureClass;
use policies::fallback::StandIn;
use policies::tokens::Tokens;

use super::{House, script};
use crate::agent::{AgentTerms, Kit};
use crate::model::{Ability, Thinking};
use crate::run::Event;
use crate::scripted::{Answer, Scripted};

const BUDGET: u64 = 2000;
/// What a token costs, in nano-dollars.
const TOKEN: u64 = 1000;

fn thinker() -> Kit {
    Kit { thinking: Some(Thinking::Budget(Tokens(BUDGET))), ..Kit::default() }
}

/// What was reserved for each attempt of a run, in nano-dollars.
fn reserved(house: &House) -> Vec<u64> {
    let of = |event| if let Event::Intended(intent) = event { Some(intent.reserved.nanos()) } else { None };
    house.events().into_iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_thought_is_reserved_beside_the_answer() {
    let ask = async |kit: Kit, lines: &str| {
        let house = House::new(vec![("writer", script().otherwise([Answer::say("Lamps.")]), kit)]).await;
        assert_eq!(house.says(lines).await, "Lamps.");
        reserved(&house)[0]
    };
    let plain = ask(Kit::default(), "").await;
    assert_eq!(ask(thinker(), "").await, plain + BUDGET * TOKEN, "as the agent says");
    assert_eq!(ask(thinker(), "thinking = 5000").await, plain + 5000 * TOKEN, "the step says otherwise");
    assert_eq!(ask(thinker(), "thinking = \"off\"").await, plain);
    assert_eq!(ask(thinker(), "parse = \"score\"").await, plain, "a grade is not thought about");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_be_told_refuses_and_a_stand_in_goes_without() {
    let unable = || script().without(&[Ability::Thinking]);
    let said = |model: Scripted| model.otherwise([Answer::say("Lamps.")]);
    let house = House::new(vec![("writer", said(unable()), Kit::default())]).await;
    let told = house.says("thinking = \"low\"").await;
    assert!(told.contains("m cannot be told how much to think"), "{told}");
    let house = House::new(vec![("writer", said(unable()), Kit::default())]).await;
    assert_eq!(house.says("thinking = \"off\"").await, "Lamps.", "it thinks of nothing by itself");
    let terms = AgentTerms { fallback: vec![StandIn::Model("other".to_owned())], ..AgentTerms::default() };
    let down = script().otherwise([Answer::fail(FailureClass::ProviderDown)]);
    let house = House::of(vec![("writer", down, thinker())], Vec::new(), vec![("other", said(unable()))], terms).await;
    assert_eq!(house.says("").await, "Lamps.");
    let reserved = reserved(&house);
    let (own, borrowed) = (reserved[0], *reserved.last().unwrap());
    assert_eq!(own - borrowed, BUDGET * TOKEN, "{reserved:?}");
}
