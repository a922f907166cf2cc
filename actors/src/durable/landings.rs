//! Appends under way, by stream. Invariant: a new life folds only when none of the last life's is
//! under way any more; else it would take for undone what is about to be durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::journal::StreamId;
use tokio::sync::Notify;

/// The appends under way; a cheap clone. It holds streams only while they have some.
#[derive(Clone, Default)]
pub(super) struct Landings(Arc<Shared>);

#[derive(Default)]
struct Shared {
    under_way: Mutex<BTreeMap<StreamId, usize>>,
    ended: Notify,
}

/// One append under way, until it is dropped.
pub(super) struct Approach {
    landings: Landings,
    stream: StreamId,
}

impl Landings {
    pub(super) fn begin(&self, stream: &StreamId) -> Approach {
        *self.under_way().entry(stream.clone()).or_insert(0) += 1;
        Approach { landings: self.clone(), stream: stream.clone() }
    }

    /// Waits until the stream has none.
    pub(super) async fn settled(&self, stream: &StreamId) {
        loop {
            // It is told of every end after this line, so none is missed between look and wait.
            let ended = self.0.ended.notified();
            if !self.under_way().contains_key(stream) {
                return;
            }
            ended.await;
        }
    }

    /// A panic elsewhere cannot leave the counts half changed, so a poisoned lock is still good.
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<StreamId, usize>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Approach {
    fn drop(&mut self) {
        let mut under_way = self.landings.under_way();
        if let Some(count) = under_way.get_mut(&self.stream) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.stream);
            }
        }
        drop(under_way);
        self.landings.0.ended.notify_waiters();
    }
}
