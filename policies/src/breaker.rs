//! The circuit breaker: after failures in a row it lets nothing through for a
//! while, then a few probes decide.
//!
//! A pure state machine: time comes in as a monotonic time since the start.
//! The moves are closed → open → half-open → closed or open, and no others;
//! what a call admitted before a move reports after it changes nothing.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerPolicy {
    /// Failures without a success between them that open it; 0 counts as 1.
    pub failures: u32,
    /// The time within which they must fall.
    pub within: Span,
    /// How long it stays open at first; each failed probe doubles it.
    pub open: Span,
    /// The longest it stays open.
    pub open_max: Span,
    /// Successful probes that close it, and the most in flight; 0 counts as 1.
    pub probes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            within: Span::from_secs(60),
            open: Span::from_secs(10),
            open_max: Span::from_secs(300),
            probes: 1,
        }
    }
}

/// The most failures that a breaker counts, whatever its policy says.
pub const FAILURES_MAX: u32 = 10_000;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No call goes through until then, a monotonic time since the start.
    Open {
        /// When the first probe may go.
        until: Duration,
    },
    /// Probes go through.
    HalfOpen {
        /// Probes under way.
        in_flight: u32,
        /// Probes that succeeded.
        passed: u32,
    },
}

/// Whether a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It goes; its outcome must be recorded, whatever happens.
    Go,
    /// Not before this time has passed.
    Wait(Duration),
    /// Not now: the probes under way decide.
    Refused,
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side is well.
    Succeeded,
    /// The other side is unwell; see `FailureClass::blames_provider`.
    Failed,
    /// The call says nothing about the other side, for instance because it was
    /// cancelled.
    Unclear,
}

/// Tells apart the calls admitted before a move from those after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
    epoch: Epoch,
    /// When the failures since the last success happened, oldest first.
    failures: VecDeque<Duration>,
    /// How often it opened since it was last closed.
    opened: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: BreakerState::Closed, epoch: Epoch::default(), failures: VecDeque::new(), opened: 0 }
    }

    /// Where it stands; an open one whose time is over stays open until a call
    /// asks for admission.
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// The epoch that a call admitted right now belongs to.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Asks for one call to be let through. After [`Admission::Go`], read
    /// [`Breaker::epoch`] and hand it to [`Breaker::record`] with the outcome.
    pub fn admit(&mut self, now: Duration) -> Admission {
        match &mut self.state {
            BreakerState::Closed => Admission::Go,
            BreakerState::Open { until } if now < *until => Admission::Wait(*until - now),
            BreakerState::Open { .. } => {
                self.enter(BreakerState::HalfOpen { in_flight: 1, passed: 0 });
                Admission::Go
            }
            BreakerState::HalfOpen { in_flight, passed } => {
                if *in_flight + *passed >= self.policy.probes.max(1) {
                    return Admission::Refused;
                }
                *in_flight += 1;
                Admission::Go
            }
        }
    }

    /// Records how a call that was admitted in `epoch` ended.
    pub fn record(&mut self, epoch: Epoch, outcome: Outcome, now: Duration) {
        if epoch != self.epoch {
            return;
        }
        match self.state {
            // An epoch ends where a breaker opens, so nothing is admitted in one that is open.
            BreakerState::Open { .. } => {}
            BreakerState::Closed => self.record_call(outcome, now),
            BreakerState::HalfOpen { in_flight, passed } => {
                self.record_probe(outcome, in_flight.saturating_sub(1), passed, now);
            }
        }
    }

    fn record_call(&mut self, outcome: Outcome, now: Duration) {
        match outcome {
            Outcome::Unclear => {}
            Outcome::Succeeded => self.failures.clear(),
            Outcome::Failed => {
                self.failures.push_back(now);
                let within = self.policy.within.0;
                self.failures.retain(|failure| now.saturating_sub(*failure) <= within);
                if self.failures.len() >= self.policy.failures.clamp(1, FAILURES_MAX) as usize {
                    self.open(now);
                }
            }
        }
    }

    fn record_probe(&mut self, outcome: Outcome, in_flight: u32, passed: u32, now: Duration) {
        match outcome {
            Outcome::Unclear => self.state = BreakerState::HalfOpen { in_flight, passed },
            Outcome::Failed => self.open(now),
            Outcome::Succeeded if passed + 1 >= self.policy.probes.max(1) => {
                self.opened = 0;
                self.enter(BreakerState::Closed);
            }
            Outcome::Succeeded => self.state = BreakerState::HalfOpen { in_flight, passed: passed + 1 },
        }
    }

    fn open(&mut self, now: Duration) {
        let doubled = 2_u32.saturating_pow(self.opened);
        let open = self.policy.open.0.saturating_mul(doubled).min(self.policy.open_max.0);
        self.opened = self.opened.saturating_add(1);
        self.enter(BreakerState::Open { until: now.saturating_add(open) });
    }

    fn enter(&mut self, state: BreakerState) {
        self.failures.clear();
        self.state = state;
        self.epoch.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn breaker(failures: u32, probes: u32) -> Breaker {
        Breaker::new(BreakerPolicy { failures, probes, open_max: Span::from_secs(30), ..BreakerPolicy::default() })
    }

    fn call(breaker: &mut Breaker, outcome: Outcome, now: Duration) {
        assert_eq!(breaker.admit(now), Admission::Go);
        breaker.record(breaker.epoch(), outcome, now);
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
        breaker.record(breaker.epoch(), Outcome::Unclear, at(11));
        assert_eq!(breaker.admit(at(11)), Admission::Go);
        breaker.record(breaker.epoch(), Outcome::Succeeded, at(11));
        breaker.record(breaker.epoch(), Outcome::Succeeded, at(11));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_call_from_before_does_not_pass_for_a_probe() {
        let mut breaker = breaker(1, 1);
        let slow = breaker.epoch();
        call(&mut breaker, Outcome::Failed, at(0));
        assert_eq!(breaker.admit(at(10)), Admission::Go);
        breaker.record(slow, Outcome::Succeeded, at(10));
        assert_eq!(breaker.state(), BreakerState::HalfOpen { in_flight: 1, passed: 0 });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Admit,
        Record(prop::sample::Index, Outcome),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let outcome = prop_oneof![Just(Outcome::Succeeded), Just(Outcome::Failed), Just(Outcome::Unclear)];
        let record = (any::<prop::sample::Index>(), outcome).prop_map(|(call, outcome)| Step::Record(call, outcome));
        prop::collection::vec(prop_oneof![(0..15_u64).prop_map(Step::Pass), Just(Step::Admit), record], 0..200)
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
        fn makes_only_legal_moves(failures in 0..4_u32, probes in 0..4_u32, steps in steps()) {
            let mut breaker = breaker(failures, probes);
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
                    Step::Record(call, outcome) if !calls.is_empty() => {
                        let epoch = calls.swap_remove(call.index(calls.len()));
                        breaker.record(epoch, outcome, now);
                    }
                    Step::Record(..) => {}
                }
                prop_assert!(is_legal(before, breaker.state()), "{:?} -> {:?}", before, breaker.state());
                let in_flight = calls.iter().filter(|epoch| **epoch == breaker.epoch()).count();
                if let BreakerState::HalfOpen { in_flight: counted, passed } = breaker.state() {
                    prop_assert_eq!(counted as usize, in_flight);
                    prop_assert!(counted + passed <= probes.max(1));
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
                    Step::Record(_, outcome) => {
                        if let Some(epoch) = calls.pop() {
                            breaker.record(epoch, outcome, now);
                        }
                    }
                }
            }
            for epoch in calls {
                breaker.record(epoch, Outcome::Unclear, now);
            }
            prop_assert_eq!(breaker.admit(now + at(30)), Admission::Go);
        }
    }
}
