//! What is counted of mailboxes and dead letters. Invariant: an actor is named as the tree names it, and
//! the children of a dynamic supervisor by their kind.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, seconds};

#[derive(Debug)]
pub(super) struct Mailboxes {
    depths: Family<ByActor, Gauge>,
    refusals: Family<ByActor, Counter>,
    drops: Family<ByActor, Counter>,
    waits: Family<ByActor, Histogram, fn() -> Histogram>,
    deaths: Family<ByActor, Counter>,
    letters: Family<ByActor, Counter>,
    open: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByActor {
    actor: String,
}

fn of(actor: &str) -> ByActor {
    ByActor { actor: actor.to_owned() }
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self {
            depths: Family::default(),
            refusals: Family::default(),
            drops: Family::default(),
            waits: Family::new_with_constructor(seconds),
            deaths: Family::default(),
            letters: Family::default(),
            open: Gauge::default(),
        }
    }
}

impl Mailboxes {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.register("mailbox_depth", "Messages under way, by actor", self.depths.clone());
        metrics.register("mailbox_refusals", "Messages refused by a full mailbox", self.refusals.clone());
        metrics.register("mailbox_drops", "Messages dropped to make room for others", self.drops.clone());
        metrics.register("queue_wait_seconds", "Time from sending a message to handling it", self.waits.clone());
        metrics.register("message_deaths", "Deaths that a message caused, by who died", self.deaths.clone());
        metrics.register(
            "dead_letters",
            "Messages that went to the dead letters, by whom they killed",
            self.letters.clone(),
        );
        metrics.register("dead_letters_open", "Dead letters neither replayed nor discarded", self.open.clone());
    }
}

impl Metrics {
    /// A message found the actor's mailbox full.
    pub fn mailbox_refused(&self, actor: &str) {
        self.0.mailboxes.refusals.get_or_create(&of(actor)).inc();
    }

    /// A message was dropped to make room in the actor's mailbox.
    pub fn mailbox_dropped(&self, actor: &str) {
        self.0.mailboxes.drops.get_or_create(&of(actor)).inc();
    }

    /// A message had waited so long when the actor began with it.
    pub fn mailbox_waited(&self, actor: &str, waited: Duration) {
        self.0.mailboxes.waits.get_or_create(&of(actor)).observe(waited.as_secs_f64());
    }

    /// So many messages are under way with the actor.
    pub fn mailbox_depth(&self, actor: &str, depth: usize) {
        self.0.mailboxes.depths.get_or_create(&of(actor)).set(whole(depth));
    }

    /// A message killed the actor.
    pub fn message_killed(&self, actor: &str) {
        self.0.mailboxes.deaths.get_or_create(&of(actor)).inc();
    }

    /// A message went to the dead letters for what it did to the actor.
    pub fn dead_lettered(&self, actor: &str) {
        self.0.mailboxes.letters.get_or_create(&of(actor)).inc();
    }

    /// So many dead letters are open.
    pub fn dead_letters_open(&self, count: usize) {
        self.0.mailboxes.open.set(whole(count));
    }
}

pub(super) fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.mailbox_refused("run");
        metrics.mailbox_dropped("aggregator");
        metrics.mailbox_waited("writer", Duration::from_millis(2));
        metrics.mailbox_depth("writer", 3);
        metrics.mailbox_depth("writer", 2);
        metrics.message_killed("writer");
        metrics.dead_lettered("writer");
        metrics.dead_letters_open(1);
        let text = metrics.encode();
        for line in [
            "callboard_mailbox_refusals_total{actor=\"run\"} 1",
            "callboard_mailbox_drops_total{actor=\"aggregator\"} 1",
            "callboard_queue_wait_seconds_count{actor=\"writer\"} 1",
            "callboard_mailbox_depth{actor=\"writer\"} 2",
            "callboard_message_deaths_total{actor=\"writer\"} 1",
            "callboard_dead_letters_total{actor=\"writer\"} 1",
            "callboard_dead_letters_open 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
