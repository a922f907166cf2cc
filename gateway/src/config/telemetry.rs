//! Where spans and histograms are sent, as the configuration says. Invariant: what people and models said is
//! sent only where it says so, and a header that is a secret is named here, never written here.

use std::collections::BTreeMap;
use std::time::Duration;

use agents::telemetry::INTERVAL_MAX;
use http::HeaderName;
use policies::document::{Mistakes, Section};
use policies::span::Span;

use super::Words;
use super::address::HttpAddress;

/// The most spans that may be let wait in memory.
const QUEUE_MAX: u32 = 65_536;
/// The longest that the collector may be given for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `[telemetry]`.
#[derive(Clone, Debug, Default)]
pub struct TelemetryConfig {
    /// Whether what people and models said is sent too.
    pub content: bool,
    /// The collector; nothing is sent without one.
    pub otlp: Option<OtlpConfig>,
}

/// A collector that takes OTLP over HTTP.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// Its address, without `/v1/traces`.
    pub url: String,
    /// What each request carries.
    pub headers: BTreeMap<String, Words>,
    /// Between two sendings.
    pub interval: Duration,
    /// The longest wait for an answer.
    pub timeout: Duration,
    /// The most spans that wait in memory.
    pub queue_max: usize,
    /// A span that ended longer ago is dropped.
    pub age_max: Duration,
}

impl TelemetryConfig {
    pub(super) fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Self {
        let content = section.boolean("content", mistakes).unwrap_or_default();
        let otlp = section.table("otlp", mistakes).and_then(|section| OtlpConfig::read(section, mistakes));
        section.finish(mistakes);
        Self { content, otlp }
    }
}

impl OtlpConfig {
    fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let built_in = agents::telemetry::Options::default();
        section.require("url", mistakes);
        let url = section.value::<HttpAddress>("url", mistakes).map(|address| address.0);
        let headers: BTreeMap<String, Words> = section.or_default("headers", mistakes);
        for name in headers.keys().filter(|name| name.parse::<HeaderName>().is_err()) {
            if let Some(written) = section.get("headers") {
                mistakes.add(
                    written.span(),
                    format!("no header can be called `{name}`"),
                    "write a name such as \"authorization\"",
                );
            }
        }
        let mut span = |key: &'static str, default: Duration| {
            let found = section.value::<Span>(key, mistakes).map_or(default, Span::duration);
            if found.is_zero()
                && let Some(written) = section.get(key)
            {
                mistakes.add(written.span(), format!("`{key}` is no time"), "write one such as \"5s\"");
            }
            found
        };
        let (interval, timeout) = (span("interval", built_in.interval), span("timeout", TIMEOUT));
        let age_max = span("age_max", built_in.age_max);
        for (key, found) in [("interval", interval), ("timeout", timeout)] {
            if found > INTERVAL_MAX
                && let Some(written) = section.get(key)
            {
                mistakes.add(written.span(), format!("`{key}` is more than a day"), "write one such as \"5s\"");
            }
        }
        let queue_max = section.whole("queue_max", 1..=QUEUE_MAX, mistakes);
        section.finish(mistakes);
        let queue_max = queue_max.map_or(built_in.queue_max, |queue| queue as usize);
        Some(Self { url: url?, headers, interval, timeout, queue_max, age_max })
    }
}
