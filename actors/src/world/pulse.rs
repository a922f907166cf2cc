//! Who is in the middle of a turn, and since when. Invariant: an actor is here exactly as long as its
//! handler is at work, however that ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The turns under way, by the actors' names.
#[derive(Clone, Default)]
pub(super) struct Pulses(Arc<Mutex<BTreeMap<String, Duration>>>);

/// A turn; it is over when this is dropped.
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    pulses: Pulses,
    actor: String,
}

impl Pulses {
    pub(super) fn begin(&self, actor: &str, now: Duration) -> Turn {
        self.lock().insert(actor.to_owned(), now);
        Turn { pulses: self.clone(), actor: actor.to_owned() }
    }

    pub(super) fn busy(&self) -> BTreeMap<String, Duration> {
        self.lock().clone()
    }

    /// A panic elsewhere cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pulses.lock().remove(&self.actor);
    }
}
