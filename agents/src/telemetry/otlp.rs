//! OTLP's shapes, as its JSON has them. Invariant: ids are hexadecimal, whole numbers are texts, names are in
//! lowerCamelCase, and what is not said is left out.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use actors::telemetry::{Measured, Series};
use policies::instant::Timestamp;
use serde::Serialize;

use super::span::{Span, Value};

/// Who measures, and what measures.
const NAME: &str = "callboard";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Kinds of spans.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// The status of what failed.
const STATUS_ERROR: u8 = 2;
/// Figures count from the start of the process.
const CUMULATIVE: u8 = 2;

/// What is said once of all that is sent.
pub(super) struct Envelope {
    /// Which system this is, as JSON.
    resource: String,
    scope: String,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
enum AnyValue<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "intValue")]
    Whole(String),
    #[serde(rename = "doubleValue")]
    Real(f64),
    #[serde(rename = "arrayValue")]
    List { values: Vec<AnyValue<'a>> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSpan<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
    description: &'a str,
    unit: &'a str,
    histogram: Histogram<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Histogram<'a> {
    aggregation_temporality: u8,
    data_points: Vec<Point<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Point<'a> {
    attributes: Vec<Attribute<'a>>,
    start_time_unix_nano: String,
    time_unix_nano: String,
    count: String,
    sum: f64,
    bucket_counts: Vec<String>,
    explicit_bounds: &'a [f64],
}

impl Envelope {
    /// The system of a workspace; `instance` tells one process from the next.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn new(workspace: &str, instance: &str) -> Result<Self, serde_json::Error> {
        let attributes = [
            ("service.name", NAME),
            ("service.version", VERSION),
            ("service.instance.id", instance),
            ("callboard.workspace", workspace),
        ];
        let attributes = attributes.map(|(key, value)| Attribute { key, value: AnyValue::Text(value) });
        let resource = serde_json::json!({ "attributes": serde_json::to_value(&attributes)? }).to_string();
        let scope = serde_json::json!({ "name": NAME, "version": VERSION }).to_string();
        Ok(Self { resource, scope })
    }

    /// A request of spans that were written by [`span`].
    pub(super) fn traces(&self, spans: &[&str]) -> String {
        let Self { resource, scope } = self;
        let spans = spans.join(",");
        format!(
            r#"{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":[{spans}]}}]}}]}}"#
        )
    }

    /// A request of histograms, counted from `since` until `now`; none where there are no figures.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub(super) fn metrics(
        &self,
        measured: &[Measured],
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<String>, serde_json::Error> {
        let written: Vec<Metric<'_>> = measured
            .iter()
            .filter(|one| !one.series.is_empty())
            .map(|one| Metric {
                name: one.instrument.name,
                description: one.instrument.help,
                unit: one.instrument.unit,
                histogram: Histogram {
                    aggregation_temporality: CUMULATIVE,
                    data_points: one.series.iter().map(|series| point(one, series, since, now)).collect(),
                },
            })
            .collect();
        if written.is_empty() {
            return Ok(None);
        }
        let (Self { resource, scope }, metrics) = (self, serde_json::to_string(&written)?);
        Ok(Some(format!(
            r#"{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":[{{"scope":{scope},"metrics":{metrics}}}]}}]}}"#
        )))
    }
}

fn point<'a>(
    of: &Measured,
    (attributes, series): &'a (Vec<(&'static str, String)>, Series),
    since: Timestamp,
    now: Timestamp,
) -> Point<'a> {
    let attribute = |(key, value): &'a (&'static str, String)| Attribute { key, value: AnyValue::Text(value) };
    Point {
        attributes: attributes.iter().map(attribute).collect(),
        start_time_unix_nano: nanos(since),
        time_unix_nano: nanos(now.max(since)),
        count: series.count().to_string(),
        sum: series.sum,
        bucket_counts: series.counts.iter().map(u64::to_string).collect(),
        explicit_bounds: of.instrument.bounds,
    }
}

/// A span as JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn span(span: &Span) -> Result<String, serde_json::Error> {
    let status = span.failure.as_ref().map(|failure| Status { code: STATUS_ERROR, message: failure.words.as_deref() });
    serde_json::to_string(&WireSpan {
        trace_id: format!("{:032x}", span.trace),
        span_id: format!("{:016x}", span.id.0),
        parent_span_id: span.parent.map(|parent| format!("{:016x}", parent.0)),
        name: &span.name,
        kind: if span.is_call { CLIENT } else { INTERNAL },
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.iter().map(|(key, value)| Attribute { key, value: any(value) }).collect(),
        status,
    })
}

fn any(value: &Value) -> AnyValue<'_> {
    match value {
        Value::Text(text) => AnyValue::Text(text),
        Value::Whole(number) => AnyValue::Whole(i64::try_from(*number).unwrap_or(i64::MAX).to_string()),
        Value::Real(number) => AnyValue::Real(*number),
        Value::Texts(texts) => AnyValue::List { values: texts.iter().map(|text| AnyValue::Text(text)).collect() },
    }
}

fn nanos(at: Timestamp) -> String {
    (i128::from(at.micros().max(0)) * 1000).to_string()
}
