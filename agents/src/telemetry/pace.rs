//! When a signal is sent, and what the log says of it. Invariant: one signal's rest holds up no other, and what
//! goes on is said once.

use std::time::Duration;

use actors::telemetry::Signal;
use tokio::time::Instant;

use super::INTERVAL_MAX;
use super::collector::{Refusal, Rejected};

/// The longest wait between two tries of a collector that does not answer.
pub(super) const REST_MAX: Duration = Duration::from_secs(60);

pub(super) struct Pace {
    signal: Signal,
    interval: Duration,
    due: Instant,
    /// How long the collector has been given to come back; none while it answers.
    rest: Option<Duration>,
    /// Whether what was sent last was refused for good.
    is_refused: bool,
    /// Whether it was ever taken.
    was_taken: bool,
    /// Whether the collector has no place for it.
    is_over: bool,
}

impl Pace {
    pub(super) fn new(signal: Signal, interval: Duration) -> Self {
        let interval = interval.min(INTERVAL_MAX);
        let due = Instant::now() + interval;
        Self { signal, interval, due, rest: None, is_refused: false, was_taken: false, is_over: false }
    }

    /// When to send next.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether the collector is given time to come back.
    pub(super) fn rests(&self) -> bool {
        self.rest.is_some()
    }

    pub(super) fn was_taken(&self) -> bool {
        self.was_taken
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// It is sent as soon as may be.
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }

    /// There was nothing to send.
    pub(super) fn skip(&mut self) {
        self.due = Instant::now() + self.rest.unwrap_or(self.interval);
    }

    /// The collector has no place for it, and takes the other signal.
    pub(super) fn end(&mut self, reason: &str) {
        self.is_over = true;
        tracing::warn!(signal = ?self.signal, reason, "the collector has no place for this; no more of it is sent");
    }

    /// Says when to send next after an answer, and what is counted of it.
    pub(super) fn answered(&mut self, answer: &Result<Rejected, Refusal>) -> &'static str {
        let outcome = match answer {
            Ok(rejected) => {
                if rejected.count > 0 {
                    let Rejected { count, why } = rejected;
                    tracing::warn!(signal = ?self.signal, count, why, "the collector refuses a part, which is dropped");
                }
                (self.is_refused, self.was_taken) = (false, true);
                self.back();
                "ok"
            }
            Err(Refusal::Never(reason) | Refusal::Whole(reason)) => {
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!(signal = ?self.signal, reason, "the collector refuses telemetry, which is dropped");
                }
                self.back();
                "refused"
            }
            Err(Refusal::Later(reason, _) | Refusal::Nowhere(reason)) => {
                if self.rest.is_none() {
                    tracing::warn!(signal = ?self.signal, reason, "the collector takes no telemetry; it is kept and sent later");
                }
                let rest = self.rest.map_or(self.interval, |rest| rest.saturating_mul(2));
                self.rest = Some(rest.min(REST_MAX.max(self.interval)));
                "unavailable"
            }
        };
        self.skip();
        if let Err(Refusal::Later(_, Some(asked))) = answer {
            // Only this once: what it asks for next it says then.
            self.due = self.due.max(Instant::now() + *asked);
        }
        outcome
    }

    /// The collector answers.
    pub(super) fn back(&mut self) {
        if self.rest.take().is_some() {
            tracing::info!(signal = ?self.signal, "the collector takes telemetry again");
        }
    }
}
