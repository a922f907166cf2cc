//! How many restarts a supervisor may make, and one child may have, before that is enough.
//!
//! A window remembers at most one restart more than are allowed.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::span::Span;

/// The most restarts that an intensity may allow, which bounds what a
/// [`Window`] remembers.
pub const RESTARTS_MAX: u32 = 10_000;

/// So many restarts within such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intensity {
    /// The restarts allowed, at most [`RESTARTS_MAX`].
    #[serde(deserialize_with = "restarts")]
    pub restarts: u32,
    /// The time over which they are counted.
    pub within: Span,
}

impl Default for Intensity {
    fn default() -> Self {
        Self { restarts: 5, within: Span::from_secs(30) }
    }
}

/// How often one child may be restarted, and what follows then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// The restarts allowed, at most [`RESTARTS_MAX`].
    #[serde(deserialize_with = "restarts")]
    pub restarts: u32,
    /// The time over which they are counted.
    pub within: Span,
    /// What one restart more leads to.
    #[serde(default)]
    pub then: Then,
}

impl Allowance {
    /// The restarts and the time, without what follows.
    pub const fn intensity(self) -> Intensity {
        Intensity { restarts: self.restarts, within: self.within }
    }
}

/// What becomes of a child that has used up its allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Its supervisor gives up.
    #[default]
    Escalate,
    /// It stays down until an operator resumes it.
    Park,
    /// It stays down for good.
    Stop,
}

fn restarts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let restarts = u32::deserialize(deserializer)?;
    if restarts <= RESTARTS_MAX {
        return Ok(restarts);
    }
    Err(de::Error::custom(format!("{restarts} restarts are too many; write at most {RESTARTS_MAX}")))
}

/// Whether a supervisor may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The restart is allowed.
    Within,
    /// It is one too many: the supervisor gives up and its own supervisor decides.
    Exceeded,
}

/// The restarts of late.
#[derive(Clone, Debug)]
pub struct Window {
    intensity: Intensity,
    recent: VecDeque<Duration>,
}

impl Window {
    /// An empty window.
    pub fn new(intensity: Intensity) -> Self {
        Self { intensity, recent: VecDeque::new() }
    }

    /// Counts by another intensity from now on; the restarts of late still count.
    pub fn govern(&mut self, intensity: Intensity) {
        self.intensity = intensity;
        let remembered = intensity.restarts.min(RESTARTS_MAX) as usize + 1;
        self.recent.drain(..self.recent.len().saturating_sub(remembered));
    }

    /// Records a restart at `now`, a monotonic time since the start.
    pub fn record(&mut self, now: Duration) -> Verdict {
        let within = self.intensity.within.0;
        while self.recent.front().is_some_and(|restart| now.saturating_sub(*restart) >= within) {
            self.recent.pop_front();
        }
        let allowed = self.intensity.restarts.min(RESTARTS_MAX) as usize;
        if self.recent.len() > allowed {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > allowed { Verdict::Exceeded } else { Verdict::Within }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(restarts: u32, within: u64, seconds: &[u64], expected: &[Verdict]) {
        let mut window = Window::new(Intensity { restarts, within: Span::from_secs(within) });
        let verdicts: Vec<_> = seconds.iter().map(|second| window.record(Duration::from_secs(*second))).collect();
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn one_restart_too_many_exceeds() {
        use Verdict::{Exceeded, Within};
        check(2, 10, &[0, 1, 2], &[Within, Within, Exceeded]);
        check(2, 10, &[0, 1, 10, 11, 12], &[Within, Within, Within, Within, Exceeded]);
        check(0, 10, &[0, 20], &[Exceeded, Exceeded]);
    }

    #[test]
    fn an_absurd_allowance_is_refused() {
        let error = toml::from_str::<Intensity>("restarts = 10001").unwrap_err();
        assert!(error.message().contains("at most 10000"), "{error}");
        let error = toml::from_str::<Allowance>("restarts = 10001\nwithin = \"1s\"").unwrap_err();
        assert!(error.message().contains("at most 10000"), "{error}");
    }

    #[test]
    fn what_was_counted_counts_under_another_intensity() {
        let at = |second| Duration::from_secs(second);
        let mut window = Window::new(Intensity { restarts: 4, within: Span::from_secs(10) });
        assert!((0..4).all(|second| window.record(at(second)) == Verdict::Within));
        window.govern(Intensity { restarts: 2, within: Span::from_secs(10) });
        assert_eq!(window.record(at(4)), Verdict::Exceeded);
        window.govern(Intensity { restarts: 9, within: Span::from_secs(10) });
        assert_eq!(window.record(at(5)), Verdict::Within);
    }

    proptest! {
        #[test]
        fn agrees_with_counting_all_restarts(
            restarts in 0..6_u32, within in 1..20_u64, steps in prop::collection::vec(0..8_u64, 0..60),
        ) {
            let mut window = Window::new(Intensity { restarts, within: Span::from_secs(within) });
            let mut all = Vec::new();
            for step in steps {
                let now = all.last().copied().unwrap_or(0) + step;
                all.push(now);
                let recent = all.iter().filter(|restart| now - **restart < within).count();
                let expected = if recent > restarts as usize { Verdict::Exceeded } else { Verdict::Within };
                prop_assert_eq!(window.record(Duration::from_secs(now)), expected);
                prop_assert!(window.recent.len() <= restarts as usize + 1);
            }
        }
    }
}
