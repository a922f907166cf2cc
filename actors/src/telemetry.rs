//! Counters, gauges and histograms, for `/metrics`. Invariant: every metric's name and labels are in this
//! module, and label values come from closed sets, never from users: what comes and goes at run time is
//! counted under the name of its supervisor.

mod calls;
pub mod convention;
mod export;
mod mailboxes;
mod supervision;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use policies::failure::FailureClass;
use policies::money::Money;
use policies::tokens::Tokens;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use calls::Calls;
pub use calls::{Attributes, CallEnded, Measured, Series};
use export::Exports;
pub use export::{Fate, Signal};
use mailboxes::Mailboxes;
use supervision::Supervision;
pub use supervision::{Breaker, Census, Held, Kin};

/// Buckets of times: 1 ms to about 9 minutes, each twice the one before.
const SECONDS_MIN: f64 = 0.001;
const SECONDS_BUCKETS: u16 = 20;
/// What every name begins with.
const PREFIX: &str = "callboard";

/// The registry and what is counted in it; a cheap clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    /// What has the names of the conventions, without our prefix.
    conventional: Registry,
    calls: Arc<Calls>,
    exports: Exports,
    listed: Mutex<Vec<Listed>>,
    supervision: Supervision,
    effects: Family<ByEffect, Counter>,
    effect_seconds: Family<ByGuard, Histogram, fn() -> Histogram>,
    appends: Family<ByAppend, Counter>,
    append_seconds: Histogram,
    mailboxes: Mailboxes,
    tokens: Family<ByModel, Counter>,
    nanodollars: Family<ByPrice, Counter>,
}

/// One metric, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its whole name; a histogram's comes with `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts.
    pub help: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByEffect {
    guard: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByGuard {
    guard: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByPrice {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByAppend {
    entity: &'static str,
    outcome: &'static str,
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
        let calls = Arc::<Calls>::default();
        let mut conventional = Registry::default();
        conventional.register_collector(Box::new(Arc::clone(&calls)));
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix(PREFIX)),
            conventional,
            calls,
            exports: Exports::default(),
            listed: Mutex::default(),
            supervision: Supervision::default(),
            effects: Family::default(),
            effect_seconds: Family::new_with_constructor(seconds),
            appends: Family::default(),
            append_seconds: seconds(),
            mailboxes: Mailboxes::default(),
            tokens: Family::default(),
            nanodollars: Family::default(),
        };
        let metrics = Self(Arc::new(inner));
        let this = &metrics.0;
        this.supervision.register(&metrics);
        metrics.register(
            "effects",
            "Calls ended, by guard and outcome: ok, or the class of failure",
            this.effects.clone(),
        );
        metrics.register("effect_seconds", "Time calls took, by guard", this.effect_seconds.clone());
        metrics.register("journal_appends", "Batches appended, by entity and outcome", this.appends.clone());
        metrics.register("journal_append_seconds", "Time from submission to sync", this.append_seconds.clone());
        this.mailboxes.register(&metrics);
        this.exports.register(&metrics);
        metrics.register("tokens", "Tokens used, by model and direction", this.tokens.clone());
        metrics.register("nanodollars", "Money spent, by model", this.nanodollars.clone());
        metrics
    }

    /// Adds a metric of another room; its name gets the prefix `callboard_`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        let (kind, suffix) = match metric.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            _ => ("unknown", ""),
        };
        let listed = Listed { name: format!("{PREFIX}_{name}{suffix}"), kind, help: help.to_owned() };
        self.0.listed.lock().unwrap_or_else(PoisonError::into_inner).push(listed);
        self.registry().register(name, help, metric);
    }

    /// Every metric that there is, whether anything was counted in it or not.
    pub fn listed(&self) -> Vec<Listed> {
        let conventional = self.0.calls.instruments().map(|one| Listed {
            name: one.prometheus.to_owned(),
            kind: "histogram",
            help: one.help.to_owned(),
        });
        let own = self.0.listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        own.into_iter().chain(conventional).collect()
    }

    /// An effect behind the guard `name` ended: well (`None`) or with a failure.
    pub fn effect_ended(&self, name: &str, class: Option<FailureClass>, took: Duration) {
        let outcome = class.map_or("ok", FailureClass::as_str);
        self.0.effects.get_or_create(&ByEffect { guard: name.to_owned(), outcome }).inc();
        self.0.effect_seconds.get_or_create(&ByGuard { guard: name.to_owned() }).observe(took.as_secs_f64());
    }

    /// A batch of an entity's events was made durable (`outcome` is "ok") or not.
    pub fn appended(&self, entity: &'static str, outcome: &'static str, took: Duration) {
        self.0.appends.get_or_create(&ByAppend { entity, outcome }).inc();
        self.0.append_seconds.observe(took.as_secs_f64());
    }

    /// A model used tokens and money.
    pub fn model_used(&self, model: &str, input: Tokens, output: Tokens, cost: Money) {
        let directed = |direction, tokens: Tokens| {
            self.0.tokens.get_or_create(&ByModel { model: model.to_owned(), direction }).inc_by(tokens.0);
        };
        directed("input", input);
        directed("output", output);
        self.0.nanodollars.get_or_create(&ByPrice { model: model.to_owned() }).inc_by(cost.nanos());
    }

    /// Everything, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry())
            .and_then(|()| encode_registry(&mut text, &self.0.conventional))
            .and_then(|()| encode_eof(&mut text));
        // Writing to a String fails only if a metric fails to describe itself.
        if written.is_err() {
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
        metrics.effect_ended("model", None, Duration::from_millis(20));
        metrics.effect_ended("model", Some(FailureClass::RateLimited), Duration::ZERO);
        metrics.appended("run", "ok", Duration::from_millis(2));
        metrics.model_used("local", Tokens(7), Tokens(5), Money::from_nanos(12));
        let text = metrics.clone().encode();
        for line in [
            "callboard_effects_total{guard=\"model\",outcome=\"ok\"} 1",
            "callboard_effects_total{guard=\"model\",outcome=\"rate_limited\"} 1",
            "callboard_effect_seconds_count{guard=\"model\"} 2",
            "callboard_journal_appends_total{entity=\"run\",outcome=\"ok\"} 1",
            "callboard_journal_append_seconds_count 1",
            "callboard_tokens_total{model=\"local\",direction=\"output\"} 5",
            "callboard_nanodollars_total{model=\"local\"} 12",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_page_lists_each_metric_with_its_kind_and_none_that_there_is_not() {
        let page = include_str!("../../docs/metrics.md");
        let names = ["| `callboard_", "| `gen_ai_"];
        let rows = page.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        let cell =
            |row: &str, at: usize| row.split('|').nth(at).unwrap_or_default().trim().trim_matches('`').to_owned();
        let mut told: Vec<_> = rows.map(|row| (cell(row, 1), cell(row, 2))).collect();
        let metrics = Metrics::new().listed();
        let mut listed: Vec<_> = metrics.iter().map(|one| (one.name.clone(), one.kind.to_owned())).collect();
        told.sort();
        listed.sort();
        assert_eq!(told, listed);
        assert!(metrics.iter().all(|one| !one.help.is_empty() && one.kind != "unknown"));
        let unit = |name: &str| ["_total", "_seconds", "_token_usage"].iter().any(|suffix| name.ends_with(suffix));
        assert!(metrics.iter().all(|one| one.kind == "gauge" || unit(&one.name)), "a counter or a time says so");
    }
}
