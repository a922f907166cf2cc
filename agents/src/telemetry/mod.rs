//! Spans of runs, and the histograms of model calls, for a collector that speaks OTLP.
//!
//! A run is a trace. Its spans are made of what the journal has of it, not of what happens to be in memory:
//! the run is a fold, so an intent and its outcome are a span with a beginning and an end, and a process that
//! is killed between the two goes on with the same span when it is back. Trace and span ids follow from the
//! events, so that whatever is told twice is told under the same id. Only what no event can know, the time to
//! the first piece of a reply, comes from the live call, and is in the outcome.
//!
//! The journal is also the queue. What a collector that is down has not taken is read again later, from where
//! it had everything; what waits in memory is bounded, and nobody waits for it: no run, no journal, no start.
//!
//! It is written as OTLP's own JSON, a few shapes that are stable. The SDK's own exporter brings threads, a
//! clock and chance of its own, past the [`World`]; and all that would be used of it are those shapes.
//!
//! Invariant: a span is told once its end is durable, and dropped only where that is counted; what people and
//! models said is in no span unless that was asked for; no secret is in any.

mod collector;
mod content;
mod exporter;
mod otlp;
mod pace;
mod queue;
mod span;
mod trace;
mod traces;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actors::telemetry::Metrics;
use actors::world::World;
use storage::journal::Journal;
use storage::views::Shelf;
use tokio_util::sync::CancellationToken;

pub use collector::{Collector, CollectorError, Header};
use exporter::Exporter;

/// The shelf that holds how far the collector has everything.
pub const SHELF: &str = "telemetry";
/// Raise it to begin anew at the journal's end.
pub const SHELF_VERSION: u32 = 1;
/// The longest that an end waits for the collector to take what is left; the rest is sent after the next start.
pub const FLUSH_MAX: Duration = Duration::from_secs(5);

/// The longest that may lie between two sendings.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How telemetry is sent.
#[derive(Clone, Debug)]
pub struct Options {
    /// Between two sendings; [`INTERVAL_MAX`] where it is longer.
    pub interval: Duration,
    /// The most spans that wait in memory; the others wait in the journal.
    pub queue_max: usize,
    /// A span that could be told longer ago is dropped.
    pub age_max: Duration,
    /// Whether what people and models said is in it.
    pub content: bool,
    /// What names this system to the collector, beside its own name and version.
    pub workspace: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            queue_max: 4096,
            age_max: Duration::from_secs(24 * 60 * 60),
            content: false,
            workspace: "main".to_owned(),
        }
    }
}

/// What is followed and where that is noted.
pub struct Source {
    /// Clock, chance and tasks.
    pub world: World,
    /// What is followed.
    pub journal: Journal,
    /// What is counted.
    pub metrics: Metrics,
    /// The shelf [`SHELF`].
    pub shelf: Arc<dyn Shelf>,
}

/// Telemetry at work. It ends with the journal, or when it is told to.
pub struct Telemetry {
    ending: CancellationToken,
    ended: CancellationToken,
}

impl Telemetry {
    /// Follows the journal from where the collector has everything, or from its end the first time.
    #[must_use]
    pub fn start(source: Source, collector: Collector, options: Options) -> Self {
        let (ending, ended) = (CancellationToken::new(), CancellationToken::new());
        let (token, done) = (ending.clone(), ended.clone().drop_guard());
        let world = source.world.clone();
        let exporter = Exporter::new(source, collector, options);
        world.spawn("telemetry", async move {
            exporter.run(token).await;
            drop(done);
        });
        Self { ending, ended }
    }

    /// Sends what is left, for [`FLUSH_MAX`] at most.
    pub async fn end(&self) {
        self.ending.cancel();
        let _ = tokio::time::timeout(FLUSH_MAX, self.ended.cancelled()).await;
    }
}
