//! The calls of late, counted.
//!
//! Whatever the number of calls, [`BUCKETS`] counts are remembered; a call is forgotten between nine
//! tenths of the window and the whole of it after it was made.

use std::time::Duration;

use crate::share::Share;

/// Into how many parts the window is divided.
const BUCKETS: usize = 10;

/// Calls, and how they went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

impl Tally {
    pub(super) fn one(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failed: failed.into(), slow: slow.into() }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failed: self.failed.saturating_add(other.failed),
            slow: self.slow.saturating_add(other.slow),
        }
    }

    /// Whether so many of the calls have failed.
    pub(super) fn has_failed(self, share: Share) -> bool {
        share.is_reached(self.failed, self.calls)
    }

    /// Whether so many of the calls were slow.
    pub(super) fn is_slow(self, share: Share) -> bool {
        share.is_reached(self.slow, self.calls)
    }
}

/// A rolling count of calls.
#[derive(Clone, Debug)]
pub(super) struct Rolling {
    /// How much time one bucket stands for.
    part: Duration,
    /// Each with the number of its part of time, counted from the start.
    buckets: [(u128, Tally); BUCKETS],
}

impl Rolling {
    /// Nothing counted yet, over a window of this length; 0 counts as 1 ms.
    pub(super) fn new(window: Duration) -> Self {
        let part = window / u32::try_from(BUCKETS).unwrap_or(1);
        let part = part.max(Duration::from_micros(100));
        Self { part, buckets: [(0, Tally::default()); BUCKETS] }
    }

    /// Counts a call at `now`, a monotonic time since the start, and gives the sum of late.
    pub(super) fn record(&mut self, call: Tally, now: Duration) -> Tally {
        let current = now.as_nanos() / self.part.as_nanos();
        let place = usize::try_from(current % BUCKETS as u128).unwrap_or(0);
        if let Some(bucket) = self.buckets.get_mut(place) {
            if bucket.0 != current {
                *bucket = (current, Tally::default());
            }
            bucket.1 = bucket.1.plus(call);
        }
        let of_late = self.buckets.iter().filter(|(part, _)| part + BUCKETS as u128 > current && *part <= current);
        of_late.fold(Tally::default(), |sum, (_, tally)| sum.plus(*tally))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buckets = [(0, Tally::default()); BUCKETS];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_counting_all_calls_of_the_parts_of_late(
            calls in prop::collection::vec((0..4_000_u64, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let mut rolling = Rolling::new(Duration::from_secs(10));
            let (mut now, mut all) = (0, Vec::new());
            for (step, failed, slow) in calls {
                now += step;
                all.push((now, failed, slow));
                let of_late = all.iter().filter(|(at, ..)| now / 1_000 - at / 1_000 < 10);
                let expected = of_late.fold(Tally::default(), |sum, (_, failed, slow)| sum.plus(Tally::one(*failed, *slow)));
                prop_assert_eq!(rolling.record(Tally::one(failed, slow), Duration::from_millis(now)), expected);
            }
        }
    }

    #[test]
    fn a_window_of_no_length_counts_and_forgets() {
        let mut rolling = Rolling::new(Duration::ZERO);
        assert_eq!(rolling.record(Tally::one(true, false), Duration::ZERO).calls, 1);
        assert_eq!(rolling.record(Tally::one(true, false), Duration::from_secs(1)).calls, 1);
        rolling.clear();
        assert_eq!(rolling.record(Tally::default(), Duration::from_secs(1)), Tally::default());
    }
}
