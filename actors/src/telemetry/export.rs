//! What is counted of sending telemetry elsewhere. Invariant: what never arrives is counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::mailboxes::whole;

#[derive(Debug, Default)]
pub(super) struct Exports {
    sends: Family<BySend, Counter>,
    spans: Family<ByFate, Counter>,
    waiting: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BySend {
    signal: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByFate {
    fate: &'static str,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Histograms.
    Metrics,
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The collector has it.
    Sent,
    /// The collector will not have it.
    Refused,
    /// It was too old when the collector would have had it.
    TooOld,
    /// The journal's event that may have ended one cannot be read.
    Unreadable,
}

impl Exports {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.register("telemetry_sends", "Requests to the collector, by what came of them", self.sends.clone());
        metrics.register("telemetry_spans", "Spans that were sent or dropped", self.spans.clone());
        metrics.register("telemetry_spans_waiting", "Spans that wait for the collector", self.waiting.clone());
    }
}

impl Metrics {
    /// The collector was sent something: it took it, refused it for good, or could not be reached.
    pub fn telemetry_sent(&self, signal: Signal, outcome: &'static str) {
        let signal = match signal {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        };
        self.0.exports.sends.get_or_create(&BySend { signal, outcome }).inc();
    }

    /// So many spans were sent or dropped.
    pub fn spans_ended(&self, fate: Fate, count: usize) {
        let fate = match fate {
            Fate::Sent => "sent",
            Fate::Refused => "refused",
            Fate::TooOld => "too_old",
            Fate::Unreadable => "unreadable",
        };
        self.0.exports.spans.get_or_create(&ByFate { fate }).inc_by(count as u64);
    }

    /// So many spans wait to be sent.
    pub fn spans_wait(&self, count: usize) {
        self.0.exports.waiting.set(whole(count));
    }
}
