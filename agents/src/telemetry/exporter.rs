//! The loop that follows the journal and sends. Invariant: it owns all that it knows; how far the collector has
//! everything is noted only after the collector said so.

use std::time::Duration;

use actors::telemetry::{Fate, Signal};
use policies::instant::Timestamp;
use storage::journal::{Event, ReadError, Seq, Tail};
use storage::views::Changes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Refusal};
use super::otlp::{self, Envelope};
use super::queue::{BATCH_MAX, Queue, Waiting};
use super::traces::Traces;
use super::{Options, Source};

/// The longest wait between two tries of a collector that does not answer.
const REST_MAX: Duration = Duration::from_secs(60);

pub(super) struct Exporter {
    source: Source,
    collector: Collector,
    options: Options,
    envelope: Option<Envelope>,
    tail: Tail,
    traces: Traces,
    queue: Queue,
    since: Timestamp,
    /// How far the shelf says that everything is settled.
    noted: Seq,
    /// When to send next.
    due: Instant,
    /// How long the collector has been given to come back; none while it answers.
    rest: Option<Duration>,
    /// Whether the journal can be read on.
    reads: bool,
}

/// What woke the loop.
enum Woken {
    End,
    Due,
    Read(Result<Vec<Event>, ReadError>),
}

impl Exporter {
    pub(super) fn new(source: Source, collector: Collector, options: Options) -> Self {
        let head = source.journal.head();
        // Nothing of what was before the first time.
        let noted = source.shelf.sequence().ok().flatten().unwrap_or(head).min(head);
        let instance = format!("{:032x}", source.world.chance("telemetry").id());
        let envelope = Envelope::new(&options.workspace, &instance);
        Self {
            envelope: envelope.inspect_err(|error| tracing::error!(%error, "telemetry cannot be written")).ok(),
            tail: source.journal.tail(noted.next()),
            traces: Traces::new(source.world.clone(), source.journal.clone(), options.content),
            queue: Queue::new(options.queue_max, noted),
            since: source.world.now(),
            noted,
            due: Instant::now() + options.interval,
            rest: None,
            reads: true,
            source,
            collector,
            options,
        }
    }

    /// Follows and sends until the journal has ended or it is told to end, and then sends what is left as long
    /// as the collector takes it.
    pub(super) async fn run(mut self, ending: CancellationToken) {
        self.note(true);
        while self.reads {
            let woken = tokio::select! {
                biased;
                () = ending.cancelled() => Woken::End,
                () = tokio::time::sleep_until(self.due) => Woken::Due,
                read = self.tail.next(), if self.queue.has_room() => Woken::Read(read),
            };
            match woken {
                Woken::End => break,
                Woken::Due => self.send().await,
                Woken::Read(read) => self.take(read).await,
            }
        }
        self.drain().await;
    }

    async fn take(&mut self, read: Result<Vec<Event>, ReadError>) {
        let events = match read {
            Ok(events) => events,
            Err(ReadError::Closed) => {
                self.reads = false;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "telemetry cannot read the journal; it tries again");
                tokio::time::sleep(REST_MAX).await;
                return;
            }
        };
        for event in &events {
            match self.traces.take(event).await {
                Ok(spans) => {
                    for span in spans {
                        // A text of a map with texts as keys can always be written.
                        if let Ok(json) = otlp::span(&span, self.options.content) {
                            self.queue.push(Waiting { seq: event.seq, ended: span.end, json });
                        }
                    }
                }
                Err(reason) => tracing::warn!(seq = event.seq.0, reason, "telemetry passes over an event"),
            }
            self.queue.look_at(event.seq);
        }
        self.source.metrics.spans_wait(self.queue.len());
        if self.queue.len() >= BATCH_MAX && self.rest.is_none() {
            self.due = Instant::now();
        }
    }

    /// Sends what waits and what is measured, and says when to do so next.
    async fn send(&mut self) {
        let answers = self.send_spans().await;
        if answers && self.queue.len() >= BATCH_MAX {
            self.due = Instant::now();
        } else {
            if answers {
                self.send_metrics().await;
            }
            self.due = Instant::now() + self.rest.unwrap_or(self.options.interval);
        }
        self.note(false);
    }

    /// Sends one batch; whether the collector answers.
    async fn send_spans(&mut self) -> bool {
        let age = i64::try_from(self.options.age_max.as_micros()).unwrap_or(i64::MAX);
        let horizon = Timestamp::from_micros(self.source.world.now().micros().saturating_sub(age));
        self.drop_spans(self.queue.ended_before(horizon), Fate::TooOld);
        let batch = self.queue.batch();
        let (Some(envelope), false) = (&self.envelope, batch.is_empty()) else { return true };
        let (count, body) = (batch.len(), envelope.traces(&batch));
        let answer = self.collector.traces(body).await;
        let fate = match &answer {
            Ok(()) => Some(Fate::Sent),
            Err(Refusal::Never(_)) => Some(Fate::Refused),
            Err(Refusal::Later(_)) => None,
        };
        if let Some(fate) = fate {
            self.drop_spans(count, fate);
        }
        self.judge(Signal::Traces, answer)
    }

    fn drop_spans(&mut self, count: usize, fate: Fate) {
        if count > 0 {
            self.queue.settle(count);
            self.source.metrics.spans_ended(fate, count);
            self.source.metrics.spans_wait(self.queue.len());
        }
    }

    /// Sends the histograms; whether the collector answers. They are sums, so the next ones make up for any
    /// that were lost.
    async fn send_metrics(&mut self) -> bool {
        let (measured, now) = (self.source.metrics.calls_measured(), self.source.world.now());
        let Some(envelope) = &self.envelope else { return true };
        let Ok(Some(body)) = envelope.metrics(&measured, self.since, now) else { return true };
        let answer = self.collector.metrics(body).await;
        self.judge(Signal::Metrics, answer)
    }

    /// Counts an answer and says once that the collector is away, and once that it is back.
    fn judge(&mut self, signal: Signal, answer: Result<(), Refusal>) -> bool {
        let (outcome, answers) = match &answer {
            Ok(()) => ("ok", true),
            Err(Refusal::Never(reason)) => {
                tracing::warn!(?signal, reason, "the collector refuses telemetry, which is dropped");
                ("refused", true)
            }
            Err(Refusal::Later(reason)) => {
                if self.rest.is_none() {
                    tracing::warn!(reason, "the collector takes no telemetry; it is kept and sent later");
                }
                let rest = self.rest.map_or(self.options.interval, |rest| rest.saturating_mul(2));
                self.rest = Some(rest.min(REST_MAX.max(self.options.interval)));
                ("unavailable", false)
            }
        };
        self.source.metrics.telemetry_sent(signal, outcome);
        if answers && self.rest.take().is_some() {
            tracing::info!("the collector takes telemetry again");
        }
        answers
    }

    /// What was written before the journal ended, and all that waits, as long as the collector answers.
    async fn drain(&mut self) {
        let head = self.source.journal.head();
        while self.reads && self.tail.position() <= head && self.queue.has_room() {
            let read = self.tail.next().await;
            self.take(read).await;
        }
        let mut answers = true;
        while answers && self.queue.len() > 0 {
            answers = self.send_spans().await;
            self.note(false);
        }
        if answers {
            self.send_metrics().await;
        }
        self.note(false);
    }

    /// Notes how far everything is settled.
    fn note(&mut self, anew: bool) {
        let settled = self.queue.settled();
        if anew || settled > self.noted {
            self.noted = settled;
            if let Err(error) = self.source.shelf.apply(&Changes::new(), settled) {
                tracing::warn!(%error, "how far telemetry was sent cannot be noted; some may be sent twice");
            }
        }
    }
}
