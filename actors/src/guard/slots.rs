//! The places of a guard: so many calls at once. Invariant: their number may change while calls are under
//! way; no call loses its place, and when there are fewer places than calls, those that come free are
//! not given out until there is room.

use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::lock;

/// The places.
pub(super) struct Slots(Arc<Places>);

struct Places {
    free: Semaphore,
    count: Mutex<Count>,
}

struct Count {
    max: usize,
    taken: usize,
    /// Places that are to go as soon as a call gives one back.
    excess: usize,
}

/// One of them.
pub(super) struct Slot(Arc<Places>);

impl Slots {
    pub(super) fn new(concurrency: u32) -> Self {
        let max = most(concurrency);
        let count = Mutex::new(Count { max, taken: 0, excess: 0 });
        Self(Arc::new(Places { free: Semaphore::new(max), count }))
    }

    /// Makes it so many.
    pub(super) fn resize(&self, concurrency: u32) {
        let Places { free, count } = self.0.as_ref();
        let mut count = lock(count);
        let max = most(concurrency);
        if max > count.max {
            let more = max - count.max;
            // What was to go may stay.
            let kept = more.min(count.excess);
            count.excess -= kept;
            free.add_permits(more - kept);
        } else {
            let fewer = count.max - max;
            count.excess += fewer - free.forget_permits(fewer);
        }
        count.max = max;
    }

    pub(super) fn try_take(&self) -> Option<Slot> {
        Some(self.taken(self.0.free.try_acquire().ok()?))
    }

    /// A place, unless none comes free until the deadline.
    pub(super) async fn take(&self, deadline: Instant) -> Option<Slot> {
        // The semaphore is never closed, so only the deadline can end this wait early.
        let permit = tokio::time::timeout_at(deadline, self.0.free.acquire()).await.ok()?.ok()?;
        Some(self.taken(permit))
    }

    fn taken(&self, permit: SemaphorePermit<'_>) -> Slot {
        // It comes back when the place does.
        permit.forget();
        lock(&self.0.count).taken += 1;
        Slot(Arc::clone(&self.0))
    }

    pub(super) fn in_flight(&self) -> usize {
        lock(&self.0.count).taken
    }

    pub(super) fn max(&self) -> usize {
        lock(&self.0.count).max
    }
}

fn most(concurrency: u32) -> usize {
    usize::try_from(concurrency.max(1)).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Places { free, count } = self.0.as_ref();
        let mut count = lock(count);
        count.taken -= 1;
        if count.excess > 0 {
            count.excess -= 1;
        } else {
            free.add_permits(1);
        }
    }
}
