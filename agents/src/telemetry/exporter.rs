//! The loop that follows the journal and sends. Invariant: it owns all that it knows; how far the collector has
//! everything is noted only after the collector said so.

use std::collections::VecDeque;

use actors::telemetry::{Fate, Signal};
use policies::instant::Timestamp;
use storage::journal::{Event, ReadError, Seq, Tail};
use storage::views::{Changes, Shelf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Refusal};
use super::otlp::{self, Envelope};
use super::pace::{Pace, REST_MAX};
use super::queue::{BATCH_MAX, Queue, Waiting};
use super::traces::{Traces, Unread};
use super::{Options, Source};

/// How often an event is tried whose run cannot be read, [`REST_MAX`] apart, before it is passed over.
const TRIES_MAX: u32 = 60;

/// Where the shelf says since which event words may be sent.
const WORDS_SINCE: &[u8] = b"words_since";

pub(super) struct Exporter {
    source: Source,
    collector: Collector,
    options: Options,
    envelope: Option<Envelope>,
    tail: Tail,
    /// What the tail gave last and has not been looked at.
    unread: VecDeque<Event>,
    /// When to read on; later after a read that failed.
    read_at: Instant,
    /// How often the first of the unread was tried in vain.
    tries: u32,
    traces: Traces,
    queue: Queue,
    since: Timestamp,
    /// How far the shelf says that everything is settled.
    noted: Seq,
    /// What is noted beside that with the next note.
    changes: Changes,
    spans: Pace,
    histograms: Pace,
    /// Whether the journal can be read on.
    reads: bool,
}

/// What woke the loop.
enum Woken {
    End,
    Due,
    Read(Result<(), ReadError>),
}

/// Since which event words may be sent, and what is noted of that: what was said before that was asked for was said
/// by people who had not been told so. None where it is not asked for.
fn words_since(shelf: &dyn Shelf, asked: bool, head: Seq) -> (Option<Seq>, Changes) {
    let mut changes = Changes::new();
    if !asked {
        changes.remove(WORDS_SINCE);
        return (None, changes);
    }
    let known = shelf.get(WORDS_SINCE).ok().flatten();
    let known = known.and_then(|digits| String::from_utf8(digits).ok()?.parse().ok()).map(Seq);
    let since = known.unwrap_or_else(|| head.next());
    changes.put(WORDS_SINCE, since.0.to_string());
    (Some(since), changes)
}

/// Waits until there is something unread. Nothing is lost when the future is dropped.
async fn fill(read_at: Instant, unread: &mut VecDeque<Event>, tail: &mut Tail) -> Result<(), ReadError> {
    tokio::time::sleep_until(read_at).await;
    if unread.is_empty() {
        unread.extend(tail.next().await?);
    }
    Ok(())
}

impl Exporter {
    pub(super) fn new(source: Source, collector: Collector, options: Options) -> Self {
        let head = source.journal.head();
        // Nothing of what was before the first time.
        let noted = source.shelf.sequence().ok().flatten().unwrap_or(head).min(head);
        let (words_since, changes) = words_since(source.shelf.as_ref(), options.content, head);
        let instance = format!("{:032x}", source.world.chance("telemetry").id());
        let envelope = Envelope::new(&options.workspace, &instance);
        Self {
            envelope: envelope.inspect_err(|error| tracing::error!(%error, "telemetry cannot be written")).ok(),
            tail: source.journal.tail(noted.next()),
            unread: VecDeque::new(),
            read_at: Instant::now(),
            tries: 0,
            traces: Traces::new(source.world.clone(), source.journal.clone(), words_since),
            queue: Queue::new(options.queue_max, noted),
            since: source.world.now(),
            noted,
            changes,
            spans: Pace::new(Signal::Traces, options.interval),
            histograms: Pace::new(Signal::Metrics, options.interval),
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
            let due = self.spans.due().min(self.histograms.due());
            let woken = tokio::select! {
                biased;
                () = ending.cancelled() => Woken::End,
                () = tokio::time::sleep_until(due) => Woken::Due,
                read = fill(self.read_at, &mut self.unread, &mut self.tail), if self.queue.has_room() => {
                    Woken::Read(read)
                }
            };
            match woken {
                Woken::End => break,
                Woken::Due => self.send().await,
                Woken::Read(read) => self.take(read).await,
            }
        }
        self.drain().await;
    }

    async fn take(&mut self, read: Result<(), ReadError>) {
        match read {
            Ok(()) => self.look().await,
            Err(ReadError::Closed) => self.reads = false,
            Err(error) => {
                tracing::warn!(%error, "telemetry cannot read the journal; it tries again");
                self.read_at = Instant::now() + REST_MAX;
            }
        }
    }

    /// Looks at what was read, as far as there is room for what it tells.
    async fn look(&mut self) {
        while self.queue.has_room()
            && let Some(event) = self.unread.pop_front()
        {
            match self.traces.take(&event).await {
                Ok(spans) => {
                    for span in spans {
                        // A text of a map with texts as keys can always be written.
                        if let Ok(json) = otlp::span(&span) {
                            // What is told late, of a step that a person has settled, is no older than that.
                            let ended = span.end.max(event.time);
                            self.queue.push(Waiting { seq: event.seq, ended, json });
                        }
                    }
                }
                Err(Unread::Later(reason)) if self.tries < TRIES_MAX => {
                    tracing::warn!(seq = event.seq.0, reason, "telemetry cannot read a run; it tries again");
                    self.tries += 1;
                    self.read_at = Instant::now() + REST_MAX;
                    self.unread.push_front(event);
                    break;
                }
                Err(reason) => {
                    tracing::warn!(seq = event.seq.0, %reason, "telemetry passes over an event");
                    self.source.metrics.spans_ended(Fate::Unreadable, 1);
                }
            }
            self.tries = 0;
            self.queue.look_at(event.seq);
        }
        self.source.metrics.spans_wait(self.queue.len());
        let is_much = self.queue.len() >= BATCH_MAX || !self.queue.has_room();
        if is_much && !self.spans.rests() {
            self.spans.hurry();
        }
    }

    /// Sends what is due.
    async fn send(&mut self) {
        let now = Instant::now();
        if self.spans.due() <= now {
            self.send_spans().await;
        }
        if self.histograms.due() <= now {
            self.send_histograms().await;
        }
        self.note(false);
    }

    /// Sends one batch; whether another can be sent after it.
    async fn send_spans(&mut self) -> bool {
        let age = i64::try_from(self.options.age_max.as_micros()).unwrap_or(i64::MAX);
        let horizon = Timestamp::from_micros(self.source.world.now().micros().saturating_sub(age));
        self.drop_spans(self.queue.ended_before(horizon), Fate::TooOld);
        let batch = self.queue.batch();
        let (Some(envelope), false) = (&self.envelope, batch.is_empty()) else {
            self.spans.skip();
            return false;
        };
        let (count, body) = (batch.len(), envelope.traces(&batch));
        let answer = self.collector.traces(body, self.source.world.now()).await;
        let answers = match &answer {
            Ok(rejected) => {
                // Which ones it does not say.
                let rejected = rejected.count.min(count);
                self.drop_spans(count - rejected, Fate::Sent);
                self.drop_spans(rejected, Fate::Refused);
                self.queue.widen();
                true
            }
            Err(Refusal::Whole(reason)) if count > 1 => {
                tracing::debug!(reason, count, "the collector refuses a batch; it is sent in parts");
                self.queue.halve(count);
                self.source.metrics.telemetry_sent(Signal::Traces, "refused");
                self.spans.back();
                self.spans.hurry();
                return true;
            }
            Err(Refusal::Never(_) | Refusal::Whole(_)) => {
                self.drop_spans(count, Fate::Refused);
                true
            }
            Err(Refusal::Later(..) | Refusal::Nowhere(_)) => false,
        };
        self.source.metrics.telemetry_sent(Signal::Traces, self.spans.answered(&answer));
        if answers && self.queue.has_batch() {
            self.spans.hurry();
        }
        answers
    }

    fn drop_spans(&mut self, count: usize, fate: Fate) {
        if count > 0 {
            self.queue.settle(count);
            self.source.metrics.spans_ended(fate, count);
            self.source.metrics.spans_wait(self.queue.len());
        }
    }

    /// Sends the histograms. They are sums, so the next ones make up for any that were lost.
    async fn send_histograms(&mut self) {
        let (measured, now) = (self.source.metrics.calls_measured(), self.source.world.now());
        let body = self.envelope.as_ref().filter(|_| !self.histograms.is_over());
        let body = body.and_then(|envelope| envelope.metrics(&measured, self.since, now).ok().flatten());
        let Some(body) = body else { return self.histograms.skip() };
        let answer = self.collector.metrics(body, now).await;
        let outcome = match &answer {
            // Where spans are taken the address is right, and there is nothing to wait for.
            Err(Refusal::Nowhere(reason)) if self.spans.was_taken() => {
                self.histograms.end(reason);
                self.histograms.skip();
                "refused"
            }
            answer => self.histograms.answered(answer),
        };
        self.source.metrics.telemetry_sent(Signal::Metrics, outcome);
    }

    /// What was written before the journal ended, and all that waits, as long as the collector answers.
    async fn drain(&mut self) {
        let head = self.source.journal.head();
        loop {
            while self.is_behind(head) {
                let read = fill(self.read_at, &mut self.unread, &mut self.tail).await;
                self.take(read).await;
            }
            if !self.send_spans().await {
                break;
            }
            self.note(false);
        }
        if !self.spans.rests() {
            self.send_histograms().await;
        }
        self.note(false);
    }

    /// Whether something up to `head` can be looked at now.
    fn is_behind(&self, head: Seq) -> bool {
        let is_unread = !self.unread.is_empty() || self.tail.position() <= head;
        self.reads && is_unread && self.queue.has_room() && self.read_at <= Instant::now()
    }

    /// Notes how far everything is settled.
    fn note(&mut self, anew: bool) {
        let settled = self.queue.settled();
        if anew || settled > self.noted {
            self.noted = settled;
            match self.source.shelf.apply(&self.changes, settled) {
                Ok(()) => self.changes = Changes::new(),
                Err(error) => {
                    tracing::warn!(%error, "how far telemetry was sent cannot be noted; some may be sent twice");
                }
            }
        }
    }
}
