//! The bounds of a step hold for calls that are under way too.

use std::time::Duration;

use policies::tokens::Tokens;
use serde_json::json;

use super::{House, kit, script};
use crate::agent::{AgentMsg, Kit};
use crate::run::Event;
use crate::scripted::Answer;

#[tokio::test(start_paused = true)]
async fn what_is_under_way_counts_against_the_tokens_of_its_step() {
    let ask = || ("agent_researcher".to_owned(), json!({ "task": "Find it." }));
    let late = Answer::Late(Duration::from_secs(1), "Found.".to_owned());
    for (tokens_max, asked) in [(45, 1), (70, 2)] {
        let writer = script().when("Found.", [Answer::say("Lamps.")]).otherwise([Answer::Use(vec![ask(), ask()])]);
        let researcher = script().otherwise([late.clone()]);
        let members = vec![("writer", writer, kit(&["agent.*"])), ("researcher", researcher, Kit::default())];
        let house = House::new(members).await;
        house.says(&format!("tokens_max = {tokens_max}")).await;
        assert_eq!(house.calls("researcher"), asked, "two words and twenty may be taken by each");
        let usage = house.state().usage;
        assert!(usage.input_total() + usage.output <= Tokens(tokens_max));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_cut_off_when_the_time_of_its_step_is_over() {
    let model = script().otherwise([Answer::Slow(Duration::from_secs(1), "lamps and ".repeat(10))]);
    let house = House::new(vec![("writer", model, Kit::default())]).await;
    let began = house.ground.world.elapsed();
    let said = house.says("time_max = \"5s\"").await;
    assert!(said.contains("`write` is at its time_max: m was under way and was cut off"), "{said}");
    assert!(house.ground.world.elapsed() - began < Duration::from_secs(6));
    let reserved = house.events().into_iter().find_map(|event| match event {
        Event::Intended(intent) => Some(intent.reserved),
        _ => None,
    });
    assert_eq!((Some(house.state().cost), house.calls("writer")), (reserved, 1));
    let agent = &house.stage.agents["writer"];
    assert!(agent.front().ask(AgentMsg::Status).await.unwrap().is_empty(), "nothing of it is left");
}
