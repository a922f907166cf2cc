//! The places where ractor, and supervisors built on it, are known to bite.

use ractor::ActorCell;

use super::*;
use crate::SpawnError;

const RUNS: &str = r#"
    root = "root"
    [supervisor.root]
    intensity = { restarts = 3, within = "10s" }
    children = ["runs"]
    [dynamic.runs]
    child = { restart = "transient", backoff = { first = "2s", jitter = 0.0 } }
"#;

/// A kill ends an actor with a "normal" termination in ractor's eyes; a supervisor that believes it
/// leaves a transient child down.
#[tokio::test(start_paused = true)]
async fn a_transient_child_killed_by_the_watchdog_is_restarted() {
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", "[worker.b]\nrestart = \"transient\""));
    let tree = yard.up().await;
    yard.tell("b", Do::Sleep(3600 * SECOND));
    tree.fault("b", Fault::Hung).await.unwrap();
    let picture = up_again(&tree, "b", 2).await;
    assert_eq!(picture.find("b").unwrap().last_failure.as_ref().unwrap().class, FailureClass::Hung);
}

/// A timer that fires for a child that was stopped meanwhile brings it back.
#[tokio::test(start_paused = true)]
async fn a_child_stopped_during_its_back_off_is_not_brought_back() {
    let slow = "[worker.b]\nbackoff = { first = \"5s\", jitter = 0.0 }";
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", slow));
    let tree = yard.up().await;
    yard.tell("b", Do::Panic);
    until(&tree, "backing off", |tree| tree.find("b").unwrap().state == NodeState::Backoff).await;
    assert!(tree.park("b").await);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((yard.live(), tree.draw().find("b").unwrap().state), (vec!["a".into(), "c".into()], NodeState::Parked));
    assert!(tree.resume("b").await);
    up_again(&tree, "b", 2).await;
}

/// The same for a kill: the child's next life comes once, in its time.
#[tokio::test(start_paused = true)]
async fn a_kill_during_a_back_off_changes_nothing() {
    let slow = "[worker.b]\nbackoff = { first = \"5s\", jitter = 0.0 }";
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", slow));
    let tree = yard.up().await;
    let begun = yard.world.elapsed();
    yard.tell("b", Do::Panic);
    until(&tree, "backing off", |tree| tree.find("b").unwrap().state == NodeState::Backoff).await;
    assert!(tree.fault("b", Fault::Hung).await.is_err());
    up_again(&tree, "b", 2).await;
    assert!(yard.world.elapsed() - begun >= 5 * SECOND);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(tree.draw().find("b").unwrap().generation, 2);
}

/// A parent's exit kills its children in ractor, except those that are draining.
#[tokio::test(start_paused = true)]
async fn a_parent_killed_while_its_child_drains_leaves_no_orphan() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    yard.tell("c", Do::Sleep(60 * SECOND));
    let closing = {
        let tree = tree.clone();
        yard.world.spawn("shutdown", async move { tree.shutdown().await })
    };
    until(&tree, "draining", |tree| tree.find("c").unwrap().state == NodeState::Stopping).await;
    // Asked by nobody in the tree: straight at the actor.
    let mid = tree.shared.board.find("mid").and_then(|(node, ..)| tree.shared.board.cell(node)).unwrap();
    mid.kill();
    closing.await.unwrap();
    assert!(yard.live().is_empty());
}

/// `spawn_linked` links only after `pre_start`, so no supervision event tells of a start that failed.
#[tokio::test(start_paused = true)]
async fn a_pre_start_that_fails_is_seen_and_counted() {
    let yard = Yard::new(&three("rest_for_one"));
    let tree = yard.up().await;
    yard.habit("b", Habit { failing_starts: 2, ..Habit::default() });
    yard.tell("b", Do::Panic);
    let picture = up_again(&tree, "c", 2).await;
    assert_eq!(picture.find("b").unwrap().restarts, 3);
    yard.habit("b", Habit { failing_starts: 1, ..Habit::default() });
    yard.tell("b", Do::Panic);
    assert!(matches!(tree.wait().await, Ended::Escalated(_)), "one restart more than are allowed");
    assert!(yard.live().is_empty());
}

/// ractor frees a name when the actor ends, not when its parent has heard of it; and not at once
/// after a kill.
#[tokio::test(start_paused = true)]
async fn a_child_that_is_registered_under_a_name_is_respawned_under_it() {
    let mut yard = Yard::new(&three("rest_for_one"));
    let record = Arc::clone(&yard.record);
    let named: Factory = Arc::new(move |context: StartContext| {
        let arguments = (context.name.clone(), Arc::clone(&record));
        Box::pin(async move {
            let name = Some("pitfalls/same-name".to_owned());
            let (hand, _) = Actor::spawn_linked(name, Hand, arguments, context.supervisor).await?;
            Ok(hand.get_cell())
        })
    });
    yard.factories.insert("c".into(), named);
    let tree = yard.up().await;
    let cell = || ractor::registry::where_is("pitfalls/same-name");
    for generation in 2..=4 {
        // By turns on its own, by its supervisor, and with its elder.
        match generation {
            2 => cell().as_ref().map(ActorCell::kill).unwrap(),
            3 => tree.fault("c", Fault::Kill).await.unwrap(),
            _ => yard.tell("b", Do::Panic),
        }
        let picture = up_again(&tree, "c", generation).await;
        assert_eq!(picture.find("c").unwrap().restarts, 2.min(generation - 1), "no start failed on the way");
    }
    tree.shutdown().await;
    assert!(cell().is_none());
}

/// A dynamic child's name is free when its end has been told.
#[tokio::test(start_paused = true)]
async fn a_stopped_childs_name_is_free_at_once() {
    let mut yard = Yard::new(RUNS);
    let one = yard.hand("one");
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    for _ in 0..20 {
        runs.spawn_child("one", one.clone()).await.unwrap();
        assert!(matches!(runs.spawn_child("one", one.clone()).await, Err(SpawnError::NameTaken { .. })));
        assert!(runs.stop_child("one").await);
    }
    assert!(yard.live().is_empty());
}

/// The default `handle_supervisor_evt` stops the parent on any child's exit.
#[tokio::test(start_paused = true)]
async fn a_childs_exit_does_not_stop_its_parent() {
    let yard = Yard::new(&NESTED.replace("[worker.b]", "[worker.b]\nrestart = \"transient\""));
    let tree = yard.up().await;
    yard.tell("b", Do::End);
    until(&tree, "done", |tree| tree.find("b").unwrap().state == NodeState::Done).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(yard.live(), ["a", "c", "z"]);
    assert_eq!(tree.draw().find("mid").unwrap().generation, 1);
}

/// Stop is one-shot in ractor: a second `stop_and_wait` is an error.
#[tokio::test(start_paused = true)]
async fn a_child_that_stops_itself_during_a_shutdown_is_waited_for() {
    let yard = Yard::new(&three("one_for_one"));
    yard.habit("b", Habit { stop_takes: 3 * SECOND, ..Habit::default() });
    let tree = yard.up().await;
    yard.slots["b"].current().unwrap().stop(None);
    let report = tree.shutdown().await;
    assert_eq!(report, ShutdownReport::default());
    assert!(yard.live().is_empty());
}

/// Only an await lets a kill in. What blocks is named, and nothing is started beside it; when it
/// returns, it ends, and its next life begins.
#[test]
fn a_blocking_handler_is_reported_and_its_next_life_waits_for_it() {
    let quick = "[worker.b]\nliveness = { progress_within = \"1s\", killed_within = \"20ms\" }";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let yard = Yard::new(&three("one_for_one").replace("[worker.b]", quick));
        let tree = yard.up().await;
        let ((hold, held), (begun, begins)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        yard.tell("b", Do::Block(begun, held));
        begins.recv().unwrap();
        tree.fault("b", Fault::Hung).await.unwrap();
        let picture = until(&tree, "stuck", |tree| tree.find("b").unwrap().state == NodeState::Stuck).await;
        assert_eq!(picture.find("b").unwrap().generation, 1);
        assert!(yard.take_events().contains(&SupervisionEvent::Stuck { child: "b".into() }));
        drop(hold);
        let picture = up_again(&tree, "b", 2).await;
        assert_eq!(picture.find("b").unwrap().last_failure.as_ref().unwrap().class, FailureClass::Hung);
        tree.shutdown().await;
        assert!(yard.live().is_empty());
    });
}
