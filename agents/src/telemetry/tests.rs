//! What a collector is told of runs, and what becomes of it when the collector does not listen.

use std::collections::BTreeSet;
use std::sync::Mutex;

use actors::transport::{self, TransportError, TransportErrorKind, scripted};
use bytes::Bytes;
use http::{Request, Response};
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::money::Money;
use policies::tokens::{Tokens, Usage};
use serde_json::{Value, json};
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

use super::span::{self, Span};
use super::trace::RunTrace;
use super::traces::Traces;
use super::*;
use crate::fixture::{self, Ground};
use crate::key::Key;
use crate::model::Finish;
use crate::run::{
    Accepted, EffectOutcome, Event, Failed, Finished, Intended, ModelCall, Reopened, Replied, Resolved, RunId, Terms,
    Then,
};
use crate::secret::Secret;
use crate::workflow::{Action, EffectClass, StepPath, ToolCall, Workflow};

const TRACE: u128 = 0xabc;
const SECRET: &str = "planted-otlp-7d21";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn accepted(seconds: i64) -> Event {
    let workflow = Workflow {
        name: "announce".to_owned(),
        description: String::new(),
        inputs: Default::default(),
        data: Default::default(),
        steps: Vec::new(),
        outputs: Default::default(),
    };
    Event::Accepted(Arc::new(Accepted {
        at: at(seconds),
        id: RunId::new("r"),
        version: workflow.version(),
        workflow: Arc::new(workflow),
        inputs: Default::default(),
        principal: "test".to_owned(),
        terms: Terms::default(),
    }))
}

fn asked(path: &str, attempt: u32, seconds: i64) -> Event {
    let call = ModelCall {
        model: "m-1".to_owned(),
        agent: "writer".to_owned(),
        counted: Tokens(7),
        provider: "anthropic".to_owned(),
        batch: false,
    };
    let intent = fixture::intended(path, path, attempt, Money::ZERO, Vec::new());
    Event::Intended(Arc::new(Intended { at: at(seconds), call: Some(call), ..intent }))
}

fn told(path: &str, attempt: u32, seconds: i64, output: Value) -> Event {
    let usage =
        Usage { input: Tokens(7), cache_read: Tokens(2), output: Tokens(3), reasoning: Tokens(1), ..Usage::default() };
    let replied = Some(Replied {
        finish: Finish::Stop,
        model: Some("m-1-2026".to_owned()),
        first_chunk: Some(policies::span::Span::from_millis(250)),
    });
    Event::Resolved(Box::new(Resolved {
        at: at(seconds),
        outcome: EffectOutcome::ok(output),
        usage,
        replied,
        remote_id: Some("msg-1".to_owned()),
        ..fixture::resolved(path, path, attempt, Money::from_nanos(5))
    }))
}

fn failed(path: &str, attempt: u32, seconds: i64, then: Then) -> Event {
    let message = "the model said: a private thing".to_owned();
    Event::Resolved(Box::new(Resolved {
        at: at(seconds),
        outcome: EffectOutcome::Failed { class: FailureClass::RateLimited, message, retry_after: None },
        usage: Usage::default(),
        then,
        ..fixture::resolved(path, path, attempt, Money::ZERO)
    }))
}

fn tool(path: &str, seconds: i64) -> Event {
    let with = [("query".to_owned(), json!("a private question"))].into();
    let call = ToolCall { tool: "context.search".to_owned(), class: EffectClass::Read, with };
    let intent = fixture::intended(path, path, 1, Money::ZERO, Vec::new());
    Event::Intended(Arc::new(Intended { at: at(seconds), request: Action::Tool(call), ..intent }))
}

fn finished(seconds: i64) -> Event {
    Event::Finished(Finished { at: at(seconds), outputs: Default::default() })
}

/// An agent that is refused once, uses a tool, and answers.
fn events() -> Vec<Event> {
    let turn = json!({ "text": "a private thought", "turn": { "calls": [] } });
    vec![
        accepted(1),
        asked("write", 1, 2),
        failed("write", 1, 3, Then::Retry { at: at(4) }),
        asked("write", 2, 4),
        told("write", 2, 5, turn),
        tool("write@1[0]", 5),
        told("write@1[0]", 1, 6, json!({ "notes": ["a private note"] })),
        asked("write@2", 1, 6),
        told("write@2", 1, 8, json!({ "text": "a private answer" })),
        finished(9),
    ]
}

fn folded(events: &[Event]) -> Vec<Span> {
    let mut run = RunTrace::begin(&events[0], TRACE).unwrap();
    events.iter().flat_map(|event| run.fold(event, false)).collect()
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a span::Value> {
    span.attributes.iter().find(|(is, _)| *is == name).map(|(_, value)| value)
}

#[test]
fn a_run_is_a_trace_of_its_steps_calls_and_tools() {
    let spans = folded(&events());
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let wanted = [
        "chat m-1",
        "chat m-1",
        "execute_tool context.search",
        "chat m-1",
        "invoke_agent writer",
        "invoke_workflow announce",
    ];
    assert_eq!(names, wanted);
    let [first, second, tool, third, step, run] = spans.try_into().unwrap();
    assert_eq!((run.parent, step.parent), (None, Some(run.id)));
    assert!([&first, &second, &tool, &third].iter().all(|span| span.parent == Some(step.id)));
    assert!([&first, &tool, &step, &run].iter().all(|span| span.trace == TRACE));
    assert_eq!((step.start, step.end, run.start, run.end), (at(2), at(8), at(1), at(9)));
    assert_eq!((first.is_call, tool.is_call, run.is_call), (true, false, false));
    assert_eq!(first.failure.as_ref().map(|failure| failure.class), Some("rate_limited"));
    assert_eq!((&step.failure, &run.failure), (&None, &None), "what was mended is no failure");
    let text = |value: &str| Some(span::Value::Text(value.to_owned()));
    for (name, value) in [
        ("gen_ai.operation.name", text("chat")),
        ("gen_ai.provider.name", text("anthropic")),
        ("gen_ai.request.model", text("m-1")),
        ("gen_ai.request.max_tokens", Some(span::Value::Whole(10))),
        ("gen_ai.response.model", text("m-1-2026")),
        ("gen_ai.response.id", text("msg-1")),
        ("gen_ai.response.finish_reasons", Some(span::Value::Texts(vec!["stop".to_owned()]))),
        ("gen_ai.response.time_to_first_chunk", Some(span::Value::Real(0.25))),
        ("gen_ai.usage.input_tokens", Some(span::Value::Whole(9))),
        ("gen_ai.usage.output_tokens", Some(span::Value::Whole(3))),
        ("gen_ai.usage.cache_read.input_tokens", Some(span::Value::Whole(2))),
        ("gen_ai.usage.reasoning.output_tokens", Some(span::Value::Whole(1))),
        ("gen_ai.usage.cache_creation.input_tokens", None),
        ("gen_ai.conversation.id", text("r")),
        ("gen_ai.agent.name", text("writer")),
        ("error.type", None),
    ] {
        assert_eq!(attribute(&second, name).cloned(), value, "{name}");
    }
    assert_eq!(attribute(&step, "gen_ai.usage.input_tokens"), Some(&span::Value::Whole(18)));
    assert_eq!(attribute(&run, "gen_ai.workflow.name").cloned(), text("announce"));
    assert_eq!(attribute(&first, "error.type").cloned(), text("rate_limited"));
}

#[test]
fn an_agent_that_is_asked_as_a_tool_is_a_step_of_the_one_that_asked() {
    let turn = json!({ "text": "", "turn": {} });
    let spans = folded(&[
        accepted(1),
        asked("write", 1, 2),
        told("write", 1, 3, turn.clone()),
        asked("write@1[0]", 1, 3),
        told("write@1[0]", 1, 4, turn),
        asked("write@1[0]@2", 1, 4),
        told("write@1[0]@2", 1, 5, json!({ "text": "" })),
        asked("write@2", 1, 5),
        told("write@2", 1, 6, json!({ "text": "" })),
        finished(7),
    ]);
    let [_, inner, second, asked, outer, step, run] = spans.try_into().unwrap();
    assert_eq!((asked.name.as_str(), asked.parent), ("invoke_agent writer", Some(step.id)));
    assert_eq!((inner.parent, second.parent, outer.parent), (Some(asked.id), Some(asked.id), Some(step.id)));
    assert_eq!(step.parent, Some(run.id));
}

#[test]
fn what_was_neither_asked_nor_answered_is_no_call_and_what_is_open_ends_with_the_run() {
    // A guardrail stood before the first call, and the run was given up before the judge had spoken.
    let held = Event::Resolved(Box::new(Resolved {
        outcome: EffectOutcome::ok(json!({ "text": "", "turn": { "side": "input" } })),
        usage: Usage::default(),
        at: at(3),
        ..fixture::resolved("write", "write", 1, Money::ZERO)
    }));
    let failure = Event::Failed(Failed {
        at: at(5),
        path: StepPath::from("write"),
        class: FailureClass::Rejected,
        message: "it was a private thing".to_owned(),
        refusal: None,
    });
    let spans = folded(&[accepted(1), asked("write", 1, 2), held, failure]);
    let [step, run] = spans.try_into().unwrap();
    assert_eq!((step.name.as_str(), step.end), ("invoke_agent writer", at(3)));
    assert_eq!(run.failure.unwrap().class, "rejected");
}

#[test]
fn a_run_that_goes_on_after_its_end_is_a_part_of_the_same_trace_and_repeats_no_span() {
    let fails = |seconds| {
        Event::Failed(Failed {
            at: at(seconds),
            path: StepPath::from("write"),
            class: FailureClass::RateLimited,
            message: String::new(),
            refusal: None,
        })
    };
    let reopened = Event::Reopened(Reopened {
        at: at(10),
        path: StepPath::from("write"),
        by: "ann".to_owned(),
        spent: Money::ZERO,
        cost_max: None,
        ended: None,
    });
    let spans = folded(&[
        accepted(1),
        asked("write", 1, 2),
        failed("write", 1, 3, Then::GiveUp),
        fails(3),
        reopened,
        asked("write", 1, 11),
        told("write", 1, 12, json!({ "text": "" })),
        finished(13),
    ]);
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), 6, "{spans:#?}");
    let (first, second) = (&spans[2], &spans[5]);
    assert_eq!((second.parent, second.start, second.end), (Some(first.id), at(10), at(13)));
    assert_eq!(spans[4].parent, Some(second.id));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_in_the_middle_tells_what_one_that_saw_it_all_tells() {
    let mut ground = Ground::new(1);
    for event in events() {
        ground.run("r", &event, None).await.unwrap();
    }
    let journaled = ground.events();
    let traces = || Traces::new(ground.world.clone(), ground.journal.clone(), true);
    let mut whole = Vec::new();
    let mut one = traces();
    for event in &journaled {
        whole.push(one.take(event).await.unwrap());
    }
    assert_eq!(whole.iter().flatten().count(), 6);
    for from in 0..journaled.len() {
        let mut late = traces();
        for (event, wanted) in journaled.iter().zip(&whole).skip(from) {
            assert_eq!(&late.take(event).await.unwrap(), wanted, "begun at {from}");
        }
    }
}

/// What a collector was sent.
type Seen = Arc<Mutex<Vec<Request<Bytes>>>>;

/// A collector that answers with these statuses, one after the other, and then with the last; 0 is no answer.
fn collector(statuses: &'static [u16]) -> (Collector, Seen) {
    let seen = Seen::default();
    let other_side = Arc::clone(&seen);
    let transport = scripted(move |request: Request<Bytes>| {
        let mut seen = other_side.lock().unwrap();
        let status = statuses[seen.len().min(statuses.len() - 1)];
        seen.push(request);
        async move {
            match status {
                0 => {
                    let message = "refused".to_owned();
                    Err(TransportError { kind: TransportErrorKind::Connect, sent: false, message })
                }
                1 => std::future::pending().await,
                status => Ok(Response::builder().status(status).body(transport::body("<nonsense")).unwrap()),
            }
        }
    });
    let headers = [("x-key".to_owned(), Header::Secret(Key::fixed(Secret::new(SECRET))))];
    (Collector::new("http://otlp:4318/", headers, Duration::from_secs(10), transport).unwrap(), seen)
}

fn spans_of(seen: &Seen) -> Vec<Value> {
    let seen = seen.lock().unwrap();
    let traces = seen.iter().filter(|request| request.uri().path() == "/v1/traces");
    let body = |request: &Request<Bytes>| -> Value { serde_json::from_slice(request.body()).unwrap() };
    let spans = |body: Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    traces.map(body).flat_map(spans).collect()
}

struct Station {
    ground: Ground,
    shelf: Arc<dyn Shelf>,
    metrics: Metrics,
}

impl Station {
    fn new() -> Self {
        let shelf = MemoryShelves::new().open(SHELF, SHELF_VERSION).unwrap();
        Self { ground: Ground::new(1), shelf, metrics: Metrics::new() }
    }

    fn start(&self, collector: Collector, options: Options) -> Telemetry {
        let source = Source {
            world: self.ground.world.clone(),
            journal: self.ground.journal.clone(),
            metrics: self.metrics.clone(),
            shelf: Arc::clone(&self.shelf),
        };
        Telemetry::start(source, collector, options)
    }

    async fn play(&mut self, run: &str) {
        for event in events() {
            self.ground.run(run, &event, None).await.unwrap();
        }
    }

    fn counts(&self, line: &str) {
        let text = self.metrics.encode();
        assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
    }
}

/// Old enough for none to be too old: the events are of 1970, the world is not.
fn options() -> Options {
    Options { age_max: Duration::MAX, ..Options::default() }
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_said_is_told_only_where_that_was_asked_for_and_a_secret_never() {
    for content in [false, true] {
        let mut station = Station::new();
        let (collector, seen) = collector(&[200]);
        let telemetry = station.start(collector, Options { content, ..options() });
        a_while().await;
        station.play("r").await;
        a_while().await;
        telemetry.end().await;
        assert_eq!(spans_of(&seen).len(), 6);
        let told = format!("{:?}", spans_of(&seen));
        for private in ["answer", "note", "question", "thing"] {
            assert_eq!(told.contains(&format!("a private {private}")), content, "{private}");
        }
        assert_eq!(told.contains("gen_ai.input.messages"), content);
        assert!(!told.contains(SECRET));
        let seen = seen.lock().unwrap();
        assert_eq!(seen[0].headers()["x-key"], SECRET);
        assert!(!format!("{:?}", seen[0].headers()).contains(SECRET), "nor in what is logged of a request");
        assert!(!station.metrics.encode().contains(SECRET));
    }
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_away_loses_nothing_and_one_span_is_sent_once() {
    for away in [&[0, 0, 503, 429, 401, 200][..], &[1, 1, 200]] {
        let mut station = Station::new();
        let (collector, seen) = collector(away);
        // Two runs do not fit into what waits in memory.
        let telemetry = station.start(collector, Options { queue_max: 4, ..options() });
        for run in ["r", "s", "t"] {
            station.play(run).await;
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(spans_of(&seen).is_empty());
        a_while().await;
        a_while().await;
        telemetry.end().await;
        let spans = spans_of(&seen);
        let ids: BTreeSet<String> = spans.iter().map(|span| span["spanId"].to_string()).collect();
        // Each run's events carry the id `r`, so its spans are told from those of the others by their trace only.
        assert_eq!(ids.len(), 6);
        station.counts("callboard_telemetry_spans_total{fate=\"sent\"} 18");
        station.counts("callboard_telemetry_spans_waiting 0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_the_collector_had_everything() {
    let mut station = Station::new();
    station.play("before").await;
    let (first, seen) = collector(&[200]);
    let telemetry = station.start(first, options());
    for event in &events()[..6] {
        station.ground.run("r", event, None).await.unwrap();
    }
    a_while().await;
    telemetry.end().await;
    assert_eq!(spans_of(&seen).len(), 2, "nothing of what was before the first time");
    for event in &events()[6..] {
        station.ground.run("r", event, None).await.unwrap();
    }
    let (second, later) = collector(&[200]);
    let telemetry = station.start(second, options());
    a_while().await;
    telemetry.end().await;
    let spans: Vec<Value> = [spans_of(&seen), spans_of(&later)].concat();
    let ids: BTreeSet<String> = spans.iter().map(|span| span["spanId"].to_string()).collect();
    assert_eq!((spans.len(), ids.len()), (6, 6));
    let roots = spans.iter().filter(|span| span.get("parentSpanId").is_none()).count();
    assert_eq!(roots, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_and_what_is_too_old_is_dropped_and_counted() {
    let mut station = Station::new();
    let (refusing, seen) = collector(&[400]);
    let telemetry = station.start(refusing, options());
    station.play("r").await;
    a_while().await;
    telemetry.end().await;
    assert_eq!(spans_of(&seen).len(), 6, "it is sent once");
    station.counts("callboard_telemetry_spans_total{fate=\"refused\"} 6");
    let (other, seen) = collector(&[200]);
    let telemetry = station.start(other, Options::default());
    station.play("s").await;
    a_while().await;
    telemetry.end().await;
    assert!(spans_of(&seen).is_empty());
    station.counts("callboard_telemetry_spans_total{fate=\"too_old\"} 6");
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_a_bounded_time_for_a_collector_that_does_not_answer() {
    let mut station = Station::new();
    let (silent, _) = collector(&[1]);
    let telemetry = station.start(silent, options());
    station.play("r").await;
    let began = tokio::time::Instant::now();
    telemetry.end().await;
    assert_eq!(began.elapsed(), FLUSH_MAX, "on a clock that is paused");
}

#[test]
fn an_address_that_cannot_be_posted_to_is_refused() {
    for (url, is_good) in [("http://a:4318", true), ("https://a/otlp/", true), ("a:4318", false), ("ftp://a", false)] {
        let made = Collector::new(url, [], Duration::from_secs(1), transport::unplugged());
        assert_eq!(made.is_ok(), is_good, "{url}");
    }
    let header = [("a b".to_owned(), Header::Plain(http::HeaderValue::from_static("c")))];
    assert!(Collector::new("http://a", header, Duration::from_secs(1), transport::unplugged()).is_err());
}
