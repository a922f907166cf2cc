//! OTP's documented rules of a supervisor, as tables.
//!
//! Children are a, b, c…, in start order. A kind is `p`ermanent, `t`ransient or temporar`y`; a capital
//! letter marks a significant child. An event is a child and how it ended: `a.` normally, `a!` by a
//! failure, `ax` by a kill that nobody here asked for. What is left of it all is each child's state:
//! `U`p, `D`one, `B`acking off, `H`eld, `P`arked.

use super::*;

fn strategy(row: &str) -> Strategy {
    match row {
        "one" => OneForOne,
        "all" => OneForAll,
        "rest" => RestForOne,
        other => panic!("no strategy {other}"),
    }
}

fn kind(letter: char) -> Rules {
    let restart = match letter.to_ascii_lowercase() {
        'p' => Permanent,
        't' => Transient,
        'y' => Temporary,
        other => panic!("no kind {other}"),
    };
    Rules { significant: letter.is_ascii_uppercase(), ..rules(restart) }
}

fn exit(letter: char) -> Exit {
    match letter {
        '.' => Exit::Normal,
        '!' => bug(),
        'x' => Exit::Killed,
        other => panic!("no exit {other}"),
    }
}

fn up(regime: Regime, restarts: u32, kinds: &str) -> Bench {
    let children: Vec<_> = kinds.chars().map(kind).collect();
    let mut bench = Bench::new(regime, restarts, &children);
    bench.answer_all();
    bench.log.clear();
    bench
}

/// Has each of these events happen, and all come to rest after each.
fn happen(bench: &mut Bench, events: &str) {
    for event in events.split_whitespace() {
        let (child, how) = event.split_at(1);
        if bench.actor(id(child)).is_some() {
            bench.exit(child, exit(how.chars().next().unwrap()));
            bench.answer_all();
        }
    }
}

/// Strategy, kinds, what happens, what is ordered, what is left.
const RESTARTS: &[(&str, &str, &str, &str, &str)] = &[
    // Only the child that failed, wherever it stands.
    ("one", "ppp", "a!", "start a", "UUU"),
    ("one", "ppp", "b!", "start b", "UUU"),
    ("one", "ppp", "cx", "start c", "UUU"),
    // All others are stopped in reverse order; then all are started in order.
    ("all", "ppp", "a!", "stop c, stop b, start a, start b, start c", "UUU"),
    ("all", "ppp", "b!", "stop c, stop a, start a, start b, start c", "UUU"),
    ("all", "ppp", "cx", "stop b, stop a, start a, start b, start c", "UUU"),
    // Those started after it.
    ("rest", "ppp", "a!", "stop c, stop b, start a, start b, start c", "UUU"),
    ("rest", "ppp", "b!", "stop c, start b, start c", "UUU"),
    ("rest", "ppp", "c!", "start c", "UUU"),
    // A permanent child is always restarted.
    ("one", "ppp", "b.", "start b", "UUU"),
    ("all", "ppp", "b.", "stop c, stop a, start a, start b, start c", "UUU"),
    ("rest", "ppp", "b.", "stop c, start b, start c", "UUU"),
    // A transient child is restarted only if it ends abnormally.
    ("one", "ttt", "b.", "", "UDU"),
    ("all", "ttt", "b.", "", "UDU"),
    ("rest", "ttt", "b.", "", "UDU"),
    ("one", "ttt", "bx", "start b", "UUU"),
    ("rest", "ttt", "b!", "stop c, start b, start c", "UUU"),
    // A temporary child is never restarted, not even when a sibling's death takes it along.
    ("one", "yyy", "b!", "", "UDU"),
    ("all", "yyy", "b!", "", "UDU"),
    ("rest", "yyy", "b.", "", "UDU"),
    ("all", "ppy", "a!", "stop c, stop b, start a, start b", "UUD"),
    ("rest", "ypy", "b!", "stop c, start b", "UUD"),
    // A transient child that had ended starts again with its group.
    ("all", "ptp", "b. a!", "stop c, start a, start b, start c", "UUU"),
    ("rest", "ptp", "b. a!", "stop c, start a, start b, start c", "UUU"),
    ("one", "ptp", "b. a!", "start a", "UDU"),
    // A temporary one that had ended does not.
    ("all", "pyp", "b. a!", "stop c, start a, start c", "UDU"),
];

#[test]
fn restarts_follow_otp() {
    for (row, kinds, events, orders, states) in RESTARTS {
        let mut bench = up(Regime::Declared(strategy(row), AutoShutdown::Never), 3, kinds);
        happen(&mut bench, events);
        let left = (bench.take_log(), bench.states(), bench.end.clone());
        assert_eq!(left, ((*orders).to_owned(), (*states).to_owned(), None), "{row} {kinds} {events}");
    }
}

/// What OTP's documentation says of three children of which one ends, in other words than the books.
fn documented(row: &str, kinds: &str, child: usize, how: char) -> String {
    let kinds: Vec<char> = kinds.chars().collect();
    let comes_back = match kinds[child] {
        'p' => true,
        't' => how != '.',
        _ => false,
    };
    let is_affected = |other: usize| match row {
        "one" => other == child,
        "all" => true,
        _ => other >= child,
    };
    (0..kinds.len())
        .map(|other| match (comes_back, is_affected(other)) {
            (false, _) if other == child => 'D',
            (true, true) if kinds[other] == 'y' => 'D',
            _ => 'U',
        })
        .collect()
}

#[test]
fn every_combination_follows_otp() {
    for row in ["one", "all", "rest"] {
        for number in 0..27_usize {
            let kinds: String =
                [number / 9, number / 3 % 3, number % 3].map(|kind| ['p', 't', 'y'][kind]).iter().collect();
            for (place, child) in ["a", "b", "c"].into_iter().enumerate() {
                for how in ['.', '!', 'x'] {
                    let mut bench = up(Regime::Declared(strategy(row), AutoShutdown::Never), 3, &kinds);
                    happen(&mut bench, &format!("{child}{how}"));
                    assert_eq!(bench.states(), documented(row, &kinds, place, how), "{row} {kinds} {child}{how}");
                }
            }
        }
    }
}

/// Strategy, kinds, restarts allowed within 10 s, what happens (a number is so many seconds), and
/// whether the supervisor gives up in the end.
const INTENSITY: &[(&str, &str, u32, &str, bool)] = &[
    ("one", "p", 0, "a!", true),
    ("one", "p", 3, "a! a! a!", false),
    ("one", "p", 3, "a! a! a! a!", true),
    // All children's restarts count together.
    ("one", "ppp", 3, "a! b! c! a!", true),
    // A group that is restarted is one restart.
    ("all", "ppp", 2, "a! c!", false),
    ("all", "ppp", 2, "a! c! b!", true),
    ("rest", "ppp", 2, "a! a!", false),
    ("rest", "ppp", 2, "a! a! c!", true),
    // Only those within the window count.
    ("one", "p", 2, "a! 4 a! 7 a! 4 a! 7 a!", false),
    ("one", "p", 2, "a! 4 a! 5 a!", true),
    ("one", "p", 1, "a! 10 a!", false),
    ("one", "p", 1, "a! 9 a!", true),
    // A normal end of a permanent child counts; one that is not restarted does not.
    ("one", "p", 1, "a. a.", true),
    ("one", "ttt", 0, "a. b. c.", false),
    ("one", "yyy", 0, "a! b! c!", false),
];

#[test]
fn intensity_follows_otp() {
    for (row, kinds, restarts, events, gives_up) in INTENSITY {
        let mut bench = up(Regime::Declared(strategy(row), AutoShutdown::Never), *restarts, kinds);
        for event in events.split_whitespace() {
            match event.parse() {
                Ok(seconds) => bench.now += Duration::from_secs(seconds),
                Err(_) => happen(&mut bench, event),
            }
        }
        let escalated = matches!(bench.end, Some(End::Escalated(_)));
        assert_eq!(escalated, *gives_up, "{row} {kinds} {restarts} {events}");
        // Whoever gives up has stopped all of its children.
        assert!(!escalated || bench.states().chars().all(|state| state == 'D'), "{row} {kinds} {events}");
    }
}

#[test]
fn whoever_gives_up_stops_its_children_in_reverse_order_first() {
    let mut bench = up(Regime::Declared(OneForOne, AutoShutdown::Never), 0, "pppp");
    bench.exit("b", bug());
    assert_eq!((bench.take_log().as_str(), &bench.end), ("stop d", &None));
    bench.answer_all();
    assert_eq!(bench.take_log(), "stop c, stop a");
    assert_eq!(bench.end, Some(End::Escalated(Failure::new(FailureClass::Bug, "it broke"))));
}

/// `auto_shutdown`, kinds, what happens, and whether the supervisor ends by itself.
const AUTO_SHUTDOWN: &[(AutoShutdown, &str, &str, bool)] = &[
    (AutoShutdown::Never, "pTT", "b. c.", false),
    (AutoShutdown::AnySignificant, "pTT", "c.", true),
    (AutoShutdown::AnySignificant, "pTt", "c.", false),
    (AutoShutdown::AllSignificant, "pTT", "c.", false),
    (AutoShutdown::AllSignificant, "pTT", "c. b.", true),
    (AutoShutdown::AllSignificant, "ptT", "c.", true),
    // A transient child that is restarted has not ended.
    (AutoShutdown::AnySignificant, "pTT", "b!", false),
    // A temporary one has, however it ends.
    (AutoShutdown::AnySignificant, "pYY", "b!", true),
    (AutoShutdown::AllSignificant, "pYY", "b! c.", true),
    (AutoShutdown::AllSignificant, "pYT", "b! c!", false),
];

#[test]
fn auto_shutdown_follows_otp() {
    for (policy, kinds, events, ends) in AUTO_SHUTDOWN {
        let mut bench = up(Regime::Declared(OneForOne, *policy), 3, kinds);
        happen(&mut bench, events);
        assert_eq!(bench.end, ends.then_some(End::Finished), "{policy:?} {kinds} {events}");
        assert!(!ends || bench.states().chars().all(|state| state == 'D'), "{policy:?} {kinds} {events}");
    }
}

#[test]
fn a_significant_child_that_a_sibling_takes_along_ends_nobody() {
    for row in ["all", "rest"] {
        let mut bench = up(Regime::Declared(strategy(row), AutoShutdown::AnySignificant), 3, "pY");
        happen(&mut bench, "a!");
        assert_eq!((bench.states().as_str(), &bench.end), ("UD", &None), "{row}");
    }
}

/// Strategy, kinds, what happened before, and the stops of an ordered shutdown. Nobody stops before
/// all that started later is down.
const SHUTDOWN: &[(&str, &str, &str, &str)] = &[
    ("one", "ppp", "", "stop c, stop b, stop a"),
    ("all", "ppp", "", "stop c, stop b, stop a"),
    ("rest", "ppp", "", "stop c, stop b, stop a"),
    // Who has ended is not stopped again.
    ("one", "pyp", "b!", "stop c, stop a"),
    ("rest", "ptt", "c.", "stop b, stop a"),
];

#[test]
fn shutdown_follows_otp() {
    for (row, kinds, before, stops) in SHUTDOWN {
        let mut bench = up(Regime::Declared(strategy(row), AutoShutdown::Never), 3, kinds);
        happen(&mut bench, before);
        bench.take_log();
        bench.books.close(End::Closed);
        bench.pump();
        let mut log = Vec::new();
        while !bench.open.is_empty() {
            assert_eq!((bench.open.len(), &bench.end), (1, &None), "one at a time: {row} {kinds} {before}");
            log.push(bench.take_log());
            bench.answer(0);
        }
        assert_eq!((log.join(", ").as_str(), &bench.end), (*stops, &Some(End::Closed)), "{row} {kinds} {before}");
        assert!(bench.books.actors.is_empty(), "{row} {kinds} {before}");
    }
}
