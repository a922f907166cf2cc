use super::*;
use crate::SpawnError;

const RUNS: &str = r#"
    root = "root"
    [supervisor.root]
    intensity = { restarts = 3, within = "10s" }
    children = ["runs"]
    [dynamic.runs]
    limit = 2
    intensity = { restarts = 2, within = "10s" }
    child = { restart = "transient", backoff = { first = "2s", jitter = 0.0 } }
"#;

#[tokio::test(start_paused = true)]
async fn there_is_room_for_so_many_children_and_no_more() {
    let mut yard = Yard::new(RUNS);
    let (one, two, three) = (yard.hand("one"), yard.hand("two"), yard.hand("three"));
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    runs.spawn_child("one", one.clone()).await.unwrap();
    assert_eq!(runs.spawn_child("one", one).await, Err(SpawnError::NameTaken { name: "one".into() }));
    runs.spawn_child("two", two).await.unwrap();
    let full = SpawnError::Full { supervisor: "runs".into(), max: 2 };
    assert_eq!(runs.spawn_child("three", three.clone()).await, Err(full));
    // Whoever ends makes room.
    yard.tell("one", Do::End);
    until(&tree, "gone", |tree| tree.find("one").is_none()).await;
    runs.spawn_child("three", three).await.unwrap();
    assert_eq!(yard.live(), ["three", "two"]);
    tree.shutdown().await;
    assert!(yard.live().is_empty());
    let down = SpawnError::Down { supervisor: "runs".into() };
    let late = yard.hand("late");
    assert_eq!(runs.spawn_child("late", late).await, Err(down));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_start_is_told_to_who_asked_and_not_kept() {
    let mut yard = Yard::new(RUNS);
    let one = yard.hand("one");
    yard.habit("one", Habit { failing_starts: 1, ..Habit::default() });
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    let refused = runs.spawn_child("one", one.clone()).await;
    assert!(matches!(refused, Err(SpawnError::Start(_))), "{refused:?}");
    assert!(tree.draw().find("one").is_none());
    runs.spawn_child("one", one).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_child_is_restarted_in_its_place() {
    let mut yard = Yard::new(RUNS);
    let one = yard.hand("one");
    let tree = yard.up().await;
    tree.dynamic("runs").unwrap().spawn_child("one", one).await.unwrap();
    yard.tell("one", Do::Panic);
    up_again(&tree, "one", 2).await;
    assert_eq!(yard.live(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_stopped_while_it_backs_off_stays_down() {
    let mut yard = Yard::new(RUNS);
    let one = yard.hand("one");
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    runs.spawn_child("one", one).await.unwrap();
    yard.tell("one", Do::Panic);
    until(&tree, "backing off", |tree| tree.find("one").is_some_and(|one| one.state == NodeState::Backoff)).await;
    assert!(runs.stop_child("one").await);
    assert!(!runs.stop_child("one").await);
    tokio::time::sleep(60 * SECOND).await;
    assert!(tree.draw().find("one").is_none() && yard.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_child_ends_in_order() {
    let mut yard = Yard::new(RUNS);
    let one = yard.hand("one");
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    runs.spawn_child("one", one).await.unwrap();
    yard.take_log();
    assert!(runs.stop_child("one").await);
    assert_eq!(yard.take_log(), "-one");
    assert!(!runs.stop_child("runs").await, "it is not a child of its own");
}

#[tokio::test(start_paused = true)]
async fn the_handle_survives_a_restart_but_the_children_do_not() {
    let mut yard = Yard::new(RUNS);
    let (one, two) = (yard.hand("one"), yard.hand("two"));
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    runs.spawn_child("one", one.clone()).await.unwrap();
    tree.fault("runs", Fault::Kill).await.unwrap();
    up_again(&tree, "runs", 2).await;
    assert!(yard.live().is_empty() && tree.draw().find("one").is_none());
    runs.spawn_child("one", one).await.unwrap();
    runs.spawn_child("two", two).await.unwrap();
    assert_eq!(yard.live(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn children_are_stopped_side_by_side() {
    let mut yard = Yard::new(&RUNS.replace("limit = 2", "limit = 100"));
    let tree = yard.up().await;
    let runs = tree.dynamic("runs").unwrap();
    for name in (0..100).map(|at| format!("run-{at}")) {
        let factory = yard.hand(&name);
        yard.habit(&name, Habit { stop_takes: 60 * SECOND, ..Habit::default() });
        runs.spawn_child(name, factory).await.unwrap();
    }
    let begun = yard.world.elapsed();
    assert_eq!(tree.shutdown().await.forced.len(), 100);
    assert!(yard.world.elapsed() - begun < 6 * SECOND);
}
