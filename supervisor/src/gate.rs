//! A worker's gate: whether new work may begin, and what is under way behind it.
//!
//! Invariant: a gate outlives every generation of its worker; closing it ends nothing that is under way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::latest::Latest;
use tokio::time::Instant;

/// The most works that a picture names.
const SHOWN_MAX: usize = 8;

/// The gate of one worker; a cheap clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: Latest<bool>,
    /// Whether the policy keeps the worker down.
    down: AtomicBool,
    works: Mutex<Works>,
}

#[derive(Debug, Default)]
struct Works {
    begun: u64,
    under_way: BTreeMap<u64, (String, Instant)>,
}

/// Work that has passed a gate; it is done when this is dropped.
#[derive(Debug)]
#[must_use = "the work counts as done when this is dropped"]
pub struct UnderWay {
    gate: Gate,
    number: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Inner { open: Latest::new(true), down: AtomicBool::new(false), works: Mutex::default() }))
    }
}

impl Gate {
    /// A gate that nothing has opened yet.
    pub(crate) fn closed() -> Self {
        let gate = Self::default();
        gate.set_open(false);
        gate
    }

    /// Whether new work may begin.
    pub fn is_open(&self) -> bool {
        self.0.open.get()
    }

    /// Whether the worker, or a supervisor above it, is parked or down for good, and by policy: it does not
    /// come back by itself, and no operator wanted that.
    pub fn is_down(&self) -> bool {
        self.0.down.load(Ordering::Relaxed)
    }

    /// Resolves when new work may begin.
    pub async fn opened(&self) {
        // The gate is ours, so it cannot be closed for good while we wait.
        let _ = self.0.open.watch().wait_for(|open| *open).await;
    }

    /// Notes that this work has begun, for the picture and for who waits until all is done.
    pub fn begin(&self, what: impl Into<String>) -> UnderWay {
        let works = &mut *self.works();
        let number = works.begun;
        works.begun += 1;
        works.under_way.insert(number, (what.into(), Instant::now()));
        UnderWay { gate: self.clone(), number }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.works().under_way.is_empty()
    }

    /// The eldest works under way, and how long each has been so far.
    pub(crate) fn shown(&self) -> Vec<(String, Duration)> {
        let works = self.works();
        works.under_way.values().take(SHOWN_MAX).map(|(what, since)| (what.clone(), since.elapsed())).collect()
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.0.open.set_if(|is| std::mem::replace(is, open) != open);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::Relaxed);
    }

    /// A panic elsewhere cannot leave the map half changed, so a poisoned lock is still good.
    fn works(&self) -> MutexGuard<'_, Works> {
        self.0.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.gate.works().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_passed_is_under_way_until_it_is_done_whether_the_gate_is_open_or_not() {
        let gate = Gate::default();
        let draft = gate.begin("draft");
        tokio::time::advance(Duration::from_secs(2)).await;
        gate.set_open(false);
        let review = gate.begin("review");
        assert_eq!(gate.shown(), [("draft".into(), Duration::from_secs(2)), ("review".into(), Duration::ZERO)]);
        drop(draft);
        assert!(!gate.is_idle() && !gate.is_open());
        drop(review);
        assert!(gate.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_passes_when_it_opens() {
        let gate = Gate::default();
        gate.opened().await;
        gate.set_open(false);
        let waits = tokio::time::timeout(Duration::from_secs(9), gate.opened());
        assert!(waits.await.is_err());
        let (_, ()) = tokio::join!(gate.opened(), async { gate.set_open(true) });
    }
}
