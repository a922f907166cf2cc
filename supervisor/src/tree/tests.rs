mod classes;
mod dynamic;
mod governed;
mod pitfalls;
mod random;
mod reshaped;
mod words;
mod yard;

use std::time::Duration;

use policies::failure::FailureClass;
use ractor::Actor;
use yard::{Do, Habit, Hand, Yard, until, up_again};

use super::*;
use crate::stop::Forced;
use crate::{Depth, Slot, StartContext};

const SECOND: Duration = Duration::from_secs(1);

/// Three workers under one root; `{}` is its strategy.
fn three(strategy: &str) -> String {
    format!(
        r#"
        root = "root"
        [supervisor.root]
        strategy = "{strategy}"
        intensity = {{ restarts = 3, within = "10s" }}
        children = ["a", "b", "c"]
        [worker.a]
        [worker.b]
        [worker.c]
        "#
    )
}

/// A supervisor between two workers, with two of its own.
const NESTED: &str = r#"
    root = "root"
    [supervisor.root]
    strategy = "rest_for_one"
    intensity = { restarts = 3, within = "10s" }
    children = ["a", "mid", "z"]
    [supervisor.mid]
    intensity = { restarts = 1, within = "10s" }
    children = ["b", "c"]
    [worker.a]
    [worker.b]
    [worker.c]
    [worker.z]
"#;

#[tokio::test(start_paused = true)]
async fn starts_in_order_and_shuts_down_in_reverse() {
    let yard = Yard::new(NESTED);
    let slow = Habit { start_takes: SECOND, stop_takes: SECOND, ..Habit::default() };
    for name in ["a", "b", "c", "z"] {
        yard.habit(name, slow.clone());
    }
    let tree = yard.start().await;
    tree.ready().await.unwrap();
    assert!(tree.is_up());
    assert_eq!(yard.take_log(), "+a +b +c +z");
    assert_eq!(tree.shutdown().await, ShutdownReport::default());
    assert_eq!(yard.take_log(), "-z -c -b -a");
    assert_eq!(tree.wait().await, Ended::Shutdown(ShutdownReport::default()));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_may_be_asked_for_any_number_of_times() {
    let yard = Yard::new(&three("one_for_one"));
    yard.habit("b", Habit { stop_takes: 60 * SECOND, ..Habit::default() });
    let tree = yard.up().await;
    let (first, second) = tokio::join!(tree.shutdown(), tree.shutdown());
    assert_eq!(first, second);
    assert_eq!(first, tree.shutdown().await);
    assert_eq!(first.forced, [Forced { child: "b".into(), stuck: false }]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_child_is_killed_after_its_time_and_named_in_the_report() {
    let yard = Yard::new(NESTED);
    yard.habit("b", Habit { stop_takes: 60 * SECOND, ..Habit::default() });
    let tree = yard.up().await;
    yard.tell("c", Do::Sleep(60 * SECOND));
    let begun = yard.world.elapsed();
    let forced = tree.shutdown().await.forced;
    let names: Vec<_> = forced.iter().map(|forced| forced.child.as_str()).collect();
    assert_eq!(names, ["c", "b"]);
    assert_eq!(yard.take_log(), "-z -a");
    // Five seconds each, by policy.
    let took = yard.world.elapsed() - begun;
    assert!((10 * SECOND..11 * SECOND).contains(&took), "{took:?}");
    assert!(yard.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_waiting_at_a_shutdown_are_worked_off() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    for _ in 0..3 {
        yard.tell("b", Do::Sleep(SECOND));
    }
    let begun = yard.world.elapsed();
    assert_eq!(tree.shutdown().await, ShutdownReport::default());
    assert!(yard.world.elapsed() - begun >= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_along_whom_the_strategy_says() {
    for (strategy, log) in [("one_for_one", "+b"), ("rest_for_one", "-c +b +c"), ("one_for_all", "-c -a +a +b +c")] {
        let yard = Yard::new(&three(strategy));
        let tree = yard.up().await;
        yard.tell("b", Do::Panic);
        let affected = log.split(' ').filter_map(|entry| entry.strip_prefix('+'));
        for name in affected {
            up_again(&tree, name, 2).await;
        }
        assert_eq!(yard.take_log(), log, "{strategy}");
        assert_eq!(yard.live(), ["a", "b", "c"]);
        tree.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_picture_tells_how_often_and_why_a_child_failed() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    yard.tell("b", Do::Panic);
    let picture = up_again(&tree, "b", 2).await;
    let node = picture.find("b").unwrap();
    let failure = node.last_failure.as_ref().unwrap();
    assert_eq!((node.restarts, failure.class), (1, FailureClass::Bug));
    assert!(failure.reason.contains("told to panic"), "{}", failure.reason);
    let order: Vec<_> = picture.root.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(order, ["a", "b", "c"]);

    yard.tell("c", Do::Fail(FailureClass::Poison));
    let picture = up_again(&tree, "c", 2).await;
    assert_eq!(picture.find("c").unwrap().last_failure.as_ref().unwrap().class, FailureClass::Poison);
    let mut published = tree.snapshot();
    let same = published.wait_for(|published| published.root == picture.root);
    tokio::time::timeout(SECOND, same).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_picture_shows_mailboxes_as_they_are() {
    let mut yard = Yard::new(&three("one_for_one"));
    let hand = yard.hand("b");
    let gauged: Factory = Arc::new(move |context: StartContext| {
        let queued = context.generation as usize;
        context.show_mailbox(Arc::new(move || Depth { queued, max: 8, refused: 2, dropped: 0 }));
        hand(context)
    });
    yard.factories.insert("b".into(), gauged);
    let tree = yard.up().await;
    let mailbox = |name: &str| tree.draw().find(name).unwrap().mailbox;
    assert_eq!((mailbox("a"), mailbox("b")), (None, Some(Depth { queued: 1, max: 8, refused: 2, dropped: 0 })));
    let mut shown = Vec::new();
    tree.mailboxes(|name, depth| shown.push((name.to_owned(), depth)));
    assert_eq!(shown, [("b".to_owned(), mailbox("b").unwrap())]);
    tree.fault("b", Fault::Kill).await.unwrap();
    up_again(&tree, "b", 2).await;
    assert_eq!(mailbox("b"), Some(Depth { queued: 2, max: 8, refused: 2, dropped: 0 }));
}

#[tokio::test(start_paused = true)]
async fn a_killed_child_is_restarted_whoever_killed_it() {
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", "[worker.b]\nrestart = \"transient\""));
    let tree = yard.up().await;
    let class = |picture: TreeSnapshot| picture.find("b").unwrap().last_failure.clone().unwrap().class;
    tree.fault("b", Fault::Kill).await.unwrap();
    assert_eq!(class(up_again(&tree, "b", 2).await), FailureClass::Shutdown);
    tree.fault("b", Fault::Hung).await.unwrap();
    assert_eq!(class(up_again(&tree, "b", 3).await), FailureClass::Hung);
    yard.slots["b"].current().unwrap().kill();
    assert_eq!(class(up_again(&tree, "b", 4).await), FailureClass::Bug);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_up_can_be_killed() {
    let slow = "[worker.b]\nbackoff = { first = \"5s\" }";
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", slow));
    let tree = yard.up().await;
    assert_eq!(tree.fault("x", Fault::Kill).await, Err(FaultError::Unknown { name: "x".into() }));
    tree.fault("b", Fault::Kill).await.unwrap();
    until(&tree, "backing off", |tree| tree.find("b").unwrap().state == NodeState::Backoff).await;
    assert_eq!(tree.fault("b", Fault::Kill).await, Err(FaultError::NotUp { name: "b".into() }));
    // The kill during the back-off changed nothing: it comes back in its time.
    up_again(&tree, "b", 2).await;
}

#[tokio::test(start_paused = true)]
async fn back_off_is_waited_out() {
    let backoff = "[worker.b]\nbackoff = { first = \"2s\", factor = 2.0, cap = \"1m\", jitter = 0.0 }";
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", backoff));
    let tree = yard.up().await;
    for (generation, wait) in [(2, 2), (3, 4), (4, 8)] {
        let begun = yard.world.elapsed();
        yard.tell("b", Do::Panic);
        up_again(&tree, "b", generation).await;
        let took = yard.world.elapsed() - begun;
        assert!((wait * SECOND..(wait + 1) * SECOND).contains(&took), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_tried_again_and_counted() {
    let yard = Yard::new(&three("one_for_one"));
    yard.habit("b", Habit { failing_starts: 3, ..Habit::default() });
    let tree = yard.up().await;
    let b = tree.draw().find("b").cloned().unwrap();
    assert_eq!((b.generation, b.restarts), (4, 3));

    yard.habit("b", Habit { failing_starts: 1, ..Habit::default() });
    yard.tell("b", Do::Panic);
    let ended = tree.wait().await;
    assert!(matches!(ended, Ended::Escalated(_)), "three failed starts and a panic are four: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_panics_has_failed_to_start() {
    let mut yard = Yard::new(&three("one_for_one"));
    yard.factories.insert("b".into(), Arc::new(|_: StartContext| panic!("no such model")));
    let tree = yard.start().await;
    let Err(Ended::Escalated(failure)) = tree.ready().await else { panic!("it came up") };
    assert_eq!(failure.class, FailureClass::Bug);
    assert!(failure.message.contains("no such model"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn past_the_intensity_of_the_root_the_tree_ends() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    for generation in 2..=4 {
        yard.tell("b", Do::Fail(FailureClass::Rejected));
        up_again(&tree, "b", generation).await;
    }
    yard.take_log();
    yard.tell("b", Do::Fail(FailureClass::Rejected));
    let Ended::Escalated(failure) = tree.wait().await else { panic!("not escalated") };
    assert_eq!(failure.class, FailureClass::Rejected);
    assert_eq!(tree.escalated(), Some(failure));
    assert_eq!(yard.take_log(), "-c -a");
    assert!(yard.live().is_empty() && !tree.is_up());
    assert_eq!(tree.shutdown().await, ShutdownReport::default());
}

#[tokio::test(start_paused = true)]
async fn past_the_intensity_of_a_branch_its_parent_restarts_it() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    yard.tell("b", Do::Panic);
    up_again(&tree, "b", 2).await;
    yard.take_log();
    yard.tell("b", Do::Panic);
    let picture = up_again(&tree, "z", 2).await;
    // The branch stops its own; then its parent stops those after it and starts again.
    assert_eq!(yard.take_log(), "-c -z +b +c +z");
    let mid = picture.find("mid").unwrap();
    assert_eq!((mid.generation, mid.restarts), (2, 1));
    assert_eq!(picture.find("b").unwrap().generation, 3, "generations go on over the branch's lives");
    let events = yard.take_events();
    let escalated = |event: &SupervisionEvent| matches!(event, SupervisionEvent::Escalated { supervisor, .. } if supervisor == "mid");
    assert!(events.iter().any(escalated), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_leaves_no_orphan() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    // A draining child is the one that ractor would leave behind.
    yard.tell("c", Do::Sleep(60 * SECOND));
    tokio::task::yield_now().await;
    yard.slots["c"].current().unwrap().drain().unwrap();
    tree.fault("mid", Fault::Kill).await.unwrap();
    up_again(&tree, "z", 2).await;
    assert_eq!(yard.live(), ["a", "b", "c", "z"]);
    assert_eq!(tree.draw().find("mid").unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_killed_root_takes_the_whole_tree_along() {
    let yard = Yard::new(NESTED);
    let tree = yard.up().await;
    yard.tell("c", Do::Sleep(60 * SECOND));
    tokio::task::yield_now().await;
    yard.slots["c"].current().unwrap().drain().unwrap();
    tree.fault("root", Fault::Kill).await.unwrap();
    assert_eq!(tree.wait().await, Ended::Killed);
    assert!(yard.live().is_empty());
    assert_eq!(yard.take_events().last(), Some(&SupervisionEvent::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_start() {
    let yard = Yard::new(NESTED);
    yard.habit("c", Habit { start_takes: 3600 * SECOND, ..Habit::default() });
    let tree = yard.start().await;
    until(&tree, "starting", |tree| tree.find("c").unwrap().state == NodeState::Starting).await;
    let begun = yard.world.elapsed();
    assert_eq!(tree.shutdown().await, ShutdownReport::default());
    assert!(yard.world.elapsed() - begun < SECOND);
    assert_eq!(yard.take_log(), "+a +b -b -a");
    assert!(tree.ready().await.is_err() && yard.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_start_had_made_is_killed() {
    let mut yard = Yard::new(&three("rest_for_one"));
    let record = Arc::clone(&yard.record);
    let half_way: Factory = Arc::new(move |context: StartContext| {
        let arguments = (context.name.clone(), Arc::clone(&record));
        Box::pin(async move {
            let (hand, _) = Actor::spawn_linked(None, Hand, arguments, context.supervisor).await?;
            if context.generation == 1 {
                tokio::time::sleep(3600 * SECOND).await;
            }
            Ok(hand.get_cell())
        })
    });
    yard.factories.insert("c".into(), half_way);
    let tree = yard.start().await;
    until(&tree, "starting", |tree| tree.find("c").unwrap().state == NodeState::Starting).await;
    yard.tell("a", Do::Panic);
    tree.ready().await.unwrap();
    assert_eq!(yard.live(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_its_factory_left_unlinked_is_adopted() {
    let mut yard = Yard::new(&three("one_for_one"));
    let (record, slot) = (Arc::clone(&yard.record), Slot::new());
    yard.slots.insert("b".into(), slot.clone());
    let unlinked: Factory = Arc::new(move |context: StartContext| {
        let (arguments, slot) = ((context.name, Arc::clone(&record)), slot.clone());
        Box::pin(async move {
            let (hand, _) = Actor::spawn(None, Hand, arguments).await?;
            slot.publish(hand.clone());
            Ok(hand.get_cell())
        })
    });
    yard.factories.insert("b".into(), unlinked);
    let tree = yard.up().await;
    yard.tell("b", Do::Panic);
    up_again(&tree, "b", 2).await;
    assert_eq!(yard.live(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_as_soon_as_it_is_up_is_not_taken_for_up() {
    let mut yard = Yard::new(&three("one_for_one"));
    let record = Arc::clone(&yard.record);
    let dead: Factory = Arc::new(move |context: StartContext| {
        let arguments = (context.name, Arc::clone(&record));
        Box::pin(async move {
            let (hand, ended) = Actor::spawn(None, Hand, arguments).await?;
            hand.kill();
            let _ = ended.await;
            Ok(hand.get_cell())
        })
    });
    yard.factories.insert("b".into(), dead);
    let tree = yard.start().await;
    assert!(matches!(tree.wait().await, Ended::Escalated(_)));
}

#[tokio::test(start_paused = true)]
async fn a_slot_finds_the_next_generation() {
    let slow = "[worker.b]\nbackoff = { first = \"5s\", jitter = 0.0 }";
    let yard = Yard::new(&three("one_for_one").replace("[worker.b]", slow));
    let tree = yard.up().await;
    let slot = &yard.slots["b"];
    let before = slot.current().unwrap().get_id();
    yard.tell("b", Do::Panic);
    until(&tree, "backing off", |tree| tree.find("b").unwrap().state == NodeState::Backoff).await;
    assert!(slot.current().is_none());
    assert_eq!(slot.await_up(SECOND).await.unwrap_err().waited, SECOND);
    assert_ne!(slot.await_up(60 * SECOND).await.unwrap().get_id(), before);
}

#[tokio::test(start_paused = true)]
async fn the_observer_hears_everything_in_order() {
    let yard = Yard::new(&three("one_for_one"));
    let tree = yard.up().await;
    yard.tell("b", Do::Fail(FailureClass::ProviderDown));
    up_again(&tree, "b", 2).await;
    tree.shutdown().await;
    let (child, class) = ("b".to_owned(), Some(FailureClass::ProviderDown));
    assert_eq!(
        yard.take_events(),
        [
            SupervisionEvent::ChildDown { child: child.clone(), class, reason: "told to fail".into() },
            SupervisionEvent::Restarting { child: child.clone(), class, after: SECOND },
            SupervisionEvent::ChildUp { child, generation: 2, down: Some(SECOND) },
            SupervisionEvent::Stopped,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_finished_tree_says_so() {
    let done = three("one_for_one").replace("[worker.b]", "[worker.b]\nrestart = \"transient\"\nsignificant = true");
    let yard = Yard::new(&done.replace("children =", "auto_shutdown = \"any_significant\"\nchildren ="));
    let tree = yard.up().await;
    yard.tell("b", Do::End);
    assert_eq!(tree.wait().await, Ended::Finished);
    assert_eq!(yard.take_log(), "-b -c -a");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_started_is_refused_before_anything_is() {
    let yard = Yard::new(NESTED);
    let mut factories = yard.factories.clone();
    factories.remove("c");
    let silent = Arc::new(crate::Silent);
    let refused = Tree::start(yard.world.clone(), yard.policy.clone(), factories, silent.clone()).await;
    let TreeError::NoFactory { name } = refused.unwrap_err() else { panic!("another error") };
    assert_eq!((name.as_str(), yard.take_log().as_str()), ("c", ""));

    let mut policy = yard.policy.clone();
    policy.root = "a".into();
    let refused = Tree::start(yard.world.clone(), policy, yard.factories.clone(), silent).await;
    assert!(matches!(refused, Err(TreeError::NotASupervisor { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_builtin_tree_starts_and_stops() {
    let yard = Yard::of(TreePolicy::builtin().unwrap(), 7);
    let tree = yard.start().await;
    tree.ready().await.unwrap();
    assert!(tree.dynamic("runs").is_some() && tree.dynamic("agents").is_none());
    assert_eq!(tree.shutdown().await, ShutdownReport::default());
    assert!(yard.live().is_empty());
}
