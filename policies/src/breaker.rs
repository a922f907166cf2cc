//! The circuit breaker: after failures in a row, or when too many calls of late
//! failed or were slow, it lets nothing through for a while; then a few probes
//! decide.
//!
//! A pure state machine: time comes in as a monotonic time since the start.
//! The moves are closed → open → half-open → closed or open, and no others;
//! what a call admitted before a move reports after it changes nothing.

mod rolling;

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{share::Share, span::Span};
use rolling::{Rolling, Tally};

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerPolicy {
    /// Failures without a success between them that open it; 0 counts as 1.
    pub failures: u32,
    /// The time within which they must fall.
    pub within: Span,
    /// The share of calls that opens it when they fail, or `None` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<Share>,
    /// The share of calls that opens it when they are slow, or `None` for none; a slow probe has
    /// failed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_rate: Option<Share>,
    /// From when on a call is slow.
    pub slow_after: Span,
    /// The time over which those shares are taken.
    pub window: Span,
    /// The least number of calls that says anything about a share.
    pub calls_min: u32,
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
            failure_rate: Some(Share::HALF),
            slow_rate: None,
            slow_after: Span::from_secs(30),
            window: Span::from_secs(60),
            calls_min: 20,
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

impl BreakerState {
    /// Where it stands, as it is written in events and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Every word that says where a breaker stands.
    pub const WORDS: [&'static str; 3] = ["closed", "open", "half_open"];
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
    /// The calls since it was last closed.
    calls: Rolling,
    /// How often it opened since it was last closed.
    opened: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: BreakerState::Closed,
            epoch: Epoch::default(),
            failures: VecDeque::new(),
            calls: Rolling::new(policy.window.0),
            opened: 0,
        }
    }

    /// Judges by another policy from now on. It stays where it stands, for as long as it was to.
    pub fn govern(&mut self, policy: BreakerPolicy) {
        if policy.window != self.policy.window {
            self.calls = Rolling::new(policy.window.0);
        }
        self.policy = policy;
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

    /// What [`Breaker::admit`] would say now; nothing is let through by it.
    pub fn foresee(&self, now: Duration) -> Admission {
        match self.state {
            BreakerState::Closed => Admission::Go,
            BreakerState::Open { until } if now < until => Admission::Wait(until - now),
            BreakerState::Open { .. } => Admission::Go,
            BreakerState::HalfOpen { in_flight, passed } if in_flight + passed >= self.policy.probes.max(1) => {
                Admission::Refused
            }
            BreakerState::HalfOpen { .. } => Admission::Go,
        }
    }

    /// Asks for one call to be let through. After [`Admission::Go`], read
    /// [`Breaker::epoch`] and hand it to [`Breaker::record`] with the outcome.
    pub fn admit(&mut self, now: Duration) -> Admission {
        let foreseen = self.foresee(now);
        if foreseen == Admission::Go {
            match &mut self.state {
                BreakerState::Closed => {}
                BreakerState::Open { .. } => self.enter(BreakerState::HalfOpen { in_flight: 1, passed: 0 }),
                BreakerState::HalfOpen { in_flight, .. } => *in_flight += 1,
            }
        }
        foreseen
    }

    /// How long it still lets nothing through; nothing when a call could go, now or once a probe
    /// under way has ended.
    pub fn open_for(&self, now: Duration) -> Option<Duration> {
        match self.state {
            BreakerState::Open { until } => until.checked_sub(now).filter(|left| !left.is_zero()),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => None,
        }
    }

    /// Records how a call that was admitted in `epoch` ended, and how long it took.
    pub fn record(&mut self, epoch: Epoch, outcome: Outcome, took: Duration, now: Duration) {
        if epoch != self.epoch {
            return;
        }
        match self.state {
            // An epoch ends where a breaker opens, so nothing is admitted in one that is open.
            BreakerState::Open { .. } => {}
            BreakerState::Closed => self.record_call(outcome, took, now),
            BreakerState::HalfOpen { in_flight, passed } => {
                let is_slow = outcome == Outcome::Succeeded && self.policy.slow_rate.is_some() && self.is_slow(took);
                let outcome = if is_slow { Outcome::Failed } else { outcome };
                self.record_probe(outcome, in_flight.saturating_sub(1), passed, now);
            }
        }
    }

    fn is_slow(&self, took: Duration) -> bool {
        took >= self.policy.slow_after.0
    }

    fn record_call(&mut self, outcome: Outcome, took: Duration, now: Duration) {
        let in_a_row = match outcome {
            // It says nothing, not even by how long it took.
            Outcome::Unclear => return,
            Outcome::Succeeded => {
                self.failures.clear();
                false
            }
            Outcome::Failed => self.has_failed_in_a_row(now),
        };
        let call = Tally::one(outcome == Outcome::Failed, self.is_slow(took));
        let of_late = self.calls.record(call, now);
        let says_something = of_late.calls >= self.policy.calls_min.max(1);
        let failing = self.policy.failure_rate.is_some_and(|share| of_late.has_failed(share));
        let slow = self.policy.slow_rate.is_some_and(|share| of_late.is_slow(share));
        if in_a_row || says_something && (failing || slow) {
            self.open(now);
        }
    }

    /// Counts a failure; whether that is enough of them in a row.
    fn has_failed_in_a_row(&mut self, now: Duration) -> bool {
        self.failures.push_back(now);
        let within = self.policy.within.0;
        self.failures.retain(|failure| now.saturating_sub(*failure) <= within);
        self.failures.len() >= self.policy.failures.clamp(1, FAILURES_MAX) as usize
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
        self.calls.clear();
        self.state = state;
        self.epoch.0 += 1;
    }
}

#[cfg(test)]
mod tests;
