//! What holds of the books whatever happens, in whatever order.

use proptest::prelude::{Just, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Answer(prop::sample::Index),
    StartFails(prop::sample::Index),
    Exit(prop::sample::Index, Exit),
    Later(u64),
    Close,
}

fn steps() -> impl Generate<Value = Vec<Step>> {
    let exits =
        prop_oneof![Just(Exit::Normal), Just(Exit::Killed), Just(bug()), Just(failed(FailureClass::RateLimited)),];
    let step = prop_oneof![
        12 => any::<prop::sample::Index>().prop_map(Step::Answer),
        1 => any::<prop::sample::Index>().prop_map(Step::StartFails),
        6 => (any::<prop::sample::Index>(), exits).prop_map(|(child, exit)| Step::Exit(child, exit)),
        3 => (0..8_u64).prop_map(Step::Later),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..200)
}

fn children() -> impl Generate<Value = Vec<Rules>> {
    let kind = prop_oneof![Just(Permanent), Just(Transient), Just(Temporary)];
    let child = (kind, any::<bool>()).prop_map(|(kind, waits)| {
        let first = Span::from_millis(if waits { 100 } else { 0 });
        Rules { backoff: Backoff { first, cap: Span::from_secs(1), ..no_backoff() }, ..rules(kind) }
    });
    prop::collection::vec(child, 0..6)
}

fn regimes() -> impl Generate<Value = Regime> {
    let strategy = prop_oneof![Just(OneForOne), Just(OneForAll), Just(RestForOne)];
    prop_oneof![
        4 => strategy.prop_map(|strategy| Regime::Declared(strategy, AutoShutdown::Never)),
        1 => Just(Regime::Dynamic),
    ]
}

/// What must hold after every step.
fn check_laws(bench: &Bench, regime: Regime) -> Result<(), TestCaseError> {
    let books = &bench.books;
    for (id, child) in &books.children {
        let settled = matches!(child.life, Life::Up { .. } | Life::Parked | Life::Done { .. });
        prop_assert_eq!(books.pending.contains(id), !settled);
        let known = match child.life {
            Life::Up { actor } => Some(actor),
            Life::Condemned { actor, .. } | Life::Stopping { actor, .. } => actor,
            _ => None,
        };
        prop_assert_eq!(bench.actor(*id), known, "each actor belongs to one life");
    }
    prop_assert!(books.actors.values().all(|id| books.children.contains_key(id)), "no orphan");
    let stops = bench.open.iter().filter(|order| matches!(order, Order::Stop(..))).count();
    prop_assert!(stops <= 1 || regime == Regime::Dynamic, "stops go one by one");
    if matches!(regime, Regime::Declared(OneForAll | RestForOne, _)) {
        let lives: Vec<_> = books.children.values().map(|child| child.life).collect();
        let first_down = lives.iter().position(|life| matches!(life, Life::Waiting | Life::Backoff | Life::Starting));
        let young_starting = first_down.is_some_and(|at| lives[at + 1..].contains(&Life::Starting));
        prop_assert!(!young_starting, "no child starts before its elders are up");
    }
    Ok(())
}

proptest! {
    #[test]
    fn books_are_whole_whatever_happens(regime in regimes(), children in children(), steps in steps()) {
        let mut bench = Bench::new(regime, 4, &children);
        for step in steps {
            match step {
                Step::Answer(at) if !bench.open.is_empty() => bench.answer(at.index(bench.open.len())),
                Step::StartFails(at) if !bench.open.is_empty() => {
                    if let Order::Start(id, generation) = bench.open[at.index(bench.open.len())] {
                        bench.open.retain(|order| *order != Order::Start(id, generation));
                        let failure = Failure::new(FailureClass::Bug, "no start");
                        bench.books.start_failed(id, generation, failure, bench.at());
                    }
                }
                Step::Exit(at, exit) if !bench.books.actors.is_empty() => {
                    let actor = *bench.books.actors.keys().nth(at.index(bench.books.actors.len())).unwrap();
                    bench.books.exited(actor, exit, bench.at());
                }
                Step::Later(seconds) => bench.now += Duration::from_secs(seconds),
                Step::Close => bench.books.close(End::Closed),
                _ => {}
            }
            bench.pump();
            check_laws(&bench, regime)?;
        }
        // Left alone, every child comes to rest; and the end comes exactly when it was due.
        bench.answer_all();
        check_laws(&bench, regime)?;
        prop_assert!(bench.books.pending.is_empty());
        prop_assert_eq!(bench.end.is_some(), bench.books.is_closing());
        prop_assert!(bench.end.is_none() || bench.books.actors.is_empty());
    }
}
