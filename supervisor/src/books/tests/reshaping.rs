//! Children that come, go and change places while the others are at work.

use super::*;

fn group(strategy: Strategy) -> Bench {
    Bench::declared(strategy, &[Permanent; 3])
}

#[test]
fn a_new_child_starts_in_its_place_and_disturbs_nobody() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut bench = group(strategy);
        bench.reload("a d b c", &rules(Permanent));
        assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("start d", "UsUU"), "{strategy:?}");
        bench.answer_all();
        bench.books.close(End::Closed);
        bench.pump();
        bench.answer_all();
        assert_eq!(bench.take_log(), "stop c, stop b, stop d, stop a", "{strategy:?}");
    }
}

#[test]
fn several_new_children_start_one_after_the_other() {
    let mut bench = group(OneForOne);
    bench.reload("d a b c e", &rules(Permanent));
    assert_eq!(bench.take_log(), "start d");
    bench.answer(0);
    assert_eq!(bench.take_log(), "start e");
}

#[test]
fn who_leaves_is_stopped_in_reverse_order_and_is_not_brought_back() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut bench = group(strategy);
        bench.reload("b", &rules(Permanent));
        assert_eq!(bench.take_log(), "stop c", "{strategy:?}");
        bench.fail("a");
        bench.answer_all();
        let log = bench.take_log();
        assert!(!log.contains("start a") && log.contains("forget c") && log.contains("forget a"), "{log}");
        assert_eq!(bench.states(), "U");
    }
}

#[test]
fn who_leaves_keeps_its_place_in_the_order_of_stops() {
    let mut bench = group(OneForOne);
    bench.reload("c a", &rules(Permanent));
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("stop b", "UUx"));
    bench.reload("c", &rules(Permanent));
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("forget b, stop a, forget a", "U"));
}

#[test]
fn who_is_down_leaves_at_once_and_its_back_off_ends_in_nothing() {
    let mut bench = backing_off(OneForOne);
    bench.fail("b");
    bench.reload("a c", &rules(Permanent));
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("wait b 1s, forget b", "UU"));
}

#[test]
fn the_next_failure_goes_by_the_new_order() {
    let mut bench = group(RestForOne);
    bench.reload("c a b", &rules(Permanent));
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("", "UUU"));
    bench.fail("a");
    bench.answer_all();
    assert_eq!(bench.take_log(), "stop b, start a, start b");
}

#[test]
fn a_new_child_that_cannot_start_is_parked_and_takes_nobody_along() {
    let mut bench = group(OneForAll);
    bench.reload("a b c d e", &rules(Permanent));
    let Some(Order::Start(d, generation)) = bench.open.pop() else { panic!("no start: {:?}", bench.open) };
    bench.books.start_failed(d, generation, Failure::new(FailureClass::Bug, "no such model"), bench.at());
    bench.pump();
    bench.answer_all();
    assert_eq!((bench.states().as_str(), &bench.end), ("UUUPU", &None), "and its younger sibling starts");
    assert!(bench.books.resume(d));
    bench.pump();
    bench.answer_all();
    bench.fail("d");
    bench.answer_all();
    assert_eq!(bench.states(), "UUUUU", "once it was up, it is restarted like the others");
}

#[test]
fn a_child_that_goes_counts_for_no_auto_shutdown() {
    let significant = Rules { significant: true, ..rules(Transient) };
    let children = [significant, rules(Permanent)];
    let mut bench = Bench::new(Regime::Declared(OneForOne, AutoShutdown::AnySignificant), 3, &children);
    bench.answer_all();
    bench.reload("b", &rules(Permanent));
    bench.answer_all();
    assert_eq!((bench.states().as_str(), &bench.end), ("U", &None));
}

#[test]
fn books_that_are_being_closed_take_nobody_in() {
    let mut bench = group(OneForOne);
    bench.books.close(End::Closed);
    bench.reload("a b c d", &rules(Permanent));
    bench.answer_all();
    assert_eq!((bench.states().as_str(), &bench.end), ("DDD", &Some(End::Closed)));
}
