//! Spans that wait for the collector. Invariant: it is bounded in spans and in bytes; what has no room is not
//! read from the journal yet.

use std::collections::VecDeque;

use policies::instant::Timestamp;
use storage::journal::Seq;

/// What may wait in memory.
const BYTES_MAX: usize = 16 << 20;
/// The most spans that are sent at once …
pub(super) const BATCH_MAX: usize = 512;
/// … and the most bytes, where one span is not more.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// How many more the next batch may have after one that was taken.
const BATCH_STEP: usize = 32;

/// A span as it is sent, and the event that it ended with.
pub(super) struct Waiting {
    pub(super) seq: Seq,
    /// Since when it can be told.
    pub(super) ended: Timestamp,
    pub(super) json: String,
}

pub(super) struct Queue {
    spans_max: usize,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The most spans of the next batch.
    batch_max: usize,
    /// The last event that was looked at.
    looked_at: Seq,
}

impl Queue {
    pub(super) fn new(spans_max: usize, looked_at: Seq) -> Self {
        Self { spans_max: spans_max.max(1), waiting: VecDeque::new(), bytes: 0, batch_max: BATCH_MAX, looked_at }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether another event may be looked at. One event may end several spans, which are all taken.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.spans_max && self.bytes < BYTES_MAX
    }

    pub(super) fn push(&mut self, span: Waiting) {
        self.bytes += span.json.len();
        self.waiting.push_back(span);
    }

    pub(super) fn look_at(&mut self, seq: Seq) {
        self.looked_at = seq;
    }

    /// How many at the front ended before `horizon`.
    pub(super) fn ended_before(&self, horizon: Timestamp) -> usize {
        self.waiting.iter().take_while(|span| span.ended < horizon).count()
    }

    /// The next to be sent.
    pub(super) fn batch(&self) -> Vec<&str> {
        let mut bytes = 0;
        let fits = |span: &&Waiting| {
            bytes += span.json.len();
            bytes <= BATCH_BYTES_MAX || bytes == span.json.len()
        };
        self.waiting.iter().take(self.batch_max).take_while(fits).map(|span| span.json.as_str()).collect()
    }

    /// Whether as many wait as are sent at once.
    pub(super) fn has_batch(&self) -> bool {
        self.waiting.len() >= self.batch_max
    }

    /// So many at once were too much, or one of them was bad.
    pub(super) fn halve(&mut self, count: usize) {
        self.batch_max = (count / 2).max(1);
    }

    /// A batch was taken.
    pub(super) fn widen(&mut self) {
        self.batch_max = (self.batch_max + BATCH_STEP).min(BATCH_MAX);
    }

    /// The first so many are settled, one way or another.
    pub(super) fn settle(&mut self, count: usize) {
        for span in self.waiting.drain(..count.min(self.waiting.len())) {
            self.bytes -= span.json.len();
        }
    }

    /// The last event of which everything is settled.
    pub(super) fn settled(&self) -> Seq {
        match self.waiting.front() {
            Some(span) => Seq(span.seq.0.saturating_sub(1)),
            None => self.looked_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(seq: u64, bytes: usize) -> Waiting {
        Waiting { seq: Seq(seq), ended: Timestamp::from_micros(seq.try_into().unwrap()), json: "x".repeat(bytes) }
    }

    #[test]
    fn it_is_settled_up_to_the_event_before_the_first_that_waits() {
        let mut queue = Queue::new(2, Seq(4));
        queue.push(span(7, 1));
        queue.look_at(Seq(9));
        assert!(queue.has_room());
        queue.push(span(9, 1));
        assert_eq!((queue.settled(), queue.has_room()), (Seq(6), false));
        queue.settle(1);
        assert_eq!(queue.settled(), Seq(8));
        queue.settle(1);
        assert_eq!((queue.settled(), queue.bytes), (Seq(9), 0));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_never_empty_and_what_is_too_old_goes() {
        let mut queue = Queue::new(10, Seq(0));
        for (seq, bytes) in [(1, BATCH_BYTES_MAX + 1), (2, BATCH_BYTES_MAX), (3, 1)] {
            queue.push(span(seq, bytes));
        }
        assert_eq!(queue.batch().len(), 1);
        queue.settle(1);
        assert_eq!(queue.batch().len(), 1);
        assert_eq!(queue.ended_before(Timestamp::from_micros(3)), 1);
        queue.settle(1);
        assert_eq!((queue.batch(), queue.len()), (vec!["x"], 1));
    }
}
