//! Calls that need more than is left of their provider's limits.

use actors::guard::Left;

use super::*;
use crate::model::OutputSchema;
use crate::schema::Structured;

/// How long a run of one call takes, when so many tokens are left for another half a minute.
async fn took(left: u64) -> Duration {
    let house = House::with(&[]).await;
    let resets_in = Duration::from_secs(30);
    house.stage.guards.get("model/main").leaves(Left { tokens: Some((Tokens(left), resets_in)), ..Left::default() });
    let before = house.ground.world.elapsed();
    let text = "[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"p\"\noutput_max = 20\n";
    house.take_on(text, Terms::default()).await;
    let state = house.finished().await;
    assert!(matches!(state.end, Some(End::Finished { .. })), "{:?}", state.end);
    assert_eq!(house.main.calls(), 1);
    house.ground.world.elapsed() - before
}

#[tokio::test(start_paused = true)]
async fn a_call_that_needs_more_than_is_left_waits_and_a_smaller_one_does_not() {
    assert!(took(1_000).await < Duration::from_secs(5));
    let waited = took(5).await;
    assert!((30..60).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_call_waits_no_longer_than_it_was_first_told_however_many_small_ones_are_made() {
    let house = House::with(&[]).await;
    let guard = house.stage.guards.get("model/main");
    let text = "[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"p\"\noutput_max = 20\n";
    let left = || Left { tokens: Some((Tokens(5), Duration::from_secs(30))), ..Left::default() };
    guard.leaves(left());
    house.take_on(text, Terms::default()).await;
    // Every five seconds a small call is answered.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        guard.leaves(left());
    }
    assert_eq!(house.main.calls(), 1);
}

/// A call of the writer that asks for JSON of a model that does not keep to schemas by itself.
fn held_to_a_schema(house: &House) -> (Action, Cast) {
    let writer = &house.stage.agents["writer"];
    let model = Structured::around(Arc::clone(&house.main) as Arc<dyn Model>);
    writer.respecify(AgentSpec { model, ..AgentSpec::clone(&writer.spec()) });
    let Action::Agent(call) = call() else { panic!() };
    let schema = OutputSchema { name: "lamp".to_owned(), schema: serde_json::json!({ "type": "object" }) };
    let call = AgentCall { schema: Some(Box::new(schema)), ..call };
    (Action::Agent(call), house.cast(0).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_call_needs_no_more_than_its_first_request() {
    let house = House::with(&[]).await;
    let (action, cast) = held_to_a_schema(&house);
    let need = house.stage.need(&action, &cast);
    assert_eq!((need.input, need.output), (Tokens(10), Tokens(20)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_reserved_for_one_answer_and_a_call_for_those_that_put_it_right() {
    let house = House::with(&[]).await;
    let (action, cast) = held_to_a_schema(&house);
    let (Action::Agent(call), Some(speaker)) = (&action, &cast.speaker) else { panic!() };
    let request = speaker.request(call, &house.stage.prices);
    let worst = |waits| house.stage.worst_of_request(&request, speaker, waits).unwrap();
    let ((batch, half), (now, whole)) = (worst(true), worst(false));
    // Ten tokens in and twenty out at the most, at half the price.
    assert_eq!((batch.batch, batch.counted, half.nanos()), (true, Tokens(10), spending::CHEAP / 2));
    assert_eq!((now.batch, now.counted), (false, Tokens(0)));
    assert!(whole.nanos() > 3 * spending::CHEAP);
}
