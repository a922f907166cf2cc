//! How good something is, from 0 to 1. Invariant: it is a whole number of thousandths, so that it is
//! compared and written alike everywhere.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Thousandths of the best.
const WHOLE: u16 = 1000;

/// How good something is, from 0, the worst, to 1, the best; in files a number such as `0.7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rating(u16);

impl Rating {
    /// The worst.
    pub const WORST: Self = Self(0);
    /// Neither good nor bad.
    pub const HALF: Self = Self(WHOLE / 2);
    /// The best.
    pub const BEST: Self = Self(WHOLE);

    /// The nearest to a number; none for one that is not from 0 to 1.
    pub fn of(number: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and 1000")]
        (0.0..=1.0).contains(&number).then(|| Self((number * f64::from(WHOLE)).round() as u16))
    }

    /// As a number.
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// `part` of `whole`, rounded down; the best where it is all or more.
    pub(super) fn ratio(part: u128, whole: u128) -> Self {
        if part >= whole {
            return Self::BEST;
        }
        let thousandths = part.saturating_mul(u128::from(WHOLE)) / whole;
        Self(u16::try_from(thousandths).map_or(WHOLE, |thousandths| thousandths.min(WHOLE)))
    }

    /// The mean, rounded down; none of nothing.
    pub(super) fn mean(of: impl IntoIterator<Item = Self>) -> Option<Self> {
        Self::weighted(of.into_iter().map(|rating| (rating, 1)))
    }

    /// The mean by weights, rounded down; none where all weigh nothing.
    pub(super) fn weighted(of: impl IntoIterator<Item = (Self, u32)>) -> Option<Self> {
        let add = |(sum, all): (u64, u64), (Self(rating), weight): (Self, u32)| {
            (sum + u64::from(rating) * u64::from(weight), all + u64::from(weight))
        };
        let (sum, all) = of.into_iter().fold((0, 0), add);
        sum.checked_div(all).map(|mean| Self(u16::try_from(mean).map_or(WHOLE, |mean| mean.min(WHOLE))))
    }
}

impl fmt::Display for Rating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

impl Serialize for Rating {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

impl<'de> Deserialize<'de> for Rating {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = Rating;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 0 to 1, such as 0.7")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Rating, E> {
        Rating::of(number).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Rating, E> {
        u64::try_from(number)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            .and_then(|n| self.visit_u64(n))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Rating, E> {
        match number {
            0 => Ok(Rating::WORST),
            1 => Ok(Rating::BEST),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}
