//! Who is let through first of those that wait.

use std::sync::Mutex;

use policies::priority::Priority::{self, High, Low, Normal};

use super::*;

/// Those that were let through, in order.
type Through = Arc<Mutex<Vec<&'static str>>>;

/// Has somebody wait for a guard, as of now, who gives the place back at once.
async fn wait(guard: &Guard, through: &Through, name: &'static str, priority: Priority) {
    let (guard, through, rank) = (guard.clone(), Arc::clone(through), guard.rank(priority));
    let world = guard.0.world.clone();
    world.spawn("wait", async move {
        let permit = guard.admit_as(rank, within(SECOND * 3600)).await.unwrap();
        through.lock().unwrap().push(name);
        permit.finish(ended(None));
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn after(span: Duration, through: &Through) -> Vec<&'static str> {
    tokio::time::sleep(span).await;
    through.lock().unwrap().clone()
}

fn one_place() -> Guard {
    guard(GuardPolicy { concurrency: 1, ..GuardPolicy::default() })
}

#[tokio::test(start_paused = true)]
async fn of_those_that_wait_for_a_place_the_urgent_go_first_and_equals_as_they_came() {
    let (guard, through) = (one_place(), Through::default());
    let held = guard.try_admit().unwrap();
    for (name, priority) in [("low", Low), ("one", Normal), ("two", Normal), ("high", High), ("higher", High)] {
        wait(&guard, &through, name, priority).await;
    }
    assert!(through.lock().unwrap().is_empty());
    drop(held);
    assert_eq!(after(SECOND, &through).await, ["high", "higher", "one", "two", "low"]);
}

#[tokio::test(start_paused = true)]
async fn of_those_that_wait_for_the_rate_too_though_one_was_at_the_front() {
    let rate = Some(Rate { count: 1, per: SECOND * 10 });
    let (guard, through) = (guard(GuardPolicy { rate, ..GuardPolicy::default() }), Through::default());
    drop(guard.try_admit().unwrap());
    for (name, priority) in [("low", Low), ("normal", Normal), ("high", High)] {
        wait(&guard, &through, name, priority).await;
    }
    assert_eq!(after(SECOND * 10, &through).await, ["high"]);
    assert_eq!(after(SECOND * 10, &through).await, ["high", "normal"]);
    assert_eq!(after(SECOND * 10, &through).await, ["high", "normal", "low"]);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_long_is_passed_by_nobody_who_comes() {
    let (guard, through) = (one_place(), Through::default());
    let held = guard.try_admit().unwrap();
    wait(&guard, &through, "low", Low).await;
    tokio::time::sleep(SECOND * 541).await;
    wait(&guard, &through, "normal", Normal).await;
    wait(&guard, &through, "high", High).await;
    drop(held);
    assert_eq!(after(SECOND, &through).await, ["high", "low", "normal"]);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_not_before_those_that_wait_and_who_gives_up_holds_nobody_up() {
    let rate = Some(Rate { count: 1, per: SECOND * 10 });
    let (guard, through) = (guard(GuardPolicy { rate, ..GuardPolicy::default() }), Through::default());
    drop(guard.try_admit().unwrap());
    let gives_up = guard.admit(within(SECOND * 60));
    assert!(tokio::time::timeout(SECOND, gives_up).await.is_err());
    wait(&guard, &through, "normal", Normal).await;
    tokio::time::advance(SECOND * 9).await;
    // The bucket has a call again, and it is the waiting one's.
    assert!(guard.try_admit().is_none());
    assert_eq!(after(SECOND, &through).await, ["normal"]);
    tokio::time::sleep(SECOND * 10).await;
    assert!(guard.try_admit().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_that_come_and_go_are_all_let_through() {
    let (guard, through) = (one_place(), Through::default());
    let held = guard.try_admit().unwrap();
    for nth in 0..1_000_u32 {
        let priority = [Low, Normal, High][nth as usize % 3];
        let (guard, through, rank) = (guard.clone(), Arc::clone(&through), guard.rank(priority));
        let world = guard.0.world.clone();
        world.spawn("wait", async move {
            // Every seventh does not wait for long.
            let patience = if nth % 7 == 0 { SECOND } else { SECOND * 60 };
            if let Ok(permit) = guard.admit_as(rank, within(patience)).await {
                tokio::task::yield_now().await;
                through.lock().unwrap().push("through");
                drop(permit);
            }
        });
    }
    tokio::time::sleep(SECOND * 2).await;
    drop(held);
    assert_eq!(after(SECOND, &through).await.len(), 1_000 - 143);
    assert!(guard.try_admit().is_some(), "nobody waits any more");
}
