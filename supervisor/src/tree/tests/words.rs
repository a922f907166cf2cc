//! What operators say of a child or a branch.

use super::*;
use crate::{Duty, NotFollowed, Word};

fn state(picture: &TreeSnapshot, name: &str) -> NodeState {
    picture.find(name).unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_stopped_child_stays_down_over_the_restart_of_its_supervisor_until_it_is_resumed() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    assert_eq!(tree.operate("mid.b", Word::Stop).await.as_deref(), Ok("b"));
    until(&tree, "stopped", |picture| state(picture, "b") == NodeState::Parked).await;
    // `mid` and what comes after it are started again with it.
    yard.tell("a", Do::Panic);
    up_again(&tree, "mid", 2).await;
    up_again(&tree, "z", 2).await;
    assert_eq!(yard.live(), ["a", "c", "z"]);
    tree.operate("b", Word::Resume).await.unwrap();
    up_again(&tree, "b", 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_branch_restarts_in_order() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    tree.operate("mid", Word::Restart).await.unwrap();
    up_again(&tree, "mid", 2).await;
    assert_eq!(yard.take_log(), "-c -b +b +c");
    assert_eq!(tree.draw().find("mid").unwrap().restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_paused_branch_begins_nothing_new_until_it_is_resumed() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    let takes = || ["a", "b", "c", "z"].map(|name| yard.slots[name].gate().unwrap().is_open());
    tree.operate("c", Word::Pause).await.unwrap();
    tree.operate("mid", Word::Pause).await.unwrap();
    assert_eq!(takes(), [true, false, false, true]);
    assert_eq!(tree.draw().find("mid").unwrap().duty, Duty::Paused);
    // A restart opens no gate.
    yard.tell("b", Do::Panic);
    up_again(&tree, "b", 2).await;
    assert_eq!(takes(), [true, false, false, true]);
    tree.operate("mid", Word::Resume).await.unwrap();
    assert_eq!(takes(), [true, true, false, true], "`c` was paused by a word of its own");
    tree.operate("c", Word::Resume).await.unwrap();
    assert_eq!(takes(), [true; 4]);
    assert_eq!(yard.live(), ["a", "b", "c", "z"]);
}

#[tokio::test(start_paused = true)]
async fn a_drained_branch_finishes_what_is_under_way_and_stops_then() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    let work = yard.slots["c"].begin("a long step").unwrap();
    tree.operate("mid", Word::Drain).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let picture = tree.draw();
    let shown = &picture.find("c").unwrap().work[0];
    assert_eq!((shown.what.as_str(), shown.lasts.0), ("a long step", 60 * SECOND));
    assert_eq!((state(&picture, "mid"), picture.find("mid").unwrap().duty), (NodeState::Up, Duty::Draining));
    assert!(!yard.slots["b"].gate().unwrap().is_open(), "it begins nothing new");
    drop(work);
    until(&tree, "drained", |picture| state(picture, "mid") == NodeState::Parked).await;
    assert_eq!((yard.take_log().as_str(), yard.live()), ("-c -b", vec!["a".to_owned(), "z".to_owned()]));
    tree.operate("mid", Word::Restart).await.unwrap();
    up_again(&tree, "c", 2).await;
    assert!(yard.slots["b"].gate().unwrap().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_word_that_cannot_be_followed_says_why_and_changes_nothing() {
    let yard = Yard::new(&NESTED.replace("[worker.z]", "[worker.writer]").replace("\"z\"", "\"writer\""));
    let tree = yard.up().await;
    for (name, word, wanted) in [
        ("writre", Word::Stop, "the tree has no node `writre`; did you mean `writer`?"),
        ("a.b", Word::Stop, "the tree has no node `a.b`; did you mean `b`?"),
        ("", Word::Stop, "the tree has no node ``; `callboard tree` lists them"),
        ("root", Word::Restart, "`root` is the root of the tree and cannot be told to restart"),
        ("b", Word::Resume, "`b` cannot be told to resume now: it is up and takes work"),
    ] {
        let told = tree.operate(name, word).await.unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{told}");
    }
    assert_eq!(yard.live(), ["a", "b", "c", "writer"]);
    tree.shutdown().await;
    let told = tree.operate("b", Word::Restart).await;
    assert_eq!(told, Err(NotFollowed::Down { name: "b".into() }));
}
