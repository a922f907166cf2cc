//! How much of its own talk a model hears again.
//!
//! The law: the order and the last turns are heard always. What is over the limit is cut down to a share
//! of it, the eldest first: long answers of tools are shortened, then whole turns go, a tool's answer
//! never without its call; and only when that is not enough, the answers in the last turns are shortened
//! too. So the history is within its limit whenever that is possible at all, and a history that was cut
//! grows for a while before it is cut again: its beginning stays the same from call to call, which is
//! what a provider's prompt cache wants.

use serde::{Deserialize, Serialize};

use crate::tokens::Tokens;

/// The last turns that are heard whole, where nothing is said.
const KEEP_LAST: u32 = 4;
/// The longest summary, where nothing is said.
const SUMMARY_MAX: Tokens = Tokens(400);
/// The least limit: a note of what was left out has to fit.
pub const TOKENS_MAX_LEAST: Tokens = Tokens(500);
/// What a cut leaves of the limit, in percent.
const LEFT_PERCENT: u64 = 60;

/// What is heard of a talk after its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryPolicy {
    /// The most of it, by the estimate of whoever cuts.
    pub tokens_max: Tokens,
    /// So many of the last turns never go.
    #[serde(default = "keep_last")]
    pub keep_last: u32,
    /// What stands for the turns that go.
    #[serde(default)]
    pub how: How,
    /// The agent that writes the summary; the one that talks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The longest summary.
    #[serde(default = "summary_max")]
    pub summary_max: Tokens,
}

/// What stands for the turns that go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A note that they are gone.
    #[default]
    Trim,
    /// A summary, which a model is asked for once.
    Summarise,
}

const fn keep_last() -> u32 {
    KEEP_LAST
}

const fn summary_max() -> Tokens {
    SUMMARY_MAX
}

/// How long a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// As it stands.
    pub whole: Tokens,
    /// With the long answers in it shortened; never more.
    pub short: Tokens,
}

/// What is cut of a history, counted from its eldest turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// So many turns go.
    pub dropped: usize,
    /// In so many, those that go among them, long answers are shortened.
    pub shortened: usize,
}

impl HistoryPolicy {
    /// One of so many tokens, cut without a summary.
    #[must_use]
    pub const fn of(tokens_max: Tokens) -> Self {
        Self { tokens_max, keep_last: KEEP_LAST, how: How::Trim, by: None, summary_max: SUMMARY_MAX }
    }

    /// What is cut of these turns, the eldest first, beside which `fixed` tokens stand; none where all
    /// fits.
    #[must_use]
    pub fn cut(&self, fixed: Tokens, turns: &[Length]) -> Option<Cut> {
        let mut left = total(fixed, turns);
        if left <= self.tokens_max.0 {
            return None;
        }
        let target = self.target();
        let (old, last) = turns.split_at(self.old(turns));
        let mut cut = Cut::default();
        let spares = |turn: &Length| turn.whole.0.saturating_sub(turn.short.0);
        for turn in old {
            if left <= target {
                return Some(cut);
            }
            left = left.saturating_sub(spares(turn));
            cut.shortened += 1;
        }
        for turn in old {
            if left <= target {
                return Some(cut);
            }
            left = left.saturating_sub(turn.short.0);
            cut.dropped += 1;
        }
        for turn in last {
            if left <= self.tokens_max.0 {
                break;
            }
            left = left.saturating_sub(spares(turn));
            cut.shortened += 1;
        }
        Some(cut)
    }

    /// How many turns, the eldest first, a summary is to stand for; none where all fits, or nothing may
    /// go.
    #[must_use]
    pub fn condensed(&self, fixed: Tokens, turns: &[Length]) -> Option<usize> {
        if self.how == How::Trim || total(fixed, turns) <= self.tokens_max.0 {
            return None;
        }
        let old = self.old(turns);
        let fits = |gone: &usize| total(self.summary_max, &turns[*gone..]) <= self.target();
        (1..=old).find(fits).or((old > 0).then_some(old))
    }

    /// How many turns may go.
    fn old(&self, turns: &[Length]) -> usize {
        turns.len().saturating_sub(usize::try_from(self.keep_last.max(1)).unwrap_or(usize::MAX))
    }

    /// What a cut aims at.
    fn target(&self) -> u64 {
        self.tokens_max.0.saturating_mul(LEFT_PERCENT) / 100
    }
}

fn total(fixed: Tokens, turns: &[Length]) -> u64 {
    turns.iter().fold(fixed.0, |sum, turn| sum.saturating_add(turn.whole.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn length(whole: u64, short: u64) -> Length {
        Length { whole: Tokens(whole), short: Tokens(short) }
    }

    /// What a cut leaves.
    fn apply(cut: Cut, turns: &[Length]) -> Vec<Length> {
        let shorten = |(at, turn): (usize, &Length)| {
            if at < cut.shortened { length(turn.short.0, turn.short.0) } else { *turn }
        };
        turns.iter().enumerate().map(shorten).skip(cut.dropped).collect()
    }

    #[test]
    fn answers_are_shortened_before_turns_go_and_the_eldest_first() {
        let policy = HistoryPolicy { keep_last: 2, ..HistoryPolicy::of(Tokens(1000)) };
        let long = [length(300, 100); 4];
        assert_eq!(policy.cut(Tokens(0), &long[..3]), None);
        // 1200 is over; 600 is aimed at, and two old turns can be shortened.
        let cut = policy.cut(Tokens(0), &long).unwrap();
        assert_eq!(cut, Cut { dropped: 2, shortened: 2 });
        let cut = policy.cut(Tokens(0), &[length(600, 100), length(300, 100), length(100, 100), length(100, 100)]);
        assert_eq!(cut, Some(Cut { dropped: 0, shortened: 1 }));
    }

    #[test]
    fn a_talk_that_goes_on_and_on_is_cut_in_steps() {
        let policy = HistoryPolicy::of(Tokens(1000));
        let (mut turns, mut cuts) = (Vec::new(), 0);
        for _ in 0..100 {
            turns.push(length(50, 50));
            if let Some(cut) = policy.cut(Tokens(0), &turns) {
                turns = apply(cut, &turns);
                cuts += 1;
            }
        }
        assert_eq!(cuts, 9, "a cut leaves room for eight turns");
    }

    #[test]
    fn a_summary_stands_for_no_more_than_it_has_to() {
        let policy = HistoryPolicy { how: How::Summarise, keep_last: 1, ..HistoryPolicy::of(Tokens(1000)) };
        let turns = [length(200, 200); 6];
        assert_eq!(policy.condensed(Tokens(0), &turns[..5]), None);
        assert_eq!(policy.condensed(Tokens(0), &turns), Some(5), "400 of the 600 are for the summary");
        assert_eq!(policy.condensed(Tokens(0), &[length(2000, 10)]), None, "the last turn never goes");
        assert_eq!(HistoryPolicy::of(Tokens(1000)).condensed(Tokens(0), &turns), None);
    }

    fn turns() -> impl Strategy<Value = Vec<Length>> {
        let one = (0_u64..400, 0_u64..400).prop_map(|(short, more)| length(short + more, short));
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_whenever_that_is_possible(turns in turns(), max in 500_u64..4000, keep in 1_u32..8) {
            let policy = HistoryPolicy { keep_last: keep, ..HistoryPolicy::of(Tokens(max)) };
            let fixed = Tokens(60);
            let Some(cut) = policy.cut(fixed, &turns) else {
                prop_assert!(total(fixed, &turns) <= max);
                return Ok(());
            };
            let left = apply(cut, &turns);
            prop_assert!(left.len() >= turns.len().min(keep as usize), "the last turns stay");
            let last = &turns[turns.len() - turns.len().min(keep as usize)..];
            let least = last.iter().map(|turn| turn.short.0).sum::<u64>() + fixed.0;
            prop_assert!(total(fixed, &left) <= max.max(least));
            // A second look finds nothing more to cut.
            let again = policy.cut(fixed, &left).map_or_else(|| left.clone(), |cut| apply(cut, &left));
            prop_assert_eq!(again, left);
        }

        #[test]
        fn a_summary_leaves_the_last_turns(turns in turns(), max in 500_u64..4000, keep in 1_u32..8) {
            let policy = HistoryPolicy { keep_last: keep, how: How::Summarise, ..HistoryPolicy::of(Tokens(max)) };
            if let Some(gone) = policy.condensed(Tokens(60), &turns) {
                prop_assert!(gone > 0 && turns.len() - gone >= keep as usize);
            }
        }
    }
}
