//! Bounds in front of ractor's unbounded mailboxes. Invariant: whoever sends a message holds a
//! credit until it is answered, so messages unanswered never pass the capacity, and a mailbox that
//! closes while none is out loses none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bit that says the mailbox takes no more; the other bits count the credits that are out.
const CLOSED: u64 = 1 << 63;

/// The credits of one actor's mailbox; a cheap clone.
#[derive(Clone, Debug)]
pub struct Credits(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    capacity: u64,
    out: AtomicU64,
}

/// The right to have one message under way; it goes back when dropped.
#[derive(Debug)]
pub struct Credit(Arc<Gate>);

impl Credits {
    /// Credits for at most `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        let capacity = u64::try_from(capacity).unwrap_or(CLOSED - 1).min(CLOSED - 1);
        Self(Arc::new(Gate { capacity, out: AtomicU64::new(0) }))
    }

    /// A credit, unless all are out or the mailbox is closed.
    pub fn try_take(&self) -> Option<Credit> {
        self.take_below(self.0.capacity)
    }

    /// A credit beyond the capacity, for what the actor's own effects report back: refusing it
    /// would lose an outcome. Their number is bounded by the effects the actor started.
    pub fn take_reserved(&self) -> Option<Credit> {
        self.take_below(CLOSED - 1)
    }

    fn take_below(&self, bound: u64) -> Option<Credit> {
        self.0
            .out
            .try_update(Ordering::AcqRel, Ordering::Acquire, |out| (out < bound).then_some(out + 1))
            .ok()
            .map(|_| Credit(Arc::clone(&self.0)))
    }

    /// Closes the mailbox, if no credit is out. Afterwards nobody can have sent what is not handled.
    pub fn close_if_unused(&self) -> bool {
        self.0.out.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Closes the mailbox, whatever is under way.
    pub fn close(&self) {
        self.0.out.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether it takes no more, ever.
    pub fn is_closed(&self) -> bool {
        self.0.out.load(Ordering::Acquire) & CLOSED != 0
    }

    /// How many messages are under way: waiting, being handled, or waiting for their sync.
    pub fn depth(&self) -> usize {
        usize::try_from(self.0.out.load(Ordering::Acquire) & !CLOSED).unwrap_or(usize::MAX)
    }

    /// How many may be under way.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.0.capacity).unwrap_or(usize::MAX)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        // The closed bit is the highest, and as many went out as come back: no borrow reaches it.
        self.0.out.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_at_capacity_and_takes_again_when_a_credit_returns() {
        let credits = Credits::new(2);
        let first = credits.try_take().unwrap();
        let _second = credits.try_take().unwrap();
        assert!(credits.try_take().is_none());
        assert_eq!((credits.depth(), credits.capacity()), (2, 2));
        drop(first);
        assert!(credits.try_take().is_some());
    }

    #[test]
    fn reports_of_effects_pass_the_bound_and_are_counted() {
        let credits = Credits::new(0);
        assert!(credits.try_take().is_none());
        let report = credits.take_reserved().unwrap();
        assert_eq!(credits.depth(), 1);
        assert!(!credits.close_if_unused());
        drop(report);
        assert!(credits.close_if_unused());
        assert!(credits.take_reserved().is_none());
    }

    #[test]
    fn closing_keeps_the_count_of_what_is_under_way() {
        let credits = Credits::new(4);
        let credit = credits.try_take().unwrap();
        credits.close();
        assert!(credits.is_closed());
        assert!(credits.try_take().is_none());
        assert_eq!(credits.depth(), 1);
        drop(credit);
        assert_eq!(credits.depth(), 0);
        assert!(credits.is_closed());
    }

    #[test]
    fn a_race_to_take_never_passes_the_capacity() {
        let credits = Credits::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _held = credits.try_take();
                        assert!(credits.depth() <= 3);
                    }
                });
            }
        });
        assert_eq!(credits.depth(), 0);
    }
}
