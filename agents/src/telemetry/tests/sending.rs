//! What becomes of what is told when the collector, or the disk, is not at its best.

use std::sync::Mutex;

use actors::telemetry::CallEnded;
use actors::transport::{self, TransportError, TransportErrorKind, scripted};
use bytes::Bytes;
use http::{Request, Response};
use storage::disk::sim::Operation;
use storage::views::memory::MemoryShelves;
use storage::views::{Changes, Shelves};

use super::*;
use crate::key::Key;
use crate::secret::Secret;

const SECRET: &str = "planted-otlp-7d21";

/// What a collector was sent.
type Seen = Arc<Mutex<Vec<Request<Bytes>>>>;

/// Which status a request gets.
type Judge = fn(&Request<Bytes>) -> u16;

/// What it answered.
#[derive(Clone, Copy)]
struct Answered(u16);

/// A collector that answers with these statuses, one after the other, and then with the last; 0 is no answer.
fn collector(statuses: &'static [u16]) -> (Collector, Seen) {
    answering(move |nth, _| statuses[nth.min(statuses.len() - 1)])
}

/// A collector that answers with what this says of the nth request.
fn answering(answer: impl Fn(usize, &Request<Bytes>) -> u16 + Send + Sync + 'static) -> (Collector, Seen) {
    saying(answer, "<nonsense", None)
}

/// The same, with these words and this `Retry-After`.
fn saying(
    answer: impl Fn(usize, &Request<Bytes>) -> u16 + Send + Sync + 'static,
    words: &'static str,
    retry_after: Option<&'static str>,
) -> (Collector, Seen) {
    let seen = Seen::default();
    let other_side = Arc::clone(&seen);
    let transport = scripted(move |mut request: Request<Bytes>| {
        let mut seen = other_side.lock().unwrap();
        let status = answer(seen.len(), &request);
        request.extensions_mut().insert(Answered(status));
        seen.push(request);
        async move {
            match status {
                0 => {
                    let message = "refused".to_owned();
                    Err(TransportError { kind: TransportErrorKind::Connect, sent: false, message })
                }
                1 => std::future::pending().await,
                status => {
                    let response = Response::builder().status(status);
                    let response = retry_after.into_iter().fold(response, |r, after| r.header("retry-after", after));
                    Ok(response.body(transport::body(words)).unwrap())
                }
            }
        }
    });
    let headers = [("x-key".to_owned(), Header::Secret(Key::fixed(Secret::new(SECRET))))];
    (Collector::new("http://otlp:4318/", headers, Duration::from_secs(10), transport).unwrap(), seen)
}

fn spans_of(seen: &Seen) -> Vec<Value> {
    spans_where(seen, |_| true)
}

/// What it said it has.
fn taken(seen: &Seen) -> Vec<Value> {
    spans_where(seen, |status| status == 200)
}

/// Trace and id of each, and how many there are in all.
fn told_apart(spans: &[Value]) -> (BTreeSet<(String, String)>, usize) {
    let of = |span: &Value| (span["traceId"].to_string(), span["spanId"].to_string());
    (spans.iter().map(of).collect(), spans.len())
}

fn spans_where(seen: &Seen, is_wanted: impl Fn(u16) -> bool) -> Vec<Value> {
    let seen = seen.lock().unwrap();
    let is_wanted = |request: &&Request<Bytes>| is_wanted(request.extensions().get::<Answered>().unwrap().0);
    let traces = seen.iter().filter(|request| request.uri().path() == "/v1/traces").filter(is_wanted);
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
        self.append(run, &events_of(run)).await;
    }

    async fn append(&mut self, run: &str, events: &[Event]) {
        for event in events {
            self.ground.run(run, event, None).await.unwrap();
        }
    }

    /// The collector had everything that is in the journal now.
    fn has_all(&self) {
        self.shelf.apply(&Changes::new(), self.ground.journal.head()).unwrap();
    }

    /// A model was called, so that there are figures.
    fn call(&self) {
        let (took, usage) = (Duration::from_secs(1), Usage { input: Tokens(7), ..Usage::default() });
        let call = CallEnded { provider: "anthropic", model: "m-1", error: None, took, first_chunk: None, usage };
        self.metrics.call_ended(&call);
    }

    fn waiting(&self) -> usize {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix("callboard_telemetry_spans_waiting "));
        line.unwrap().parse().unwrap()
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
async fn what_was_said_before_that_was_asked_for_is_never_told() {
    let mut station = Station::new();
    let (first, _) = collector(&[503]);
    let telemetry = station.start(first, options());
    station.play("before").await;
    // One that is still under way when it is asked for.
    station.append("between", &events_of("between")[..4]).await;
    a_while().await;
    telemetry.end().await;
    let asked = Options { content: true, ..options() };
    for run in ["after", "later"] {
        let (next, seen) = collector(&[200]);
        let telemetry = station.start(next, asked.clone());
        if run == "after" {
            station.append("between", &events_of("between")[4..]).await;
        }
        station.play(run).await;
        a_while().await;
        telemetry.end().await;
        let of = |run: &str| -> Vec<String> {
            let told = spans_of(&seen).iter().map(Value::to_string).collect::<Vec<_>>();
            told.into_iter().filter(|span| span.contains(&format!("\"{run}\""))).collect()
        };
        for earlier in ["before", "between"] {
            assert_eq!(of(earlier).is_empty(), run == "later", "its spans are told once");
            assert!(!of(earlier).iter().any(|span| span.contains("a private")), "{:?}", of(earlier));
        }
        assert!(of(run).iter().any(|span| span.contains("a private answer")), "also after a restart: {:?}", of(run));
    }
    // What was asked for anew counts from then on.
    let (silent, _) = collector(&[200]);
    station.start(silent, options()).end().await;
    let (away, _) = collector(&[503]);
    let telemetry = station.start(away, options());
    station.play("secret").await;
    a_while().await;
    telemetry.end().await;
    let (last, seen) = collector(&[200]);
    let telemetry = station.start(last, asked);
    a_while().await;
    telemetry.end().await;
    let told = format!("{:?}", spans_of(&seen));
    assert!(told.contains("secret") && !told.contains("a private"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_rejects_of_a_batch_is_counted_as_refused() {
    let words = r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"planted-otlp-7d21 is over its quota"}}"#;
    let mut station = Station::new();
    let (collector, seen) = saying(|_, _| 200, words, None);
    let telemetry = station.start(collector, options());
    station.play("r").await;
    a_while().await;
    telemetry.end().await;
    assert_eq!(spans_of(&seen).len(), 6, "it is sent once");
    station.counts("callboard_telemetry_spans_total{fate=\"sent\"} 4");
    station.counts("callboard_telemetry_spans_total{fate=\"refused\"} 2");
}

#[tokio::test(start_paused = true)]
async fn a_collector_is_left_alone_for_as_long_as_it_asks() {
    for (asks, waits) in [("90", 90), ("86400", 600)] {
        let mut station = Station::new();
        let (collector, seen) = saying(|nth, _| if nth == 0 { 503 } else { 200 }, "{}", Some(asks));
        let telemetry = station.start(collector, options());
        station.play("r").await;
        tokio::time::sleep(Duration::from_secs(waits - 1)).await;
        assert_eq!(seen.lock().unwrap().len(), 1, "{asks}");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(taken(&seen).len(), 6, "{asks}");
        telemetry.end().await;
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
        assert!(taken(&seen).is_empty());
        a_while().await;
        a_while().await;
        telemetry.end().await;
        let (ids, count) = told_apart(&taken(&seen));
        assert_eq!((ids.len(), count), (18, 18), "each span of each run once");
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
    let (refusing, seen) = collector(&[415]);
    let telemetry = station.start(refusing, options());
    station.play("r").await;
    a_while().await;
    telemetry.end().await;
    assert_eq!(spans_of(&seen).len(), 6, "it is sent once");
    station.counts("callboard_telemetry_spans_total{fate=\"refused\"} 6");
    station.play("s").await;
    tokio::time::sleep(Duration::from_secs(25 * 60 * 60)).await;
    let (other, seen) = collector(&[200]);
    let telemetry = station.start(other, Options::default());
    a_while().await;
    telemetry.end().await;
    assert!(spans_of(&seen).is_empty());
    station.counts("callboard_telemetry_spans_total{fate=\"too_old\"} 6");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_late_is_as_young_as_the_event_that_tells_it() {
    let mut station = Station::new();
    let (collector, seen) = collector(&[200]);
    let telemetry = station.start(collector, Options::default());
    // A person has the last word on what the step said, and takes more than a day.
    let held = json!({ "text": "may it stand?", "turn": { "side": "output" } });
    station.append("r", &[accepted(1), asked("write", 1, 2), told("write", 1, 3, held)]).await;
    a_while().await;
    assert_eq!(spans_of(&seen).len(), 1);
    tokio::time::sleep(Duration::from_secs(25 * 60 * 60)).await;
    station.append("r", &[finished(90_010)]).await;
    a_while().await;
    telemetry.end().await;
    let spans = taken(&seen);
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["chat m-1", "invoke_agent writer", "invoke_workflow announce"]);
    assert_eq!(spans[0]["parentSpanId"], spans[1]["spanId"]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_a_place_for_histograms_is_sent_no_more_of_them() {
    for (status, times) in [(404, 1..2), (405, 1..2), (501, 1..2), (503, 8..20)] {
        let mut station = Station::new();
        let is_metrics = |request: &Request<Bytes>| request.uri().path() == "/v1/metrics";
        let (collector, seen) = answering(move |_, request| if is_metrics(request) { status } else { 200 });
        let telemetry = station.start(collector, options());
        station.play("r").await;
        station.call();
        a_while().await;
        let sent = seen.lock().unwrap().iter().filter(|request| is_metrics(request)).count();
        assert!(times.contains(&sent), "{status}: {sent}");
        // And their rest holds up no span.
        station.play("s").await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(taken(&seen).len(), 12, "{status}");
        telemetry.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_is_sent_in_parts_and_only_what_is_bad_is_dropped() {
    // What is too large for a proxy, and what a backend finds wrong in one run.
    let is_large = |request: &Request<Bytes>| if request.body().len() > 3000 { 413 } else { 200 };
    let is_bad = |request: &Request<Bytes>| {
        let body = String::from_utf8_lossy(request.body());
        if body.contains("\"bad\"") { 400 } else { 200 }
    };
    let judges: [(Judge, usize); 2] = [(is_large, 0), (is_bad, 6)];
    for (judge, bad) in judges {
        let mut station = Station::new();
        let (collector, seen) = answering(move |_, request| judge(request));
        let telemetry = station.start(collector, options());
        for run in ["q", "bad", "r", "s"] {
            station.play(run).await;
        }
        a_while().await;
        telemetry.end().await;
        let (ids, count) = told_apart(&taken(&seen));
        assert_eq!((ids.len(), count), (24 - bad, 24 - bad));
        station.counts(&format!("callboard_telemetry_spans_total{{fate=\"sent\"}} {}", 24 - bad));
        station.counts("callboard_telemetry_spans_waiting 0");
        assert_eq!(station.metrics.encode().contains("fate=\"refused\"} 6"), bad == 6);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_waits_in_memory_than_may_but_for_what_one_event_ended() {
    let mut station = Station::new();
    station.has_all();
    for run in ["q", "r", "s", "t", "u", "v", "w", "x"] {
        station.play(run).await;
    }
    let (collector, seen) = collector(&[0, 0, 200]);
    let telemetry = station.start(collector, Options { queue_max: 16, ..options() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!((16..=17).contains(&station.waiting()), "{}", station.waiting());
    a_while().await;
    assert_eq!((taken(&seen).len(), station.waiting()), (48, 0));
    telemetry.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_once_loses_nothing() {
    for nth in 1..=6 {
        let mut station = Station::new();
        let events = events();
        station.append("r", &events[..6]).await;
        station.has_all();
        station.append("r", &events[6..]).await;
        let (collector, seen) = collector(&[200]);
        station.ground.disk.fail_nth(Operation::Read, nth);
        let telemetry = station.start(collector, options());
        a_while().await;
        telemetry.end().await;
        assert_eq!(taken(&seen).len(), 4, "the {nth}th read failed");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_journal_cannot_be_read_what_waits_is_sent_at_its_time_and_at_the_end() {
    for ends in [false, true] {
        let mut station = Station::new();
        let (collector, seen) = collector(&[200]);
        let telemetry = station.start(collector, options());
        station.play("r").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(station.waiting(), 6);
        station.ground.disk.fail_nth(Operation::Read, 1);
        station.append("s", &[accepted_as("s", 1)]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if ends {
            telemetry.end().await;
        } else {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        assert_eq!(taken(&seen).len(), 6, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_means_nothing_is_counted_and_what_follows_is_told() {
    let mut station = Station::new();
    let (collector, seen) = collector(&[200]);
    let telemetry = station.start(collector, options());
    station.ground.append("run/broken", events()[1].kind(), &json!(1), None).await.unwrap();
    station.play("r").await;
    a_while().await;
    telemetry.end().await;
    assert_eq!(taken(&seen).len(), 6);
    station.counts("callboard_telemetry_spans_total{fate=\"unreadable\"} 1");
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
