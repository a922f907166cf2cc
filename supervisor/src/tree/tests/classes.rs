//! What the classes of failures do to a running tree.

use super::*;
use crate::Hold;

/// Two agents behind one breaker, beside one that is not; the supervisor allows no restart at all.
const AGENTS: &str = r#"
    root = "root"
    [on.provider_down]
    action = "pause"
    [on.poison]
    action = "park"
    [supervisor.root]
    intensity = { restarts = 0, within = "1m" }
    children = ["writer", "reviewer", "feed"]
    [worker.writer]
    [worker.reviewer]
    [worker.feed]
"#;

fn paused(picture: &TreeSnapshot) -> Vec<&str> {
    let paused = picture.root.children.iter().filter(|node| node.state == NodeState::Paused);
    paused.map(|node| node.name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_outage_pauses_those_behind_the_breaker_and_uses_up_no_restarts() {
    let yard = Yard::new(AGENTS);
    let tree = yard.up().await;
    *yard.weather.breaker.lock().unwrap() = Some(30 * SECOND);
    for name in ["writer", "reviewer"] {
        yard.tell(name, Do::Fail(FailureClass::ProviderDown));
    }
    let picture = until(&tree, "paused", |picture| paused(picture).len() == 2).await;
    assert_eq!(paused(&picture), ["writer", "reviewer"]);
    assert_eq!(picture.find("writer").unwrap().held_by, Some(Hold::Breaker));
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(yard.live(), ["feed"], "an hour of outage, and the rest goes on");
    assert!(tree.is_up());
    *yard.weather.breaker.lock().unwrap() = None;
    let picture = up_again(&tree, "writer", 2).await;
    let picture = if picture.find("reviewer").unwrap().state == NodeState::Up {
        picture
    } else {
        up_again(&tree, "reviewer", 2).await
    };
    assert_eq!(picture.find("writer").unwrap().held_by, None);
    let paused: Vec<_> =
        yard.take_events().into_iter().filter(|event| matches!(event, SupervisionEvent::Paused { .. })).collect();
    assert_eq!(paused.len(), 2, "each is told once: {paused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_the_budget_cannot_pay_is_not_made_until_it_can() {
    let yard = Yard::new(&AGENTS.replace("restarts = 0", "restarts = 1"));
    let tree = yard.up().await;
    yard.weather.poor.lock().unwrap().insert("writer".into());
    yard.tell("writer", Do::Panic);
    let picture = until(&tree, "paused", |picture| !paused(picture).is_empty()).await;
    assert_eq!(picture.find("writer").unwrap().held_by, Some(Hold::Budget));
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(yard.live(), ["feed", "reviewer"]);
    yard.weather.poor.lock().unwrap().clear();
    up_again(&tree, "writer", 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_resumes_what_is_paused_and_what_is_parked() {
    let yard = Yard::new(AGENTS);
    let tree = yard.up().await;
    *yard.weather.breaker.lock().unwrap() = Some(30 * SECOND);
    yard.tell("writer", Do::Fail(FailureClass::ProviderDown));
    yard.tell("reviewer", Do::Fail(FailureClass::Poison));
    until(&tree, "held", |picture| paused(picture) == ["writer"]).await;
    let parked = |picture: &TreeSnapshot| picture.find("reviewer").unwrap().state == NodeState::Parked;
    until(&tree, "parked", parked).await;
    assert!(!tree.resume("feed").await && !tree.resume("nobody").await && !tree.park("root").await);
    assert!(tree.resume("writer").await && tree.resume("reviewer").await);
    up_again(&tree, "writer", 2).await;
    up_again(&tree, "reviewer", 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_keeps_down_is_told_apart_from_what_an_operator_stopped() {
    let yard = Yard::new(AGENTS);
    let tree = yard.up().await;
    let is_down = |name: &str| yard.slots[name].gate().unwrap().is_down();
    let parked = |picture: &TreeSnapshot, name: &str| picture.find(name).unwrap().state == NodeState::Parked;
    yard.tell("reviewer", Do::Fail(FailureClass::Poison));
    until(&tree, "parked", |picture| parked(picture, "reviewer")).await;
    assert!(is_down("reviewer") && !is_down("writer"));
    assert!(tree.resume("reviewer").await);
    up_again(&tree, "reviewer", 2).await;
    assert!(!is_down("reviewer"));
    assert!(tree.park("writer").await);
    until(&tree, "stopped", |picture| parked(picture, "writer")).await;
    assert!(!is_down("writer") && !yard.slots["writer"].gate().unwrap().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_neither_for_a_breaker_nor_for_an_operator() {
    let yard = Yard::new(AGENTS);
    let tree = yard.up().await;
    *yard.weather.breaker.lock().unwrap() = Some(30 * SECOND);
    yard.tell("writer", Do::Fail(FailureClass::ProviderDown));
    yard.tell("reviewer", Do::Fail(FailureClass::Poison));
    until(&tree, "held", |picture| paused(picture) == ["writer"]).await;
    let begun = yard.world.elapsed();
    assert_eq!(tree.shutdown().await, ShutdownReport::default());
    assert!(yard.world.elapsed() - begun < SECOND && yard.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_parked_branch_stops_in_order_and_comes_back_in_order() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    assert!(tree.park("mid").await);
    until(&tree, "parked", |picture| picture.find("mid").unwrap().state == NodeState::Parked).await;
    assert_eq!(yard.take_log(), "-c -b");
    assert_eq!(yard.live(), ["a", "z"]);
    assert!(tree.resume("mid").await);
    up_again(&tree, "mid", 2).await;
    assert_eq!(yard.take_log(), "+b +c");
}
