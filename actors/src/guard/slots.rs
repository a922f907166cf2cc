//! The places of a guard: so many calls at once. Invariant: their number may change while calls are under
//! way; no call loses its place, and when there are fewer places than calls, those that come free are
//! not given out until there is room. Who waits for one gets it in turn.

use std::sync::{Arc, Mutex};

use policies::priority::Rank;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::lock;
use super::turns::Turns;

/// The places.
pub(super) struct Slots(Arc<Places>);

struct Places {
    free: Semaphore,
    count: Mutex<Count>,
    turns: Turns,
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
        Self(Arc::new(Places { free: Semaphore::new(max), count, turns: Turns::default() }))
    }

    /// Makes it so many.
    pub(super) fn resize(&self, concurrency: u32) {
        let Places { free, count, .. } = self.0.as_ref();
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

    /// A place, if there is one and nobody waits who is before this rank.
    pub(super) fn try_take(&self, rank: Rank) -> Option<Slot> {
        if self.0.turns.is_behind(rank) {
            return None;
        }
        Some(self.taken(self.0.free.try_acquire().ok()?))
    }

    /// A place, unless none comes free until the deadline.
    pub(super) async fn take(&self, rank: Rank, deadline: Instant) -> Option<Slot> {
        let turn = self.0.turns.join(rank);
        let in_turn = async {
            loop {
                turn.is_front(true).await;
                tokio::select! {
                    biased;
                    () = turn.is_front(false) => {}
                    permit = self.0.free.acquire() => return permit,
                }
            }
        };
        // The semaphore is never closed, so only the deadline can end this wait early.
        let permit = tokio::time::timeout_at(deadline, in_turn).await.ok()?.ok()?;
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
        let Places { free, count, .. } = self.0.as_ref();
        let mut count = lock(count);
        count.taken -= 1;
        if count.excess > 0 {
            count.excess -= 1;
        } else {
            free.add_permits(1);
        }
    }
}
