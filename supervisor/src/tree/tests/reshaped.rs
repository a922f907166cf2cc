//! A tree that gets another shape while it runs.

use super::*;
use crate::Word;

fn policy(text: &str) -> TreePolicy {
    TreePolicy::read("tree.toml", text).unwrap()
}

/// A yard of this tree, with hands for these as well.
fn yard(text: &str, more: &[&str]) -> Yard {
    let mut yard = Yard::new(text);
    for name in more {
        let factory = yard.hand(name);
        yard.factories.insert((*name).to_owned(), factory);
    }
    yard
}

fn names(tree: &Tree) -> String {
    tree.draw().root.nodes().map(|node| node.name.clone()).collect::<Vec<_>>().join(" ")
}

async fn settled(tree: &Tree, wanted: &str) {
    let is_there = |picture: &TreeSnapshot| {
        let names: Vec<_> = picture.root.nodes().map(|node| node.name.as_str()).collect();
        names.join(" ") == wanted && picture.root.nodes().all(|node| node.state == NodeState::Up)
    };
    until(tree, wanted, is_there).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_comes_starts_in_its_place_and_one_that_goes_stops_and_nobody_else_hears_of_it() {
    let yard = yard(&three("rest_for_one"), &["d"]);
    let tree = yard.up().await;
    let text =
        three("rest_for_one").replace("\"a\", \"b\", \"c\"", "\"a\", \"d\", \"c\"").replace("worker.b", "worker.d");
    tree.govern(&policy(&text)).unwrap();
    settled(&tree, "root a d c").await;
    assert_eq!(yard.take_log(), "-b +d");
    assert_eq!(yard.live(), ["a", "c", "d"]);
    yard.tell("d", Do::Panic);
    up_again(&tree, "c", 2).await;
    assert_eq!(tree.draw().find("a").unwrap().generation, 1, "it goes by the new order");
    yard.take_log();
    tree.shutdown().await;
    assert_eq!(yard.take_log(), "-c -d -a");
}

#[tokio::test(start_paused = true)]
async fn another_order_disturbs_nobody() {
    let yard = Yard::new(&three("rest_for_one"));
    let tree = yard.up().await;
    tree.govern(&policy(&three("rest_for_one").replace("\"a\", \"b\", \"c\"", "\"c\", \"b\", \"a\""))).unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!((yard.take_log().as_str(), names(&tree).as_str()), ("", "root c b a"));
    tree.shutdown().await;
    assert_eq!(yard.take_log(), "-a -b -c");
}

#[tokio::test(start_paused = true)]
async fn who_goes_has_its_time_and_is_killed_then() {
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", "[worker.b]\nshutdown = \"2s\""));
    let tree = yard.up().await;
    yard.tell("b", Do::Sleep(60 * SECOND));
    let begun = yard.world.elapsed();
    tree.govern(&policy(&three("one_for_one").replace("\"a\", \"b\"", "\"a\"").replace("[worker.b]", ""))).unwrap();
    settled(&tree, "root a c").await;
    assert!((2 * SECOND..3 * SECOND).contains(&(yard.world.elapsed() - begun)));
    assert_eq!(yard.live(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_branch_comes_and_goes_as_a_whole() {
    let yard = yard(&three("one_for_one"), &["z"]);
    let tree = yard.up().await;
    tree.govern(&policy(NESTED)).unwrap();
    settled(&tree, "root a mid b c z").await;
    // Two of them had to change their supervisor.
    assert_eq!(yard.take_log(), "-c -b +b +c +z");
    yard.tell("b", Do::Panic);
    up_again(&tree, "b", 3).await;
    let alone = "root = 'root'\n[supervisor.root]\nchildren = ['a', 'z']\n[worker.a]\n[worker.z]";
    yard.take_log();
    tree.govern(&policy(alone)).unwrap();
    settled(&tree, "root a z").await;
    assert_eq!(yard.take_log(), "-c -b");
}

#[tokio::test(start_paused = true)]
async fn who_moves_never_lives_twice_and_keeps_what_was_said_and_known_of_it() {
    let yard = Yard::new(NESTED);
    yard.habit("c", Habit { stop_takes: 3 * SECOND, ..Habit::default() });
    let tree = yard.up().await;
    yard.tell("c", Do::Panic);
    up_again(&tree, "c", 2).await;
    tree.operate("c", Word::Pause).await.unwrap();
    let text = NESTED.replace("\"b\", \"c\"", "\"b\"").replace("\"mid\", \"z\"", "\"c\", \"mid\", \"z\"");
    tree.govern(&policy(&text)).unwrap();
    tree.govern(&policy(NESTED)).unwrap();
    tree.govern(&policy(&text)).unwrap();
    settled(&tree, "root a c mid b z").await;
    assert_eq!(yard.live(), ["a", "b", "c", "z"]);
    let c = tree.draw().find("c").cloned().unwrap();
    assert_eq!((c.generation, c.restarts, c.duty), (3, 1, crate::Duty::Paused));
    assert!(c.last_failure.is_some() && !tree.gate("c").is_open());
    tree.operate("c", Word::Resume).await.unwrap();
    assert!(yard.slots["c"].gate().unwrap().is_open());
}

#[tokio::test(start_paused = true)]
async fn work_for_a_worker_that_is_gone_waits_until_it_is_back() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    assert!(!tree.gate("nobody").is_open(), "there is none yet");
    let without = three("one_for_one").replace("\"b\", ", "").replace("[worker.b]", "");
    tree.govern(&policy(&without)).unwrap();
    settled(&tree, "root a c").await;
    let gate = yard.slots["b"].gate().unwrap().clone();
    assert!(!gate.is_open());
    tree.govern(&policy(&three("one_for_one"))).unwrap();
    gate.opened().await;
    settled(&tree, "root a b c").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_becomes_a_supervisor() {
    let yard = yard(&three("one_for_one"), &["z"]);
    let tree = yard.up().await;
    let text = three("one_for_one").replace("[worker.c]", "[supervisor.c]\nchildren = [\"z\"]\n[worker.z]");
    tree.govern(&policy(&text)).unwrap();
    settled(&tree, "root a b c z").await;
    assert_eq!(yard.take_log(), "-c +z");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_down_comes_back_in_its_new_shape() {
    let slow = "[supervisor.mid]\nbackoff = { first = \"10s\", factor = 1.0, cap = \"10s\", jitter = 0.0 }";
    let text = NESTED.replace("[supervisor.mid]", slow);
    let yard = yard(&text, &["d"]);
    let tree = yard.up().await;
    tree.fault("mid", Fault::Kill).await.unwrap();
    until(&tree, "down", |tree| tree.find("mid").unwrap().state == NodeState::Backoff).await;
    yard.take_log();
    let other = text.replace("\"b\", \"c\"", "\"d\", \"b\"").replace("[worker.c]", "[worker.d]");
    tree.govern(&policy(&other)).unwrap();
    settled(&tree, "root a mid d b z").await;
    assert_eq!(yard.take_log(), "-z +d +b +z");
}

#[tokio::test(start_paused = true)]
async fn a_new_child_that_cannot_start_is_parked_and_its_supervisor_goes_on() {
    let yard = yard(&three("one_for_all"), &["d"]);
    yard.habit("d", Habit { failing_starts: 1, ..Habit::default() });
    let tree = yard.up().await;
    let text = three("one_for_all").replace("\"c\"]", "\"c\", \"d\"]") + "[worker.d]";
    tree.govern(&policy(&text)).unwrap();
    until(&tree, "parked", |tree| tree.find("d").is_some_and(|d| d.state == NodeState::Parked)).await;
    assert_eq!(yard.take_log(), "");
    assert!(tree.resume("d").await);
    settled(&tree, "root a b c d").await;
}

#[tokio::test(start_paused = true)]
async fn reloads_in_quick_succession_end_in_the_last() {
    let yard = yard(NESTED, &["d"]);
    for name in ["b", "c"] {
        yard.habit(name, Habit { start_takes: SECOND, stop_takes: SECOND, ..Habit::default() });
    }
    let tree = yard.up().await;
    let moved = NESTED.replace("\"b\", \"c\"", "\"c\"").replace("\"a\", \"mid\"", "\"b\", \"a\", \"mid\"");
    let without = NESTED.replace("\"b\", \"c\"", "\"c\", \"d\"").replace("[worker.b]", "[worker.d]");
    for round in 0..200 {
        let text = [NESTED, &moved, &without][round % 3];
        tree.govern(&policy(text)).unwrap();
        tokio::time::sleep(Duration::from_millis(37 * (round as u64 % 9))).await;
        yard.live();
    }
    tree.govern(&policy(&moved)).unwrap();
    settled(&tree, "root b a mid c z").await;
    assert_eq!(yard.live(), ["a", "b", "c", "z"]);
    let drawn = tree.draw();
    assert!(["a", "mid", "z"].iter().all(|name| drawn.find(name).unwrap().generation == 1), "they have stayed");
}
