//! Calls that need more than is left of their provider's limits.

use actors::guard::Left;

use super::*;

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
