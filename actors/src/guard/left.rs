//! What the other side has said is left of its limits. Invariant: a word counts until the moment at which the other
//! side says that all is there again, and no longer than [`HOLD_MAX`]; a newer word stands for the older one.

use std::time::Duration;

use policies::retry::HOLD_MAX;
use policies::tokens::Tokens;

/// What a call takes of the other side's limits at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Tokens sent.
    pub input: Tokens,
    /// Tokens received.
    pub output: Tokens,
}

/// What is left of one limit, and how long until all of it is there again.
pub type Rest = Option<(Tokens, Duration)>;

/// What is left of the other side's limits; nothing where it has not said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Of tokens of both kinds.
    pub tokens: Rest,
    /// Of tokens sent.
    pub input: Rest,
    /// Of tokens received.
    pub output: Rest,
}

/// The other side's latest word.
#[derive(Clone, Copy, Default)]
pub(super) struct Word {
    left: Left,
    told_at: Duration,
}

impl Word {
    pub(super) fn hear(&mut self, left: Left, now: Duration) {
        *self = Self { left, told_at: now };
    }

    /// Whether it says anything that holds yet.
    pub(super) fn holds(&self, now: Duration) -> bool {
        let Left { tokens, input, output } = self.left;
        let age = now.saturating_sub(self.told_at);
        [tokens, input, output].iter().flatten().any(|(_, resets_in)| (*resets_in).min(HOLD_MAX) > age)
    }

    /// How long there is less left than a call needs.
    pub(super) fn short_for(&self, need: Need, now: Duration) -> Option<Duration> {
        let age = now.saturating_sub(self.told_at);
        let Left { tokens, input, output } = self.left;
        let limits = [(tokens, need.input + need.output), (input, need.input), (output, need.output)];
        let short = limits.into_iter().filter_map(|(rest, need)| {
            let (left, resets_in) = rest?;
            (left < need).then(|| resets_in.min(HOLD_MAX).saturating_sub(age)).filter(|wait| !wait.is_zero())
        });
        short.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_that_needs_more_than_is_left_waits_until_all_is_there_again() {
        let mut word = Word::default();
        let need = |input, output| Need { input: Tokens(input), output: Tokens(output) };
        assert_eq!(word.short_for(need(1, 1), SECOND), None, "nothing was told");
        let rest = |left, seconds: u32| Some((Tokens(left), SECOND * seconds));
        word.hear(Left { tokens: rest(200, 30), input: rest(150, 60), output: None }, SECOND * 10);
        assert_eq!(word.short_for(need(100, 100), SECOND * 10), None);
        assert_eq!(word.short_for(need(100, 101), SECOND * 15), Some(SECOND * 25));
        assert_eq!(word.short_for(need(151, 100), SECOND * 15), Some(SECOND * 55), "the longest of them");
        assert_eq!(word.short_for(need(5_000, 5_000), SECOND * 70), None, "a call that never fits is made then");
        assert!(word.holds(SECOND * 69) && !word.holds(SECOND * 70));
        word.hear(Left { output: rest(10, 86_400), ..Left::default() }, SECOND);
        assert_eq!(word.short_for(need(0, 11), SECOND), Some(HOLD_MAX));
    }
}
