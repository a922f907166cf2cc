//! Calls under way, so that an equal one can wait for the first.
//!
//! Invariant: whoever waits hears of the end of the call that he waits for, also when that was dropped.
//! There are as many flights as calls under way, which the guard bounds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::key::Key;
use crate::model::{ModelReply, Progress};

#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<BTreeMap<Key, Flight>>>);

struct Flight {
    progress: Progress,
    waiting: Vec<oneshot::Sender<Option<ModelReply>>>,
}

pub(super) enum Joined {
    /// Nobody asks the same.
    First(Lead),
    /// Somebody does.
    Behind(Wait),
}

/// The right to make a call, and the duty to say what came of it.
pub(super) struct Lead {
    flights: Flights,
    key: Key,
}

/// One who waits for another's call.
pub(super) struct Wait {
    progress: Progress,
    reply: oneshot::Receiver<Option<ModelReply>>,
}

impl Flights {
    pub(super) fn join(&self, key: &Key, progress: &Progress) -> Joined {
        let mut flights = self.lock();
        if let Some(flight) = flights.get_mut(key) {
            let (sender, reply) = oneshot::channel();
            flight.waiting.push(sender);
            return Joined::Behind(Wait { progress: flight.progress.clone(), reply });
        }
        flights.insert(*key, Flight { progress: progress.clone(), waiting: Vec::new() });
        Joined::First(Lead { flights: self.clone(), key: *key })
    }

    /// A panic elsewhere leaves the map whole: every change is a single step.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Tells all who wait what came of it, if it can be shared.
    pub(super) fn land(self, reply: Option<&ModelReply>) {
        let flight = self.flights.lock().remove(&self.key);
        for waiting in flight.into_iter().flat_map(|flight| flight.waiting) {
            // Whoever waited may have gone away.
            let _ = waiting.send(reply.cloned());
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Whoever still waits then finds the sender gone, and asks on his own.
        self.flights.lock().remove(&self.key);
    }
}

impl Wait {
    /// How often the other's call has shown life.
    pub(super) fn beats(&self) -> u64 {
        self.progress.beats()
    }

    pub(super) async fn reply(&mut self) -> Option<ModelReply> {
        (&mut self.reply).await.ok().flatten()
    }
}
