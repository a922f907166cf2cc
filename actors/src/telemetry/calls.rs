//! What OpenTelemetry's conventions count of model calls, for Prometheus and for OTLP alike. Invariant: there
//! is one set of figures, which both show; its labels come from the configuration, never from an answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::tokens::Usage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use super::convention::{
    CHAT, DURATION, ERROR, INPUT, Instrument, OPERATION, OUTPUT, PROVIDER, REQUEST_MODEL, TIME_TO_FIRST_CHUNK,
    TOKEN_TYPE, TOKEN_USAGE,
};

/// One call of a model that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CallEnded<'a> {
    /// Whose model it is.
    pub provider: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
    /// The class of failure, where it failed.
    pub error: Option<&'static str>,
    /// How long it took.
    pub took: Duration,
    /// From its request to the first piece of a streamed answer, if there was one.
    pub first_chunk: Option<Duration>,
    /// What it used.
    pub usage: Usage,
}

/// The attributes of a series by their names in the conventions.
pub type Attributes = Vec<(&'static str, String)>;

/// One histogram, as it is now.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which.
    pub instrument: Instrument,
    /// Its series.
    pub series: Vec<(Attributes, Series)>,
}

/// The figures of one series of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// How many are in each bucket, and in the one above the last bound.
    pub counts: Vec<u64>,
    /// The sum of all.
    pub sum: f64,
}

impl Series {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn observe(&mut self, bounds: &[f64], value: f64) {
        self.counts.resize(bounds.len() + 1, 0);
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }
}

#[derive(Debug)]
pub(super) struct Calls {
    tokens: Distribution,
    duration: Distribution,
    first_chunk: Distribution,
}

#[derive(Debug)]
struct Distribution {
    instrument: Instrument,
    series: Mutex<BTreeMap<Attributes, Series>>,
}

impl Distribution {
    fn new(instrument: Instrument) -> Self {
        Self { instrument, series: Mutex::default() }
    }

    fn observe(&self, attributes: Attributes, value: f64) {
        self.series().entry(attributes).or_default().observe(self.instrument.bounds, value);
    }

    fn measured(&self) -> Measured {
        let series = self.series().iter().map(|(of, series)| (of.clone(), series.clone())).collect();
        Measured { instrument: self.instrument, series }
    }

    /// Nothing panics under this lock, so that a poisoned one is still sound.
    fn series(&self) -> MutexGuard<'_, BTreeMap<Attributes, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Distribution {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        for (attributes, series) in self.series().iter() {
            let labels: Vec<(String, &str)> =
                attributes.iter().map(|(name, value)| (name.replace('.', "_"), value.as_str())).collect();
            let ends = self.instrument.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends.zip(series.counts.iter().copied()).collect();
            encoder.encode_family(&labels)?.encode_histogram::<Vec<(String, &str)>>(
                series.sum,
                series.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            tokens: Distribution::new(TOKEN_USAGE),
            duration: Distribution::new(DURATION),
            first_chunk: Distribution::new(TIME_TO_FIRST_CHUNK),
        }
    }
}

impl Calls {
    fn all(&self) -> [&Distribution; 3] {
        [&self.tokens, &self.duration, &self.first_chunk]
    }

    pub(super) fn instruments(&self) -> impl Iterator<Item = Instrument> {
        self.all().into_iter().map(|one| one.instrument)
    }
}

impl Collector for Calls {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for one in self.all().into_iter().filter(|one| !one.series().is_empty()) {
            let Instrument { prometheus, help, .. } = one.instrument;
            one.encode(encoder.encode_descriptor(prometheus, help, None, one.metric_type())?)?;
        }
        Ok(())
    }
}

impl Metrics {
    /// A call of a model has ended.
    pub fn call_ended(&self, call: &CallEnded<'_>) {
        let calls = &self.0.calls;
        let of = |more: Option<(&'static str, &str)>| -> Attributes {
            let own = [(OPERATION, CHAT), (PROVIDER, call.provider), (REQUEST_MODEL, call.model)];
            own.into_iter().chain(more).map(|(name, value)| (name, value.to_owned())).collect()
        };
        calls.duration.observe(of(call.error.map(|class| (ERROR, class))), call.took.as_secs_f64());
        if let Some(first) = call.first_chunk {
            calls.first_chunk.observe(of(None), first.as_secs_f64());
        }
        for (kind, tokens) in [(INPUT, call.usage.input_total()), (OUTPUT, call.usage.output)] {
            if tokens.0 > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a histogram needs no more")]
                calls.tokens.observe(of(Some((TOKEN_TYPE, kind))), tokens.0 as f64);
            }
        }
    }

    /// What calls of models came to since the process began, for OTLP.
    #[must_use]
    pub fn calls_measured(&self) -> Vec<Measured> {
        self.0.calls.all().iter().map(|one| one.measured()).collect()
    }
}

#[cfg(test)]
mod tests {
    use policies::tokens::Tokens;

    use super::*;

    #[test]
    fn prometheus_and_otlp_show_the_same_figures_under_the_names_of_the_conventions() {
        let metrics = Metrics::new();
        let usage =
            Usage { input: Tokens(300), cache_read: Tokens(20), output: Tokens(100_000_000), ..Usage::default() };
        let (took, first_chunk) = (Duration::from_millis(90), Some(Duration::from_millis(10)));
        let good = CallEnded { provider: "openai", model: "m", error: None, took, first_chunk, usage };
        metrics.call_ended(&good);
        metrics.call_ended(&CallEnded {
            error: Some("rate_limited"),
            first_chunk: None,
            usage: Usage::default(),
            ..good
        });
        let text = metrics.encode();
        let labels = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"m\"";
        for line in [
            format!("gen_ai_client_token_usage_bucket{{le=\"256.0\",{labels},gen_ai_token_type=\"input\"}} 0"),
            format!("gen_ai_client_token_usage_bucket{{le=\"1024.0\",{labels},gen_ai_token_type=\"input\"}} 1"),
            format!("gen_ai_client_token_usage_bucket{{le=\"67108864.0\",{labels},gen_ai_token_type=\"output\"}} 0"),
            format!("gen_ai_client_token_usage_bucket{{le=\"+Inf\",{labels},gen_ai_token_type=\"output\"}} 1"),
            format!("gen_ai_client_operation_duration_seconds_count{{{labels}}} 1"),
            format!("gen_ai_client_operation_duration_seconds_count{{{labels},error_type=\"rate_limited\"}} 1"),
            // A bucket holds what is at its bound.
            format!("gen_ai_client_operation_time_to_first_chunk_seconds_bucket{{le=\"0.01\",{labels}}} 1"),
            format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{labels}}} 1"),
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.contains("# TYPE gen_ai_client_token_usage histogram\n"), "{text}");
        let [tokens, duration, first] = metrics.calls_measured().try_into().unwrap();
        assert_eq!(tokens.instrument.name, "gen_ai.client.token.usage");
        let inputs = &tokens.series[0];
        assert_eq!((inputs.0[3].clone(), inputs.1.sum), (("gen_ai.token.type", "input".to_owned()), 320.0));
        assert_eq!(duration.series.iter().map(|(_, series)| series.count()).sum::<u64>(), 2);
        assert_eq!(first.series[0].1.counts[..2], [1, 0]);
    }
}
