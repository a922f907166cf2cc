//! How long the calls of one model take, by those that ended lately.
//!
//! Invariant: it is a fold of what it was told, in the caller's clock; it takes the room of one number,
//! and what was measured long ago counts as not measured.

use std::time::Duration;

use crate::span::Span;

/// How long what was measured counts. Whoever was slow once is tried again after that.
pub const COUNTS_FOR: Span = Span::from_secs(600);
/// One call in so many moves the estimate by all of its difference: an exponentially weighted mean with the
/// weight 1/5 for the newest.
const NEWEST_WEIGHS: u32 = 5;

/// What the calls of one model took lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency(Option<Measured>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measured {
    mean: Duration,
    /// When the last call ended.
    at: Duration,
}

impl Latency {
    /// A call has ended at `now` that took so long.
    pub fn observe(&mut self, took: Duration, now: Duration) {
        let mean = match self.measured(now) {
            None => took,
            Some(Measured { mean, .. }) if took >= mean => mean + (took - mean) / NEWEST_WEIGHS,
            Some(Measured { mean, .. }) => mean - (mean - took) / NEWEST_WEIGHS,
        };
        self.0 = Some(Measured { mean, at: now });
    }

    /// How long a call takes, as far as that is known at `now`; in whole milliseconds.
    pub fn estimate(&self, now: Duration) -> Option<Span> {
        self.measured(now).map(|measured| Span::from(whole_millis(measured.mean)))
    }

    fn measured(&self, now: Duration) -> Option<Measured> {
        self.0.filter(|measured| now.saturating_sub(measured.at) <= COUNTS_FOR.duration())
    }
}

fn whole_millis(span: Duration) -> Duration {
    span - Duration::from_nanos(u64::from(span.subsec_nanos() % 1_000_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_follows_what_is_measured_and_one_slow_call_does_not_make_it_slow() {
        let mut latency = Latency::default();
        assert_eq!(latency.estimate(secs(0)), None);
        latency.observe(secs(1), secs(1));
        assert_eq!(latency.estimate(secs(2)), Some(Span::from_secs(1)), "the first is all that is known");
        latency.observe(secs(11), secs(3));
        assert_eq!(latency.estimate(secs(3)), Some(Span::from_secs(3)));
        for second in 0..60 {
            latency.observe(secs(11), secs(4 + second));
        }
        assert_eq!(latency.estimate(secs(64)).map(|span| span.duration().as_secs()), Some(10), "it gets there");
    }

    #[test]
    fn what_was_measured_long_ago_is_forgotten() {
        let mut latency = Latency::default();
        latency.observe(secs(50), secs(0));
        assert!(latency.estimate(secs(600)).is_some() && latency.estimate(secs(601)).is_none());
        latency.observe(secs(1), secs(601));
        assert_eq!(latency.estimate(secs(601)), Some(Span::from_secs(1)), "nothing of the old is in it");
    }

    proptest! {
        #[test]
        fn it_lies_between_the_shortest_and_the_longest(calls in prop::collection::vec((0..10_000_u64, 0..100_u64), 1..50)) {
            let (mut latency, mut now) = (Latency::default(), Duration::ZERO);
            for (took, passed) in &calls {
                now += secs(*passed);
                latency.observe(Duration::from_millis(*took), now);
            }
            let shown = latency.estimate(now).unwrap().duration();
            let (least, most) = (calls.iter().map(|(took, _)| *took).min(), calls.iter().map(|(took, _)| *took).max());
            prop_assert!(shown >= Duration::from_millis(least.unwrap()) && shown <= Duration::from_millis(most.unwrap()));
        }
    }
}
