//! How long crashes keep the process away. Invariant: times are the play's own, so in a simulation
//! they follow from the seed.

use serde::{Deserialize, Serialize};

use crate::history::{History, Seen};

/// Microseconds from each crash to the next time that the process was ready. A crash during a
/// recovery lengthens the outage that it falls into; one without a next time is not counted here, it
/// shows as a violation.
#[must_use]
pub fn outages_us(history: &History) -> Vec<u64> {
    let mut away_since = None;
    let mut outages = Vec::new();
    for sighting in &history.seen {
        match sighting.what {
            Seen::Crashed { .. } => away_since = away_since.or(Some(sighting.at_us)),
            Seen::Ready { .. } => {
                outages.extend(away_since.take().map(|since_us| sighting.at_us.saturating_sub(since_us)));
            }
            _ => {}
        }
    }
    outages
}

/// Outages of a campaign, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outages {
    /// How many there were.
    pub count: u64,
    /// Half of them were not longer.
    pub median_us: u64,
    /// Of a hundred, 99 were not longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Outages {
    /// Their figures, by nearest rank; none without outages.
    #[must_use]
    pub fn of(mut outages_us: Vec<u64>) -> Option<Self> {
        outages_us.sort_unstable();
        let rank =
            |percent: usize| outages_us.get((outages_us.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self {
            count: outages_us.len() as u64,
            median_us: rank(50)?,
            p99_us: rank(99)?,
            max_us: *outages_us.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_by_nearest_rank() {
        assert_eq!(Outages::of(Vec::new()), None);
        let one = Outages { count: 1, median_us: 7, p99_us: 7, max_us: 7 };
        assert_eq!(Outages::of(vec![7]), Some(one));
        let many = Outages { count: 200, median_us: 100, p99_us: 198, max_us: 200 };
        assert_eq!(Outages::of((1..=200).rev().collect()), Some(many));
    }
}
