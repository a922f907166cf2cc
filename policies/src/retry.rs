//! Whether a failed call is made again, and when.
//!
//! Only a failure that may pass by itself is retried, a bounded number of
//! times, and never before the other side said it would take the call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{backoff::Backoff, failure::FailureClass, span::Span};

/// The longest that calls are held back at the other side's word: by the guard in front of it, and so by the step
/// whose call it has refused, which would else fail while all others only wait.
pub const HOLD_MAX: Duration = Duration::from_secs(600);

/// How calls are retried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// The most attempts in all, the first one included; 0 counts as 1.
    pub attempts_max: u32,
    /// The delay between attempts.
    pub backoff: Backoff,
    /// The longest `Retry-After` of a server that is unwell that is worth waiting for. One that limits calls is
    /// waited for [`HOLD_MAX`] at least.
    pub retry_after_max: Span,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let backoff =
            Backoff { first: Span::from_millis(500), cap: Span::from_secs(30), jitter: 0.5, ..Backoff::default() };
        Self { attempts_max: 4, backoff, retry_after_max: Span::from_secs(60) }
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this time.
    After(Duration),
    /// Leave it.
    GiveUp,
}

impl RetryPolicy {
    /// Decides after the `attempt`th attempt, counted from 1, failed with
    /// `class`. `retry_after` is the delay that the other side asked for and
    /// `chance`, in `[0, 1)`, decides the jitter.
    pub fn decide(
        &self,
        class: FailureClass,
        attempt: u32,
        retry_after: Option<Duration>,
        chance: f64,
    ) -> RetryDecision {
        let asked = retry_after.unwrap_or_default();
        let longest = self.retry_after_max.duration();
        let longest = if class == FailureClass::RateLimited { longest.max(HOLD_MAX) } else { longest };
        if !class.is_retryable() || attempt >= self.attempts_max || asked > longest {
            return RetryDecision::GiveUp;
        }
        RetryDecision::After(self.backoff.delay(attempt, chance).max(asked))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decide(class: FailureClass, attempt: u32, retry_after: Option<u64>) -> RetryDecision {
        RetryPolicy::default().decide(class, attempt, retry_after.map(Duration::from_secs), 0.0)
    }

    #[test]
    fn waits_longer_each_time_and_then_gives_up() {
        let delays = [1, 2, 3, 4].map(|attempt| decide(FailureClass::ProviderDown, attempt, None));
        let after = |millis| RetryDecision::After(Duration::from_millis(millis));
        assert_eq!(delays, [after(500), after(1_000), after(2_000), RetryDecision::GiveUp]);
    }

    #[test]
    fn honours_retry_after_within_reason() {
        let limited = |seconds| decide(FailureClass::RateLimited, 1, Some(seconds));
        assert_eq!(limited(7), RetryDecision::After(Duration::from_secs(7)));
        assert_eq!(limited(0), RetryDecision::After(Duration::from_millis(500)));
        assert_eq!(limited(600), RetryDecision::After(HOLD_MAX), "for as long as the guard holds the others back");
        assert_eq!(limited(601), RetryDecision::GiveUp);
        let unwell = |seconds| decide(FailureClass::ProviderDown, 1, Some(seconds));
        assert_eq!((unwell(60), unwell(61)), (RetryDecision::After(Duration::from_secs(60)), RetryDecision::GiveUp));
    }

    proptest! {
        #[test]
        fn a_lasting_failure_is_never_retried(attempt: u32, retry_after: Option<u64>) {
            for class in FailureClass::ALL.into_iter().filter(|class| !class.is_retryable()) {
                prop_assert_eq!(decide(class, attempt, retry_after), RetryDecision::GiveUp);
            }
        }
    }
}
