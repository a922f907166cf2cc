//! The line between a call and whoever watches it: a heartbeat and news one way, cancellation the
//! other. Invariant: a sign of life is one that came from the provider, never one of our own making.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use policies::tokens::Tokens;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::RateNews;

/// Clones share it.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tokens: AtomicU64,
    beats: AtomicU64,
    /// The start, and the microseconds from it to the last sign of life.
    since: Instant,
    last_micros: AtomicU64,
    sent: AtomicBool,
    /// The microseconds from the start to the sending and to the first piece; [`NEVER`] before.
    sent_micros: AtomicU64,
    first_micros: AtomicU64,
    cancel: CancellationToken,
    news: OnceLock<Listener>,
}

/// What has not happened yet.
const NEVER: u64 = u64::MAX;

/// Who hears of rates.
struct Listener(Box<dyn Fn(RateNews) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Shared {
            tokens: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            since: Instant::now(),
            last_micros: AtomicU64::new(0),
            sent: AtomicBool::new(false),
            sent_micros: AtomicU64::new(NEVER),
            first_micros: AtomicU64::new(NEVER),
            cancel: CancellationToken::new(),
            news: OnceLock::new(),
        }))
    }
}

impl Progress {
    /// Says that the call lives and wrote `tokens` more (0 is a bare heartbeat).
    pub fn tick(&self, tokens: u64) {
        self.0.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        let now = self.stamp();
        if tokens > 0 {
            self.0.first_micros.fetch_min(now, Ordering::Relaxed);
        }
    }

    /// Notes a sign of life, and says when that is.
    fn stamp(&self) -> u64 {
        let micros = u64::try_from(self.0.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.last_micros.fetch_max(micros, Ordering::Relaxed);
        micros
    }

    /// From its sending to the first piece of the reply; none for a reply that comes in one.
    #[must_use]
    pub fn first_chunk(&self) -> Option<Duration> {
        let read = |at: &AtomicU64| Some(at.load(Ordering::Relaxed)).filter(|micros| *micros != NEVER);
        let (first, sent) = (read(&self.0.first_micros)?, read(&self.0.sent_micros)?);
        Some(Duration::from_micros(first.saturating_sub(sent)))
    }

    /// Tokens written so far.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens(self.0.tokens.load(Ordering::Relaxed))
    }

    /// How often the call has shown life; a liveness check compares two readings.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// When it last showed life, or its request was sent.
    #[must_use]
    pub fn last_sign(&self) -> Instant {
        self.0.since + Duration::from_micros(self.0.last_micros.load(Ordering::Relaxed))
    }

    /// Says that from here on the request may have reached the provider. A
    /// model calls it just before its first byte leaves.
    pub fn sent(&self) {
        self.0.sent.store(true, Ordering::SeqCst);
        let now = self.stamp();
        self.0.sent_micros.fetch_min(now, Ordering::Relaxed);
    }

    /// Whether the request may have reached the provider.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Has `listener` told what the provider says of its rates; the first one that asks is.
    pub fn on_news(&self, listener: impl Fn(RateNews) + Send + Sync + 'static) {
        let _ = self.0.news.set(Listener(Box::new(listener)));
    }

    /// Says what the provider told of its rates.
    pub fn news(&self, news: RateNews) {
        if let Some(Listener(listener)) = self.0.news.get() {
            listener(news);
        }
    }

    /// Asks the call to end.
    pub fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// Whether the call was asked to end.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Resolves when the call is asked to end.
    pub async fn on_cancelled(&self) {
        self.0.cancel.cancelled().await;
    }
}
