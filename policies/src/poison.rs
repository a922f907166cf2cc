//! When a message that kills its handler is taken out of circulation.
//!
//! Invariant: whatever the policy says, the number of deaths that one message may cause is bounded.

use serde::{Deserialize, Deserializer, Serialize, de};

/// The most deaths that a policy may allow one message.
pub const DEATHS_MAX: u32 = 1_000;

/// What a message may do to those who handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoisonPolicy {
    /// The deaths that it certainly caused, after which it is poison; from 1 to [`DEATHS_MAX`].
    #[serde(deserialize_with = "deaths")]
    pub deaths: u32,
    /// The deaths that it was only there for (its handler, or the whole process, ended for a reason that
    /// nobody knows), after which it is poison too; from 1 to [`DEATHS_MAX`].
    #[serde(deserialize_with = "deaths")]
    pub suspected: u32,
    /// What becomes of it.
    pub then: Then,
}

/// What becomes of a message that is poison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It goes to the dead letters, and what waits for it is held until somebody replays or discards it.
    #[default]
    DeadLetter,
    /// It fails for good, and what waits for it fails with it.
    Fail,
}

impl Default for PoisonPolicy {
    fn default() -> Self {
        Self { deaths: 3, suspected: 32, then: Then::DeadLetter }
    }
}

impl PoisonPolicy {
    /// Whether a message with so many certain and suspected deaths is poison.
    pub const fn is_poison(&self, certain: u32, suspected: u32) -> bool {
        certain >= self.deaths || certain.saturating_add(suspected) >= self.suspected
    }
}

fn deaths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let deaths = u32::deserialize(deserializer)?;
    if (1..=DEATHS_MAX).contains(&deaths) {
        return Ok(deaths);
    }
    Err(de::Error::custom(format!(
        "a message cannot be allowed {deaths} deaths; write a number from 1 to {DEATHS_MAX}"
    )))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let read = |text: &str| toml::from_str::<PoisonPolicy>(text).unwrap();
        assert_eq!(read(""), PoisonPolicy::default());
        let fails = PoisonPolicy { deaths: 5, then: Then::Fail, ..PoisonPolicy::default() };
        assert_eq!(read("deaths = 5\nthen = 'fail'"), fails);
    }

    #[test]
    fn no_death_at_all_and_too_many_are_refused() {
        for text in ["deaths = 0", "deaths = 1001", "suspected = 0", "then = 'bury'", "deths = 3"] {
            assert!(toml::from_str::<PoisonPolicy>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn more_deaths_never_make_a_message_harmless(
            deaths in 1..50_u32, suspected in 1..50_u32, certain in 0..60_u32, other in 0..60_u32,
        ) {
            let policy = PoisonPolicy { deaths, suspected, then: Then::DeadLetter };
            if policy.is_poison(certain, other) {
                prop_assert!(policy.is_poison(certain + 1, other) && policy.is_poison(certain, other + 1));
            }
            // And in the end every message that goes on killing is.
            prop_assert!(policy.is_poison(deaths, 0) && policy.is_poison(0, suspected));
        }
    }
}
