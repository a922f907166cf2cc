//! The places of a guard: so many calls at once. Invariant: their number may change while calls are under
//! way; no call loses its place, and when there are fewer places than calls, those that come free are
//! not given out until there is room.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::lock;

/// The places.
pub(super) struct Slots {
    semaphore: Arc<Semaphore>,
    shared: Arc<Mutex<Count>>,
}

struct Count {
    max: usize,
    taken: usize,
    /// Places that are to go as soon as a call gives one back.
    excess: usize,
}

/// One of them.
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Mutex<Count>>,
}

impl Slots {
    pub(super) fn new(concurrency: u32) -> Self {
        let max = most(concurrency);
        let shared = Arc::new(Mutex::new(Count { max, taken: 0, excess: 0 }));
        Self { semaphore: Arc::new(Semaphore::new(max)), shared }
    }

    /// Makes it so many.
    pub(super) fn resize(&self, concurrency: u32) {
        let mut count = lock(&self.shared);
        let max = most(concurrency);
        if max > count.max {
            let more = max - count.max;
            // What was to go may stay.
            let kept = more.min(count.excess);
            count.excess -= kept;
            self.semaphore.add_permits(more - kept);
        } else {
            let fewer = count.max - max;
            count.excess += fewer - self.semaphore.forget_permits(fewer);
        }
        count.max = max;
    }

    pub(super) fn try_take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(self.taken(permit))
    }

    /// A place, unless none comes free until the deadline.
    pub(super) async fn take(&self, deadline: Instant) -> Option<Slot> {
        let permit = Arc::clone(&self.semaphore).acquire_owned();
        // The semaphore is never closed, so only the deadline can end this wait early.
        let permit = tokio::time::timeout_at(deadline, permit).await.ok()?.ok()?;
        Some(self.taken(permit))
    }

    fn taken(&self, permit: OwnedSemaphorePermit) -> Slot {
        lock(&self.shared).taken += 1;
        Slot { permit: Some(permit), shared: Arc::clone(&self.shared) }
    }

    pub(super) fn in_flight(&self) -> usize {
        lock(&self.shared).taken
    }

    pub(super) fn max(&self) -> usize {
        lock(&self.shared).max
    }
}

fn most(concurrency: u32) -> usize {
    usize::try_from(concurrency.max(1)).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut count = lock(&self.shared);
        count.taken -= 1;
        let Some(permit) = self.permit.take() else { return };
        if count.excess > 0 {
            count.excess -= 1;
            permit.forget();
        }
    }
}
