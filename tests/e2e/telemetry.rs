//! Telemetry, as a collector gets it over real HTTP from the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use actors::world::{World, WorldOptions};
use serde_json::Value;

use crate::desk::{Desk, Provider};

const SECRET: &str = "planted-collector-4410";
/// The official definitions of what is sent, and a reader of them; the wheels without compiled parts, which are
/// the same everywhere.
const DECODER: &str = "\
opentelemetry-proto==1.45.2 --hash=sha256:03a7ca1b43f89fd5b965d5975902bb2515c0c86e2428b456836e9a6149c6235a
protobuf==7.36.2 --hash=sha256:bdb3a345d48db958e6ce1f18e508beb0cc981d64f24088427549c866cd039f1e
";

/// One request that the collector was sent.
#[derive(Clone)]
struct Sent {
    path: String,
    key: Option<String>,
    body: Vec<u8>,
}

/// A collector on a port of its own.
struct Receiver {
    url: String,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Receiver {
    /// It answers with this status, or reads and says nothing.
    fn start(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let seen = Arc::clone(&sent);
        let world = World::real(WorldOptions::default()).unwrap();
        let each = world.clone();
        let accept = move || {
            for stream in listener.incoming() {
                let (stream, seen) = (stream.unwrap(), Arc::clone(&seen));
                each.thread("connection", move || receive(stream, status, &seen)).unwrap();
            }
        };
        world.thread("collector", accept).unwrap();
        Self { url, sent }
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    fn bodies(&self, path: &str) -> Vec<Value> {
        let of_path = self.sent().into_iter().filter(|sent| sent.path == path);
        of_path.map(|sent| serde_json::from_slice(&sent.body).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Value> {
        let spans = |body: Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        self.bodies("/v1/traces").into_iter().flat_map(spans).collect()
    }
}

/// Takes requests off one connection.
fn receive(mut stream: std::net::TcpStream, status: Option<u16>, seen: &Mutex<Vec<Sent>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let of = |line: &String| {
                let (is, value) = line.split_once(": ")?;
                is.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            lines.iter().find_map(of)
        };
        let mut body = vec![0; header("content-length").unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        seen.lock().unwrap().push(Sent { path, key: header("x-otlp-key"), body });
        let Some(status) = status else { continue };
        let _ =
            write!(stream, "HTTP/1.1 {status} Fine\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{{}}");
    }
}

fn desk(provider: &Provider, receiver: &str, more: &str) -> Desk {
    let desk = Desk::new(&provider.url);
    std::fs::write(desk.path("collector"), SECRET).unwrap();
    desk.configure(
        &provider.url,
        &format!(
            "[telemetry]\n{more}\notlp = {{ url = \"{receiver}\", interval = \"100ms\", \
             headers = {{ x-otlp-key = {{ file = \"collector\" }} }} }}\n"
        ),
    );
    desk
}

fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let attribute = |one: &Value| {
        let value = one["value"].as_object().unwrap().values().next().unwrap().clone();
        (one["key"].as_str().unwrap().to_owned(), value)
    };
    of["attributes"].as_array().unwrap().iter().map(attribute).collect()
}

/// Reads what was sent with the official definitions, which refuse a field that they do not know.
fn decoded(sent: &[Sent]) -> String {
    let folder = PathBuf::from(env!("CARGO_BIN_EXE_e2e-callboard")).parent().unwrap().join("../otlp-decoder");
    if !folder.join("opentelemetry").exists() {
        let beside = folder.with_extension(std::process::id().to_string());
        let wanted = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(wanted.path(), DECODER).unwrap();
        let installed = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
            .args(["--platform", "any", "--only-binary=:all:", "--target"])
            .arg(&beside)
            .arg("--requirement")
            .arg(wanted.path())
            .output()
            .unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        // Another test run may have been quicker.
        let _ = std::fs::rename(&beside, &folder);
    }
    let bodies = tempfile::tempdir().unwrap();
    for (nth, one) in sent.iter().enumerate() {
        let signal = one.path.rsplit('/').next().unwrap();
        std::fs::write(bodies.path().join(format!("{nth:04}.{signal}")), &one.body).unwrap();
    }
    let script = r#"
import base64, json, pathlib, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
def ids(value):
    # OTLP writes ids in hexadecimal, where the plain JSON of these definitions has base64.
    if isinstance(value, dict):
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId") else ids(v)
                for k, v in value.items()}
    return [ids(v) for v in value] if isinstance(value, list) else value
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    body = ids(json.loads(path.read_text()))
    if path.suffix == ".traces":
        request = json_format.ParseDict(body, ExportTraceServiceRequest())
        for span in (s for r in request.resource_spans for c in r.scope_spans for s in c.spans):
            assert len(span.trace_id) == 16 and len(span.span_id) == 8 and span.end_time_unix_nano >= span.start_time_unix_nano > 0
            print("span", span.name, span.kind)
    else:
        request = json_format.ParseDict(body, ExportMetricsServiceRequest())
        for metric in (m for r in request.resource_metrics for c in r.scope_metrics for m in c.metrics):
            for point in metric.histogram.data_points:
                assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and sum(point.bucket_counts) == point.count
                print("metric", metric.name, metric.unit, metric.histogram.aggregation_temporality)
"#;
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(bodies.path())
        .env("PYTHONPATH", folder.canonicalize().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_collector_gets_a_run_as_one_whole_trace_and_the_histograms_of_its_calls() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "20"]);
    let receiver = Receiver::start(Some(200));
    let desk = desk(&provider, &receiver.url, "");
    let said = desk.callboard(&["run", &desk.brief("one").display().to_string(), "--plain"]).good();
    let spans = receiver.spans();
    let of = |operation: &str| -> Vec<&Value> {
        let is = |span: &&Value| attributes(span)["gen_ai.operation.name"] == operation;
        spans.iter().filter(is).collect()
    };
    let (runs, steps, calls, tools) = (of("invoke_workflow"), of("invoke_agent"), of("chat"), of("execute_tool"));
    assert_eq!((runs.len(), runs[0]["name"].as_str()), (1, Some("invoke_workflow announce")));
    assert_eq!(calls.len() as u64, provider.calls().values().sum::<u64>(), "one span for each call that was served");
    assert!(!steps.is_empty() && !tools.is_empty());
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), spans.len(), "no span twice");
    assert!(spans.iter().all(|span| span["traceId"] == runs[0]["traceId"]), "one trace");
    for span in &spans {
        let parent = span.get("parentSpanId").map(|parent| ids.contains(parent.as_str().unwrap()));
        assert_eq!(parent, (span != runs[0]).then_some(true), "{span}");
    }
    for call in &calls {
        let has = attributes(call);
        assert_eq!((call["kind"].as_u64(), call["name"].as_str()), (Some(3), Some("chat scripted")));
        for name in ["gen_ai.response.id", "gen_ai.response.finish_reasons", "gen_ai.usage.input_tokens"] {
            assert!(has.contains_key(name), "{name} {call}");
        }
        assert_eq!(has["gen_ai.provider.name"], "openai_compatible");
        assert!(has["gen_ai.response.time_to_first_chunk"].as_f64().unwrap() > 0.0);
    }
    let metrics = receiver.bodies("/v1/metrics").pop().unwrap();
    let metrics = metrics["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
    let names: Vec<&str> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    let wanted = [
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    ];
    assert_eq!(names, wanted);
    let count = metrics[1]["histogram"]["dataPoints"][0]["count"].as_str().unwrap().to_owned();
    assert_eq!(count, calls.len().to_string());

    let read = decoded(&receiver.sent());
    assert_eq!(read.lines().filter(|line| line.starts_with("span ")).count(), spans.len());
    assert!(read.contains("metric gen_ai.client.token.usage {token} 2"), "{read}");

    // Nothing of what was said, and no secret but in its header.
    let prose = "shines for a whole night";
    for sent in receiver.sent() {
        let body = String::from_utf8(sent.body).unwrap();
        assert_eq!(sent.key.as_deref(), Some(SECRET));
        assert!(!body.contains(SECRET) && !body.contains(prose) && !body.contains("gen_ai.input.messages"), "{body}");
    }
    assert!(!said.out.contains(SECRET) && !said.err.contains(SECRET));
}

#[test]
fn what_was_said_is_sent_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let receiver = Receiver::start(Some(200));
    let desk = desk(&provider, &receiver.url, "content = true");
    desk.callboard(&["run", &desk.brief("one").display().to_string(), "--plain"]).good();
    let spans = receiver.spans();
    let call = spans.iter().find(|span| span["kind"] == 3).unwrap();
    let has = attributes(call);
    let asked: Value = serde_json::from_str(has["gen_ai.input.messages"].as_str().unwrap()).unwrap();
    assert!(asked[0]["parts"][0]["content"].as_str().unwrap().contains("shines for a whole night"), "{asked}");
    assert!(has["gen_ai.output.messages"].as_str().unwrap().contains("assistant"));
    assert!(spans.iter().any(|span| attributes(span).contains_key("gen_ai.tool.call.arguments")));
    decoded(&receiver.sent());
    assert!(!format!("{spans:?}").contains(SECRET));
}

#[test]
fn a_collector_that_is_down_or_silent_fails_no_run_and_has_the_trace_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let silent = Receiver::start(None);
    let down = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for away in [&down, &silent.url] {
        let desk = desk(&provider, away, "");
        let brief = desk.brief("one").display().to_string();
        let said = desk.callboard(&["run", &brief, "--plain"]).good();
        for signal in ["Traces", "Metrics"] {
            let is_of = |line: &&str| line.contains("takes no telemetry") && line.contains(signal);
            assert!(said.err.lines().filter(is_of).count() <= 1, "{}", said.err);
        }
        assert!(!said.err.contains(SECRET), "{}", said.err);
        assert_eq!(desk.feed().len(), 3);
        let back = Receiver::start(Some(200));
        let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
        std::fs::write(desk.path("callboard.toml"), config.replace(away.as_str(), &back.url)).unwrap();
        // The run has ended long ago; the program is only started and stopped.
        desk.callboard(&["run", &brief, "--plain"]).good();
        let spans = back.spans();
        let roots: Vec<&Value> = spans.iter().filter(|span| span.get("parentSpanId").is_none()).collect();
        assert_eq!((roots.len(), roots[0]["name"].as_str()), (1, Some("invoke_workflow announce")));
        let ids: BTreeSet<String> = spans.iter().map(|span| span["spanId"].to_string()).collect();
        assert_eq!(ids.len(), spans.len());
        assert!(spans.iter().filter(|span| span["kind"] == 3).count() > 3);
    }
}
