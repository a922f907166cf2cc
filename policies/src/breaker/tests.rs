use proptest::prelude::*;

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn breaker(failures: u32, probes: u32) -> Breaker {
    Breaker::new(BreakerPolicy { failures, probes, open_max: Span::from_secs(30), ..BreakerPolicy::default() })
}

/// What a call takes that is never slow.
const AT_ONCE: Duration = Duration::ZERO;

fn call(breaker: &mut Breaker, outcome: Outcome, now: Duration) {
    call_of(breaker, outcome, AT_ONCE, now);
}

fn call_of(breaker: &mut Breaker, outcome: Outcome, took: Duration, now: Duration) {
    assert_eq!(breaker.admit(now), Admission::Go);
    breaker.record(breaker.epoch(), outcome, took, now);
}

#[test]
fn opens_after_failures_in_a_row() {
    let mut breaker = breaker(3, 1);
    for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Succeeded, Outcome::Failed, Outcome::Failed] {
        call(&mut breaker, outcome, at(0));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    call(&mut breaker, Outcome::Failed, at(1));
    assert_eq!(breaker.state(), BreakerState::Open { until: at(11) });
    assert_eq!(breaker.admit(at(4)), Admission::Wait(at(7)));
}

#[test]
fn old_failures_do_not_count() {
    let mut breaker = breaker(2, 1);
    call(&mut breaker, Outcome::Failed, at(0));
    call(&mut breaker, Outcome::Failed, at(61));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn stays_open_longer_after_each_failed_probe_and_forgets_once_closed() {
    let mut breaker = breaker(1, 1);
    let mut now = at(0);
    for open in [10, 20, 30, 30] {
        call(&mut breaker, Outcome::Failed, now);
        assert_eq!(breaker.admit(now), Admission::Wait(at(open)));
        now += at(open);
    }
    call(&mut breaker, Outcome::Succeeded, now);
    assert_eq!(breaker.state(), BreakerState::Closed);
    call(&mut breaker, Outcome::Failed, now);
    assert_eq!(breaker.admit(now), Admission::Wait(at(10)));
}

#[test]
fn half_open_lets_only_probes_through() {
    let mut breaker = breaker(1, 2);
    call(&mut breaker, Outcome::Failed, at(0));
    assert_eq!(
        [breaker.admit(at(10)), breaker.admit(at(10)), breaker.admit(at(10))],
        [Admission::Go, Admission::Go, Admission::Refused]
    );
    breaker.record(breaker.epoch(), Outcome::Unclear, AT_ONCE, at(11));
    assert_eq!(breaker.admit(at(11)), Admission::Go);
    breaker.record(breaker.epoch(), Outcome::Succeeded, AT_ONCE, at(11));
    breaker.record(breaker.epoch(), Outcome::Succeeded, AT_ONCE, at(11));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// A breaker that opens at half of the calls, and not for failures in a row.
fn by_share(failure_rate: Option<Share>, slow_rate: Option<Share>) -> Breaker {
    let slow_after = Span::from_secs(5);
    let policy = BreakerPolicy {
        failures: 1_000,
        calls_min: 10,
        failure_rate,
        slow_rate,
        slow_after,
        ..BreakerPolicy::default()
    };
    Breaker::new(policy)
}

#[test]
fn opens_when_half_of_the_calls_fail_though_never_in_a_row() {
    let mut breaker = by_share(Some(Share::HALF), None);
    for number in 0..9 {
        call(&mut breaker, if number % 2 == 0 { Outcome::Failed } else { Outcome::Succeeded }, at(number));
        assert_eq!(breaker.state(), BreakerState::Closed, "{number} calls say nothing yet");
    }
    call(&mut breaker, Outcome::Succeeded, at(9));
    assert_eq!(breaker.state(), BreakerState::Open { until: at(19) });
    assert_eq!([5, 19].map(|second| breaker.open_for(at(second))), [Some(at(14)), None]);
}

#[test]
fn opens_when_half_of_the_calls_are_slow_though_they_succeed() {
    let slow = |slow_rate| {
        let mut breaker = by_share(None, slow_rate);
        for number in 0..10 {
            call_of(&mut breaker, Outcome::Succeeded, at(number), at(number));
        }
        breaker.state()
    };
    assert_eq!(slow(Some(Share::HALF)), BreakerState::Open { until: at(19) });
    assert_eq!((slow(Share::percent(51)), slow(None)), (BreakerState::Closed, BreakerState::Closed));
}

#[test]
fn calls_that_say_nothing_count_for_no_share() {
    let mut breaker = by_share(Some(Share::HALF), Some(Share::HALF));
    for _ in 0..9 {
        call(&mut breaker, Outcome::Failed, at(0));
    }
    for _ in 0..50 {
        call_of(&mut breaker, Outcome::Unclear, at(60), at(0));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn what_is_out_of_the_window_is_forgotten() {
    let mut breaker = by_share(Some(Share::HALF), None);
    for second in 0..200 {
        // Nine in any minute: one fewer than say something.
        call(&mut breaker, Outcome::Failed, at(second * 7));
        assert_eq!(breaker.state(), BreakerState::Closed, "{second}");
    }
}

#[test]
fn a_slow_probe_has_failed_where_slowness_counts() {
    for (slow_rate, closes) in [(None, true), (Some(Share::HALF), false)] {
        let mut breaker = Breaker::new(BreakerPolicy { failures: 1, slow_rate, ..BreakerPolicy::default() });
        call(&mut breaker, Outcome::Failed, at(0));
        call_of(&mut breaker, Outcome::Succeeded, at(60), at(10));
        assert_eq!(breaker.state() == BreakerState::Closed, closes);
    }
}

#[test]
fn a_closed_breaker_begins_to_count_anew() {
    let mut breaker = by_share(Some(Share::HALF), None);
    for _ in 0..10 {
        call(&mut breaker, Outcome::Failed, at(0));
    }
    call(&mut breaker, Outcome::Succeeded, at(10));
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..9 {
        call(&mut breaker, Outcome::Failed, at(11));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_call_from_before_does_not_pass_for_a_probe() {
    let mut breaker = breaker(1, 1);
    let slow = breaker.epoch();
    call(&mut breaker, Outcome::Failed, at(0));
    assert_eq!(breaker.admit(at(10)), Admission::Go);
    breaker.record(slow, Outcome::Succeeded, AT_ONCE, at(10));
    assert_eq!(breaker.state(), BreakerState::HalfOpen { in_flight: 1, passed: 0 });
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Admit,
    Record(prop::sample::Index, Outcome, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![Just(Outcome::Succeeded), Just(Outcome::Failed), Just(Outcome::Unclear)];
    let record = (any::<prop::sample::Index>(), outcome, 0..10_u64);
    let record = record.prop_map(|(call, outcome, took)| Step::Record(call, outcome, took));
    prop::collection::vec(prop_oneof![(0..15_u64).prop_map(Step::Pass), Just(Step::Admit), record], 0..200)
}

fn policies() -> impl Strategy<Value = BreakerPolicy> {
    let share = || prop::option::of((1..=100_u8).prop_map(|percent| Share::percent(percent).unwrap()));
    (1..8_u32, 0..4_u32, 0..8_u32, share(), share()).prop_map(
        |(failures, probes, calls_min, failure_rate, slow_rate)| {
            let (open_max, slow_after) = (Span::from_secs(30), Span::from_secs(5));
            let policy =
                BreakerPolicy { failures, probes, calls_min, failure_rate, slow_rate, ..BreakerPolicy::default() };
            BreakerPolicy { open_max, slow_after, ..policy }
        },
    )
}

fn is_legal(from: BreakerState, to: BreakerState) -> bool {
    use BreakerState::{Closed, HalfOpen, Open};
    match (from, to) {
        (Closed, Open { .. }) | (Open { .. }, HalfOpen { .. }) | (HalfOpen { .. }, Closed | Open { .. }) => true,
        (HalfOpen { .. }, HalfOpen { .. }) => true,
        (from, to) => from == to,
    }
}

proptest! {
    #[test]
    fn makes_only_legal_moves(policy in policies(), steps in steps()) {
        let mut breaker = Breaker::new(policy);
        let (mut now, mut calls) = (Duration::ZERO, Vec::new());
        for step in steps {
            let before = breaker.state();
            match step {
                Step::Pass(seconds) => now += at(seconds),
                Step::Admit => match (breaker.admit(now), before) {
                    (Admission::Go, BreakerState::Open { until }) => {
                        prop_assert!(until <= now);
                        calls.push(breaker.epoch());
                    }
                    (Admission::Go, _) => calls.push(breaker.epoch()),
                    (Admission::Wait(wait), before) => {
                        prop_assert_eq!(before, BreakerState::Open { until: now + wait });
                    }
                    (Admission::Refused, before) => prop_assert!(matches!(before, BreakerState::HalfOpen { .. }), "{:?}", before),
                },
                Step::Record(call, outcome, took) if !calls.is_empty() => {
                    let epoch = calls.swap_remove(call.index(calls.len()));
                    breaker.record(epoch, outcome, at(took), now);
                    let opened = breaker.state() != before && matches!(breaker.state(), BreakerState::Open { .. });
                    let is_slow = policy.slow_rate.is_some() && at(took) >= policy.slow_after.0;
                    // A success may be the last of the calls that make a share count.
                    let due = is_slow || outcome == Outcome::Failed || before == BreakerState::Closed;
                    prop_assert!(!opened || (due && outcome != Outcome::Unclear), "{:?} of {}s opened it", outcome, took);
                }
                Step::Record(..) => {}
            }
            prop_assert!(is_legal(before, breaker.state()), "{:?} -> {:?}", before, breaker.state());
            let in_flight = calls.iter().filter(|epoch| **epoch == breaker.epoch()).count();
            if let BreakerState::HalfOpen { in_flight: counted, passed } = breaker.state() {
                prop_assert_eq!(counted as usize, in_flight);
                prop_assert!(counted + passed <= policy.probes.max(1));
            }
        }
    }

    #[test]
    fn never_stays_shut_once_every_call_has_reported(steps in steps()) {
        let mut breaker = breaker(2, 2);
        let (mut now, mut calls) = (Duration::ZERO, Vec::new());
        for step in steps {
            match step {
                Step::Pass(seconds) => now += at(seconds),
                Step::Admit if breaker.admit(now) == Admission::Go => calls.push(breaker.epoch()),
                Step::Admit => {}
                Step::Record(_, outcome, _) => {
                    if let Some(epoch) = calls.pop() {
                        breaker.record(epoch, outcome, AT_ONCE, now);
                    }
                }
            }
        }
        for epoch in calls {
            breaker.record(epoch, Outcome::Unclear, AT_ONCE, now);
        }
        prop_assert_eq!(breaker.admit(now + at(30)), Admission::Go);
    }
}

#[test]
fn another_policy_leaves_it_where_it_stands() {
    let mut breaker = Breaker::new(BreakerPolicy { failures: 1, ..BreakerPolicy::default() });
    breaker.record(breaker.epoch(), Outcome::Failed, Duration::ZERO, Duration::ZERO);
    let open = breaker.state();
    assert!(matches!(open, BreakerState::Open { .. }));
    breaker.govern(BreakerPolicy { failures: 9, open: Span::from_secs(1), ..BreakerPolicy::default() });
    assert_eq!(breaker.state(), open);
    assert_eq!(breaker.admit(Duration::from_secs(10)), Admission::Go);
    breaker.record(breaker.epoch(), Outcome::Succeeded, Duration::ZERO, Duration::from_secs(10));
    for _ in 0..8 {
        breaker.record(breaker.epoch(), Outcome::Failed, Duration::ZERO, Duration::from_secs(11));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.record(breaker.epoch(), Outcome::Failed, Duration::ZERO, Duration::from_secs(11));
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}
