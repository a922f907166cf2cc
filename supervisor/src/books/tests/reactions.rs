//! What each class of failure leads to; allowances, holds, parked children.

use policies::intensity::{Allowance, Then};
use policies::reaction::{Action, Amendment, Amendments, Reactions};

use super::*;

fn on(class: FailureClass, action: Action, counts: bool) -> Arc<Reactions> {
    let amendment = Amendment { action: Some(action), counts: Some(counts), wait: Some(Span::ZERO) };
    let amendments: Amendments = [(class, amendment)].into_iter().collect();
    Arc::new(Reactions::default().amended(&amendments))
}

/// A supervisor of three that allows one restart.
fn three(child: &Rules) -> Bench {
    let children = [child.clone(), child.clone(), child.clone()];
    let mut bench = Bench::new(Regime::Declared(OneForOne, AutoShutdown::Never), 1, &children);
    bench.answer_all();
    bench.log.clear();
    bench
}

fn told(bench: &mut Bench, exit: Exit) -> Vec<SupervisionEvent> {
    let actor = bench.actor(id("b")).unwrap();
    bench.books.exited(actor, exit, bench.at());
    let held = bench.held;
    let orders = bench.books.orders(|_, _| held);
    orders.into_iter().filter_map(|order| if let Order::Tell(event) = order { Some(event) } else { None }).collect()
}

/// For each action: what is ordered when `b` fails with that class, what is left, and whether the
/// supervisor ends.
#[test]
fn an_action_does_what_it_says() {
    let table = [
        (Action::Restart, true, "start b", "UUU", false),
        (Action::Restart, false, "wait b 1s, start b", "UUU", false),
        (Action::Pause, true, "start b", "UUU", false),
        (Action::Park, true, "", "UPU", false),
        (Action::Stop, true, "", "UDU", false),
        (Action::Escalate, true, "stop c, stop a", "DDD", true),
    ];
    for class in FailureClass::ALL {
        for (action, counts, orders, states, ends) in table {
            let mut bench = three(&Rules { reactions: on(class, action, counts), ..rules(Permanent) });
            bench.exit("b", failed(class));
            bench.answer_all();
            let left = (bench.take_log(), bench.states(), bench.end.is_some());
            assert_eq!(left, (orders.to_owned(), states.to_owned(), ends), "{class} {action:?} {counts}");
        }
    }
}

#[test]
fn an_outage_that_is_not_counted_never_ends_its_supervisor_and_one_that_is_does() {
    for (counts, fails, ends) in [(false, 50, false), (true, 2, true)] {
        let reactions = on(FailureClass::ProviderDown, Action::Pause, counts);
        let mut bench = three(&Rules { reactions, ..rules(Permanent) });
        for _ in 0..fails {
            bench.exit("b", failed(FailureClass::ProviderDown));
            bench.answer_all();
        }
        assert_eq!(bench.end.is_some(), ends);
    }
}

#[test]
fn a_child_behind_an_open_breaker_is_paused_until_it_lets_calls_through() {
    let mut bench = three(&rules(Permanent));
    bench.held = Some((Hold::Breaker, Duration::from_secs(4)));
    bench.exit("b", failed(FailureClass::ProviderDown));
    bench.answer(0);
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("wait b 1s, wait b 4s", "UHU"));
    // Asked again, it is still open.
    bench.answer(0);
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("wait b 4s", "UHU"));
    bench.held = None;
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("start b", "UUU"));
}

#[test]
fn a_restart_that_no_budget_can_pay_is_put_off_whatever_it_failed_of() {
    for class in FailureClass::ALL {
        let mut bench = three(&rules(Permanent));
        bench.held = Some((Hold::Budget, Duration::from_secs(5)));
        bench.exit("b", failed(class));
        bench.answer(0);
        assert_eq!(bench.states(), "UHU", "{class}");
    }
}

#[test]
fn a_pause_is_told_once_however_long_it_lasts() {
    let mut bench = three(&Rules { reactions: on(FailureClass::Bug, Action::Pause, true), ..rules(Permanent) });
    bench.held = Some((Hold::Breaker, Duration::from_secs(4)));
    let events = told(&mut bench, bug());
    let paused = SupervisionEvent::Paused { child: "b".into(), hold: Hold::Breaker, again_in: Duration::from_secs(4) };
    assert_eq!(events.last(), Some(&paused));
    bench.books.woke(id("b"), 1);
    let again = bench.books.orders(|_, _| Some((Hold::Breaker, Duration::from_secs(4))));
    assert!(!again.iter().any(|order| matches!(order, Order::Tell(_))), "{again:?}");
}

#[test]
fn a_group_waits_while_one_of_it_is_held() {
    for (strategy, states) in [(OneForAll, "WHW"), (RestForOne, "UHW")] {
        let mut bench = Bench::declared(strategy, &[Permanent; 3]);
        bench.held = Some((Hold::Breaker, Duration::from_secs(1)));
        bench.fail("b");
        // Its siblings stop meanwhile.
        while let Some(at) = bench.open.iter().position(|order| !matches!(order, Order::Wake(..))) {
            bench.answer(at);
        }
        bench.answer(0);
        assert_eq!(bench.states(), states, "{strategy:?}");
        bench.held = None;
        bench.answer_all();
        assert_eq!(bench.states(), "UUU", "{strategy:?}");
    }
}

#[test]
fn a_child_past_its_allowance_does_as_that_says() {
    for (then, states, ends) in [(Then::Escalate, "DDD", true), (Then::Park, "UPU", false), (Then::Stop, "UDU", false)]
    {
        let allowance = Some(Allowance { restarts: 2, within: Span::from_secs(10), then });
        let child = Rules { allowance, ..rules(Permanent) };
        let children = [child.clone(), child.clone(), child];
        let mut bench = Bench::new(Regime::Declared(OneForOne, AutoShutdown::Never), 100, &children);
        bench.answer_all();
        for failing in ["a", "b", "b", "c", "a"] {
            bench.fail(failing);
            bench.answer_all();
        }
        assert_eq!(bench.states(), "UUU", "{then:?}: two each are allowed");
        bench.fail("b");
        bench.answer_all();
        assert_eq!((bench.states().as_str(), bench.end.is_some()), (states, ends), "{then:?}");
    }
}

#[test]
fn what_is_past_an_allowance_costs_the_supervisor_nothing() {
    let allowance = Some(Allowance { restarts: 0, within: Span::from_secs(10), then: Then::Park });
    let mut bench = three(&Rules { allowance, ..rules(Permanent) });
    for child in ["a", "b", "c"] {
        bench.fail(child);
    }
    assert_eq!((bench.states().as_str(), bench.end.is_none()), ("PPP", true), "the supervisor allows but one restart");
}

#[test]
fn a_parked_child_comes_back_only_when_it_is_resumed() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut bench = Bench::declared(strategy, &[Permanent; 3]);
        assert!(bench.books.park(id("b")) && !bench.books.resume(id("b")), "it is on its way down");
        bench.pump();
        bench.answer_all();
        bench.fail("a");
        bench.answer_all();
        assert_eq!(bench.states(), "UPU", "{strategy:?}: its group came back without it");
        bench.take_log();
        assert!(bench.books.resume(id("b")) && !bench.books.resume(id("b")));
        bench.pump();
        bench.answer_all();
        assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("start b", "UUU"), "{strategy:?}");
    }
}

#[test]
fn a_child_parked_while_it_backs_off_stays_down() {
    let mut bench = backing_off(OneForOne);
    bench.fail("b");
    assert!(bench.books.park(id("b")));
    bench.answer_all();
    assert_eq!(bench.states(), "UPU");
    bench.books.close(End::Closed);
    bench.pump();
    bench.answer_all();
    assert_eq!((bench.states().as_str(), &bench.end), ("DDD", &Some(End::Closed)), "a shutdown does not wait for it");
}

#[test]
fn a_resumed_child_begins_with_its_whole_allowance_and_the_first_back_off() {
    let allowance = Some(Allowance { restarts: 1, within: Span::from_secs(100), then: Then::Park });
    let backoff = Backoff { first: Span::from_secs(1), factor: 2.0, cap: Span::from_secs(8), jitter: 0.0 };
    let child = Rules { allowance, backoff, ..rules(Permanent) };
    let mut bench = Bench::new(Regime::Declared(OneForOne, AutoShutdown::Never), 100, &[child]);
    bench.answer_all();
    for _ in 0..3 {
        bench.take_log();
        bench.fail("a");
        bench.answer_all();
        assert_eq!(bench.take_log(), "wait a 1s, start a");
        bench.fail("a");
        bench.answer_all();
        assert_eq!(bench.states(), "P");
        assert!(bench.books.resume(id("a")));
        bench.pump();
        bench.answer_all();
    }
}

#[test]
fn a_killed_child_that_runs_on_is_stuck_until_it_ends() {
    let mut bench = three(&rules(Transient));
    assert_eq!(bench.books.blame(id("b"), Fault::Hung), Some(1));
    bench.books.stuck(id("b"), 1);
    bench.pump();
    assert_eq!((bench.states().as_str(), bench.take_log().as_str()), ("U!U", ""), "no second life beside it");
    bench.exit("b", Exit::Killed);
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("start b", "UUU"));
    // What is heard of an earlier life changes nothing.
    let told = bench.events.len();
    bench.books.stuck(id("b"), 1);
    bench.pump();
    assert_eq!((bench.states().as_str(), bench.events.len()), ("UUU", told));
}

#[test]
fn a_dynamic_child_retired_while_it_is_held_or_parked_never_comes_back() {
    for (held, park) in [(true, false), (false, true)] {
        let mut bench = Bench::new(Regime::Dynamic, 3, &[rules(Permanent)]);
        bench.answer_all();
        bench.held = held.then_some((Hold::Breaker, Duration::from_secs(1)));
        if park {
            assert!(bench.books.park(id("a")));
            bench.pump();
            bench.answer_all();
        } else {
            bench.exit("a", failed(FailureClass::ProviderDown));
            bench.answer(0);
        }
        assert_eq!(bench.states(), if park { "P" } else { "H" });
        assert!(bench.books.retire(id("a")));
        bench.held = None;
        bench.take_log();
        bench.pump();
        bench.answer_all();
        assert_eq!((bench.take_log().as_str(), bench.books.len()), ("forget a", 0));
    }
}
