//! What is counted of the tree and of the breakers.
//!
//! Invariant: labels are names of the policy's supervisors and workers, of guards, and words of closed
//! sets; a child that came at run time is counted under its supervisor's name.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::failure::FailureClass;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::Metrics;

/// Buckets of the time from a crash to the next life: 50 µs to about 7 minutes, each twice the one before.
const DOWN_SECONDS_MIN: f64 = 0.000_05;
const DOWN_SECONDS_BUCKETS: u16 = 24;
/// The class of a restart that no failure led to.
const ENDED: &str = "ended";

#[derive(Debug)]
pub(super) struct Supervision {
    restarts: Family<ByClass, Counter>,
    failures: Family<ByClass, Counter>,
    down_seconds: Family<BySupervisor, Histogram, fn() -> Histogram>,
    hang_kills: Family<Kin, Counter>,
    stuck: Family<Kin, Counter>,
    escalations: Family<Escalation, Counter>,
    pauses: Family<ByReason, Counter>,
    parks: Family<ByClass, Counter>,
    children: Family<ByState, Gauge>,
    children_held: Family<Holding, Gauge>,
    breaker_moves: Family<ByMove, Counter>,
    breaker_state: Family<Breaker, Gauge>,
}

/// Whom something is counted for.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Kin {
    /// The supervisor.
    pub supervisor: String,
    /// The child; the supervisor again, of one that came at run time.
    pub child: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByClass {
    supervisor: String,
    child: String,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    supervisor: String,
    child: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BySupervisor {
    supervisor: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Escalation {
    supervisor: String,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    supervisor: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Holding {
    supervisor: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByMove {
    guard: String,
    from: &'static str,
    to: &'static str,
}

/// A breaker and a place where it may stand.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Breaker {
    /// The guard that it is part of.
    pub guard: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
}

/// What holds a child back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// An open breaker.
    Breaker,
    /// A budget that cannot pay its next attempt.
    Budget,
    /// An operator, who stopped or paused it or told it to drain.
    Operator,
    /// The policy, which leaves it down after a failure.
    Failure,
}

impl Held {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Budget => "budget",
            Self::Operator => "operator",
            Self::Failure => "failure",
        }
    }
}

/// How many children of each supervisor are in which state and held back by what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By supervisor and state.
    pub states: BTreeMap<(String, &'static str), u64>,
    /// By supervisor and reason.
    pub held: BTreeMap<(String, Held), u64>,
}

fn down_seconds() -> Histogram {
    Histogram::new(exponential_buckets(DOWN_SECONDS_MIN, 2.0, DOWN_SECONDS_BUCKETS))
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restarts: Family::default(),
            failures: Family::default(),
            down_seconds: Family::new_with_constructor(down_seconds),
            hang_kills: Family::default(),
            stuck: Family::default(),
            escalations: Family::default(),
            pauses: Family::default(),
            parks: Family::default(),
            children: Family::default(),
            children_held: Family::default(),
            breaker_moves: Family::default(),
            breaker_state: Family::default(),
        }
    }
}

impl Supervision {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.register("restarts", "Restarts, by child and class of failure", self.restarts.clone());
        metrics.register("failures", "Failures of children, by class", self.failures.clone());
        metrics.register("down_seconds", "Time from a crash until the next life is up", self.down_seconds.clone());
        metrics.register("hang_kills", "Children killed because they showed no progress", self.hang_kills.clone());
        metrics.register("stuck", "Kills that had no effect in time, because the code blocks", self.stuck.clone());
        metrics.register("escalations", "Supervisors that gave up, by class of failure", self.escalations.clone());
        metrics.register("pauses", "Restarts put off, by what puts them off", self.pauses.clone());
        metrics.register("parks", "Children left down after a failure, by class", self.parks.clone());
        metrics.register("children", "Children now, by state", self.children.clone());
        metrics.register("children_held", "Children held back now, by reason", self.children_held.clone());
        metrics.register("breaker_moves", "Moves of circuit breakers", self.breaker_moves.clone());
        metrics.register(
            "breaker_state",
            "1 for where each circuit breaker stands, else 0",
            self.breaker_state.clone(),
        );
    }
}

impl Kin {
    fn in_class(self, class: Option<FailureClass>) -> ByClass {
        let Self { supervisor, child } = self;
        ByClass { supervisor, child, class: class.map_or(ENDED, FailureClass::as_str) }
    }
}

impl Metrics {
    /// A child is about to be restarted after a failure of this class; none when it had ended normally.
    pub fn restarting(&self, kin: Kin, class: Option<FailureClass>) {
        self.0.supervision.restarts.get_or_create(&kin.in_class(class)).inc();
    }

    /// A child failed.
    pub fn child_failed(&self, kin: Kin, class: FailureClass) {
        self.0.supervision.failures.get_or_create(&kin.in_class(Some(class))).inc();
    }

    /// A child of this supervisor is up again, so long after it failed.
    pub fn up_again(&self, supervisor: &str, down: Duration) {
        let by = BySupervisor { supervisor: supervisor.to_owned() };
        self.0.supervision.down_seconds.get_or_create(&by).observe(down.as_secs_f64());
    }

    /// A child was killed because it showed no progress.
    pub fn hang_killed(&self, kin: &Kin) {
        self.0.supervision.hang_kills.get_or_create(kin).inc();
    }

    /// A child outlasted its kill.
    pub fn child_stuck(&self, kin: &Kin) {
        self.0.supervision.stuck.get_or_create(kin).inc();
    }

    /// A supervisor gave up.
    pub fn escalated(&self, supervisor: &str, class: FailureClass) {
        let by = Escalation { supervisor: supervisor.to_owned(), class: class.as_str() };
        self.0.supervision.escalations.get_or_create(&by).inc();
    }

    /// A restart was put off.
    pub fn child_paused(&self, kin: Kin, by: Held) {
        let Kin { supervisor, child } = kin;
        self.0.supervision.pauses.get_or_create(&ByReason { supervisor, child, reason: by.as_str() }).inc();
    }

    /// A child is left down after a failure.
    pub fn child_parked(&self, kin: Kin, class: FailureClass) {
        self.0.supervision.parks.get_or_create(&kin.in_class(Some(class))).inc();
    }

    /// Where the children are now.
    pub fn count_children(&self, census: Census) {
        let Supervision { children, children_held, .. } = &self.0.supervision;
        children.clear();
        for ((supervisor, state), count) in census.states {
            children.get_or_create(&ByState { supervisor, state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        children_held.clear();
        for ((supervisor, held), count) in census.held {
            let by = Holding { supervisor, reason: held.as_str() };
            children_held.get_or_create(&by).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The breaker of this guard moved.
    pub fn breaker_moved(&self, guard: &str, from: &'static str, to: &'static str) {
        self.0.supervision.breaker_moves.get_or_create(&ByMove { guard: guard.to_owned(), from, to }).inc();
    }

    /// Where each breaker may stand, and whether it does.
    pub fn breakers_stand(&self, breakers: impl IntoIterator<Item = (Breaker, bool)>) {
        for (breaker, stands) in breakers {
            self.0.supervision.breaker_state.get_or_create(&breaker).set(i64::from(stands));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_the_tree_is_in_the_text() {
        let metrics = Metrics::new();
        let kin = || Kin { supervisor: "agents".to_owned(), child: "writer".to_owned() };
        metrics.restarting(kin(), Some(FailureClass::Hung));
        metrics.restarting(kin(), None);
        metrics.child_failed(kin(), FailureClass::Bug);
        metrics.up_again("agents", Duration::from_micros(60));
        metrics.hang_killed(&kin());
        metrics.child_stuck(&kin());
        metrics.escalated("agents", FailureClass::Bug);
        metrics.child_paused(kin(), Held::Breaker);
        metrics.child_parked(kin(), FailureClass::Poison);
        metrics.breaker_moved("model", "closed", "open");
        metrics.breakers_stand([(Breaker { guard: "model".to_owned(), state: "open" }, true)]);
        let text = metrics.encode();
        let kin = "supervisor=\"agents\",child=\"writer\"";
        for line in [
            format!("callboard_restarts_total{{{kin},class=\"hung\"}} 1"),
            format!("callboard_restarts_total{{{kin},class=\"ended\"}} 1"),
            format!("callboard_failures_total{{{kin},class=\"bug\"}} 1"),
            "callboard_down_seconds_bucket{le=\"0.0001\",supervisor=\"agents\"} 1".to_owned(),
            format!("callboard_hang_kills_total{{{kin}}} 1"),
            format!("callboard_stuck_total{{{kin}}} 1"),
            "callboard_escalations_total{supervisor=\"agents\",class=\"bug\"} 1".to_owned(),
            format!("callboard_pauses_total{{{kin},reason=\"breaker\"}} 1"),
            format!("callboard_parks_total{{{kin},class=\"poison\"}} 1"),
            "callboard_breaker_moves_total{guard=\"model\",from=\"closed\",to=\"open\"} 1".to_owned(),
            "callboard_breaker_state{guard=\"model\",state=\"open\"} 1".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_state_in_which_nobody_is_any_more_is_not_shown() {
        let metrics = Metrics::new();
        let census = |state: &'static str| Census {
            states: [(("runs".to_owned(), state), 3)].into(),
            held: [(("runs".to_owned(), Held::Operator), 1)].into(),
        };
        metrics.count_children(census("up"));
        metrics.count_children(census("parked"));
        let text = metrics.encode();
        assert!(text.contains("callboard_children{supervisor=\"runs\",state=\"parked\"} 3"), "{text}");
        assert!(text.contains("callboard_children_held{supervisor=\"runs\",reason=\"operator\"} 1"), "{text}");
        assert!(!text.contains("state=\"up\""), "{text}");
    }
}
