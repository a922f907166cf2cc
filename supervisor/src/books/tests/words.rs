//! What an operator's word does, wherever a child is in its life.

use super::*;
use crate::snapshot::Duty;
use crate::word::Word;

/// Three children, of which `b` is brought to where it shall be.
fn with_b(state: NodeState) -> Bench {
    let mut bench = Bench::declared(OneForOne, &[Permanent, Transient, Permanent]);
    match state {
        NodeState::Up => {}
        NodeState::Parked => {
            assert!(bench.books.told(id("b"), Word::Stop));
            bench.pump();
            bench.answer_all();
        }
        NodeState::Stopping => {
            assert!(bench.books.told(id("b"), Word::Stop));
            bench.pump();
        }
        NodeState::Done => bench.exit("b", Exit::Normal),
        NodeState::Paused => {
            bench.held = Some((Hold::Breaker, Duration::from_secs(1)));
            bench.exit("b", failed(FailureClass::ProviderDown));
            bench.answer(0);
        }
        NodeState::Starting => bench.fail("b"),
        other => panic!("{other:?} is not in the table"),
    }
    bench.log.clear();
    bench
}

#[test]
fn a_word_does_what_it_says_wherever_the_child_is() {
    use NodeState::{Done, Parked, Paused, Starting, Stopping, Up};
    let table = [
        (Up, Word::Restart, Some("stop b, start b"), "UUU"),
        (Up, Word::Stop, Some("stop b"), "UPU"),
        (Up, Word::Pause, Some(""), "UUU"),
        (Up, Word::Resume, None, "UUU"),
        (Up, Word::Drain, Some(""), "UUU"),
        (Parked, Word::Restart, Some("start b"), "UUU"),
        (Parked, Word::Stop, Some(""), "UPU"),
        (Parked, Word::Pause, None, "UPU"),
        (Parked, Word::Resume, Some("start b"), "UUU"),
        (Parked, Word::Drain, Some(""), "UPU"),
        (Paused, Word::Stop, Some(""), "UPU"),
        (Paused, Word::Drain, Some(""), "UPU"),
        (Starting, Word::Restart, Some("stop b, start b"), "UUU"),
        (Starting, Word::Stop, Some("stop b"), "UPU"),
        (Stopping, Word::Restart, Some("start b"), "UUU"),
        (Stopping, Word::Resume, None, "UPU"),
        (Done, Word::Restart, Some("start b"), "UUU"),
        (Done, Word::Stop, None, "UDU"),
        (Done, Word::Pause, None, "UDU"),
        (Done, Word::Resume, None, "UDU"),
    ];
    for (state, word, orders, states) in table {
        let mut bench = with_b(state);
        bench.held = None;
        let is_done = bench.books.told(id("b"), word);
        bench.pump();
        bench.open.retain(|order| !matches!(order, Order::Wake(..)));
        bench.answer_all();
        let told = is_done.then(|| bench.take_log());
        assert_eq!((told.as_deref(), bench.states().as_str()), (orders, states), "{word} while {state:?}");
    }
}

#[test]
fn a_restart_by_an_operator_uses_up_no_intensity() {
    let mut bench = Bench::declared(OneForAll, &[Permanent; 3]);
    for _ in 0..20 {
        assert!(bench.books.told(id("b"), Word::Restart));
        bench.pump();
        bench.answer_all();
        assert_eq!(bench.take_log(), "stop b, start b", "and it takes nobody along");
    }
    assert_eq!(bench.end, None);
    assert_eq!(bench.books.view(id("b")).unwrap().restarts, 0, "it did not fail");
}

#[test]
fn a_stopped_child_is_not_brought_back_with_its_group() {
    for strategy in [OneForAll, RestForOne] {
        let mut bench = Bench::declared(strategy, &[Permanent; 3]);
        bench.books.told(id("b"), Word::Stop);
        bench.pump();
        bench.answer_all();
        bench.fail("a");
        bench.answer_all();
        assert_eq!(bench.states(), "UPU", "{strategy:?}");
    }
}

#[test]
fn a_child_that_drains_is_stopped_when_nothing_is_under_way_or_when_it_fails() {
    let draining = |bench: &mut Bench| {
        bench.books.told(id("b"), Word::Drain);
        bench.pump();
        let view = bench.books.view(id("b")).unwrap();
        assert_eq!((view.state, view.duty, view.takes_work), (NodeState::Up, Duty::Draining, false));
        bench.books.draining(id("b")).unwrap()
    };
    let mut bench = Bench::declared(OneForOne, &[Permanent; 3]);
    let generation = draining(&mut bench);
    bench.books.drained(id("b"), generation + 1);
    assert_eq!(bench.states(), "UUU", "that was said of another life");
    bench.books.drained(id("b"), generation);
    bench.pump();
    bench.answer_all();
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("stop b", "UPU"));

    let mut bench = Bench::declared(OneForOne, &[Permanent; 3]);
    draining(&mut bench);
    bench.fail("b");
    assert_eq!((bench.take_log().as_str(), bench.states().as_str()), ("", "UPU"));

    let mut bench = Bench::declared(OneForOne, &[Permanent; 3]);
    let generation = draining(&mut bench);
    assert!(bench.books.told(id("b"), Word::Resume));
    bench.books.drained(id("b"), generation);
    assert_eq!(bench.states(), "UUU", "it was told to go on meanwhile");
}
