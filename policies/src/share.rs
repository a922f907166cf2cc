//! A share of a whole, as people write it: "50%".

use std::{fmt, str::FromStr};

use crate::{money::Money, text::serde_as_text};

/// A share, from 1 to 100 per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u8);

impl Share {
    /// So many per cent; none for 0 and for more than the whole.
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// Half of it.
    pub const HALF: Self = Self(50);

    /// All of it.
    pub const WHOLE: Self = Self(100);

    /// The highest that a part of an amount has come to; none below one per cent.
    pub fn reached(part: Money, whole: Money) -> Option<Self> {
        let percent = (u128::from(part.nanos()) * 100).checked_div(u128::from(whole.nanos()))?;
        Self::percent(u8::try_from(percent.min(100)).unwrap_or(100))
    }

    /// So much of an amount, rounded up.
    pub fn of(self, whole: Money) -> Money {
        Money::from_ratio(u128::from(whole.nanos()) * u128::from(self.0), 100)
    }

    /// Whether `part` is at least this share of `whole`; of nothing, nothing is.
    pub const fn is_reached(self, part: u32, whole: u32) -> bool {
        whole > 0 && part as u64 * 100 >= whole as u64 * self.0 as u64
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Text that is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a share; write a whole number from 1 to 100 and a per cent sign such as \"50%\"")]
pub struct NotShare(String);

impl FromStr for Share {
    type Err = NotShare;

    fn from_str(text: &str) -> Result<Self, NotShare> {
        let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        let share = digits.and_then(|digits| digits.parse().ok()).and_then(Self::percent);
        share.ok_or_else(|| NotShare(text.to_owned()))
    }
}

serde_as_text!(Share, "a share such as \"50%\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for percent in 1..=100 {
            let share = Share::percent(percent).unwrap();
            assert_eq!(share.to_string().parse(), Ok(share));
        }
        for text in ["", "%", "50", "0%", "101%", "-1%", "+5%", "5.5%", "50 %"] {
            assert!(text.parse::<Share>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_share_is_reached_at_its_number_and_never_of_nothing() {
        assert!(Share::HALF.is_reached(5, 10) && !Share::HALF.is_reached(4, 9) && !Share::HALF.is_reached(0, 0));
        assert!(Share::WHOLE.is_reached(u32::MAX, u32::MAX));
    }

    #[test]
    fn a_share_of_money_rounds_up() {
        assert_eq!(Share::HALF.of(Money::from_nanos(3)), Money::from_nanos(2));
        assert_eq!(Share::WHOLE.of(Money::MAX), Money::MAX);
    }

    #[test]
    fn what_a_part_has_come_to_is_the_highest_share_that_it_covers() {
        for whole in [1, 3, 99, 100, 101, 1_000, u64::MAX] {
            for part in [0, 1, 2, 50, 99, 1_000, whole / 2, whole] {
                let (part, whole) = (Money::from_nanos(part), Money::from_nanos(whole));
                let covered = (1..=100).filter_map(Share::percent).filter(|share| part >= share.of(whole));
                assert_eq!(Share::reached(part, whole), covered.max(), "{part:?} of {whole:?}");
            }
        }
        assert_eq!(Share::reached(Money::MAX, Money::ZERO), None);
    }
}
