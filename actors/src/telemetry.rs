//! Counters and histograms, for `/metrics`. Invariant: every metric's name and labels are in this
//! module, and label values come from closed sets, never from users.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use policies::failure::FailureClass;
use policies::money::Money;
use policies::tokens::Tokens;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// Buckets of times: 1 ms to about 9 minutes, each twice the one before.
const SECONDS_MIN: f64 = 0.001;
const SECONDS_BUCKETS: u16 = 20;

/// The registry and what is counted in it; a cheap clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    restarts: Family<ByClass, Counter>,
    effects: Family<ByEffect, Counter>,
    effect_seconds: Family<ByName, Histogram, fn() -> Histogram>,
    appends: Family<ByAppend, Counter>,
    append_seconds: Histogram,
    mailbox_refusals: Family<ByEntity, Counter>,
    breaker_moves: Family<ByMove, Counter>,
    tokens: Family<ByModel, Counter>,
    nanodollars: Family<ByName, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByClass {
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByEffect {
    effect: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByName {
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByAppend {
    entity: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByEntity {
    entity: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByMove {
    name: String,
    to: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByModel {
    model: String,
    direction: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(SECONDS_MIN, 2.0, SECONDS_BUCKETS))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every metric at zero.
    pub fn new() -> Self {
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix("callboard")),
            restarts: Family::default(),
            effects: Family::default(),
            effect_seconds: Family::new_with_constructor(seconds),
            appends: Family::default(),
            append_seconds: seconds(),
            mailbox_refusals: Family::default(),
            breaker_moves: Family::default(),
            tokens: Family::default(),
            nanodollars: Family::default(),
        };
        let metrics = Self(Arc::new(inner));
        let this = &metrics.0;
        metrics.register("restarts", "Children restarted, by class of failure", this.restarts.clone());
        metrics.register("effects", "Effects ended, by guard and outcome", this.effects.clone());
        metrics.register("effect_seconds", "Time effects took, by guard", this.effect_seconds.clone());
        metrics.register("journal_appends", "Batches appended, by entity and outcome", this.appends.clone());
        metrics.register("journal_append_seconds", "Time from submission to sync", this.append_seconds.clone());
        metrics.register("mailbox_refusals", "Commands refused by a full mailbox", this.mailbox_refusals.clone());
        metrics.register("breaker_moves", "Moves of circuit breakers", this.breaker_moves.clone());
        metrics.register("tokens", "Tokens used, by model and direction", this.tokens.clone());
        metrics.register("nanodollars", "Money spent, by model", this.nanodollars.clone());
        metrics
    }

    /// Adds a metric of another room; its name gets the prefix `callboard_`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry().register(name, help, metric);
    }

    /// A child was restarted after a failure of this class.
    pub fn restarted(&self, class: FailureClass) {
        self.0.restarts.get_or_create(&ByClass { class: class.as_str() }).inc();
    }

    /// An effect behind the guard `name` ended: well (`None`) or with a failure.
    pub fn effect_ended(&self, name: &str, class: Option<FailureClass>, took: Duration) {
        let outcome = class.map_or("ok", FailureClass::as_str);
        self.0.effects.get_or_create(&ByEffect { effect: name.to_owned(), outcome }).inc();
        self.0.effect_seconds.get_or_create(&ByName { name: name.to_owned() }).observe(took.as_secs_f64());
    }

    /// A batch of an entity's events was made durable (`outcome` is "ok") or not.
    pub fn appended(&self, entity: &'static str, outcome: &'static str, took: Duration) {
        self.0.appends.get_or_create(&ByAppend { entity, outcome }).inc();
        self.0.append_seconds.observe(took.as_secs_f64());
    }

    /// A command found its mailbox full.
    pub fn mailbox_refused(&self, entity: &'static str) {
        self.0.mailbox_refusals.get_or_create(&ByEntity { entity }).inc();
    }

    /// The breaker `name` moved to `to`: "closed", "open" or "half_open".
    pub fn breaker_moved(&self, name: &str, to: &'static str) {
        self.0.breaker_moves.get_or_create(&ByMove { name: name.to_owned(), to }).inc();
    }

    /// A model used tokens and money.
    pub fn model_used(&self, model: &str, input: Tokens, output: Tokens, cost: Money) {
        let directed = |direction, tokens: Tokens| {
            self.0.tokens.get_or_create(&ByModel { model: model.to_owned(), direction }).inc_by(tokens.0);
        };
        directed("input", input);
        directed("output", output);
        self.0.nanodollars.get_or_create(&ByName { name: model.to_owned() }).inc_by(cost.nanos());
    }

    /// Everything, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String fails only if a metric fails to describe itself.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry()).is_err() {
            tracing::error!("the metrics cannot be written down");
        }
        text
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.restarted(FailureClass::Hung);
        metrics.effect_ended("model", None, Duration::from_millis(20));
        metrics.effect_ended("model", Some(FailureClass::RateLimited), Duration::ZERO);
        metrics.appended("run", "ok", Duration::from_millis(2));
        metrics.mailbox_refused("run");
        metrics.breaker_moved("model", "open");
        metrics.model_used("local", Tokens(7), Tokens(5), Money::from_nanos(12));
        let text = metrics.clone().encode();
        for line in [
            "callboard_restarts_total{class=\"hung\"} 1",
            "callboard_effects_total{effect=\"model\",outcome=\"ok\"} 1",
            "callboard_effects_total{effect=\"model\",outcome=\"rate_limited\"} 1",
            "callboard_effect_seconds_count{name=\"model\"} 2",
            "callboard_journal_appends_total{entity=\"run\",outcome=\"ok\"} 1",
            "callboard_journal_append_seconds_count 1",
            "callboard_mailbox_refusals_total{entity=\"run\"} 1",
            "callboard_breaker_moves_total{name=\"model\",to=\"open\"} 1",
            "callboard_tokens_total{model=\"local\",direction=\"output\"} 5",
            "callboard_nanodollars_total{name=\"local\"} 12",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
