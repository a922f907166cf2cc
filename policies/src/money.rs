//! Money, in whole nano-dollars.
//!
//! No fraction is ever lost in our favour: prices round up, sums are exact,
//! and overflow is either refused (`checked_*`) or stops at the end.

mod or_table;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::share::Share;
use crate::tokens::Tokens;

pub(crate) use or_table::MoneyOr;

const NANOS_PER_DOLLAR: u64 = 1_000_000_000;
const TOKENS_PER_MILLION: u128 = 1_000_000;

/// An amount of US dollars, in whole nano-dollars, never negative.
///
/// Written "$2.00" by people and as an integer of nano-dollars in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that can be written down, about 18 billion dollars.
    pub const MAX: Self = Self(u64::MAX);

    /// So many nano-dollars.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// In nano-dollars.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whether this is no money at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` past [`Money::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, at most [`Money::MAX`].
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `parts / whole` nano-dollars rounded up, at most [`Money::MAX`].
    pub(crate) fn from_ratio(parts: u128, whole: u128) -> Self {
        Self(u64::try_from(parts.div_ceil(whole)).unwrap_or(u64::MAX))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// "$0.0123": as many decimals as needed, and never fewer than two.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:09}", self.0 % NANOS_PER_DOLLAR);
        let (cents, rest) = decimals.split_at(2);
        let text = format!("${}.{cents}{}", self.0 / NANOS_PER_DOLLAR, rest.trim_end_matches('0'));
        f.pad(&text)
    }
}

/// Text that is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of money; write dollars such as \"$2.00\", with at most 9 decimals")]
pub struct NotMoney(String);

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        parse(text).ok_or_else(|| NotMoney(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Money> {
    let amount = text.strip_prefix('$')?;
    let (dollars, decimals) = amount.split_once('.').unwrap_or((amount, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(dollars) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let nanos: u64 = format!("{decimals:0<9}").parse().ok()?;
    let dollars: u64 = dollars.parse().ok()?;
    dollars.checked_mul(NANOS_PER_DOLLAR)?.checked_add(nanos).map(Money)
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl de::Visitor<'_> for Amount {
            type Value = Money;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("money such as \"$2.00\", or whole nano-dollars")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Money, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<Money, E> {
                Ok(Money(nanos))
            }
            fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<Money, E> {
                let refused = |_| E::invalid_value(de::Unexpected::Signed(nanos), &self);
                u64::try_from(nanos).map(Money).map_err(refused)
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

/// A price per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PricePerMillion(Money);

impl PricePerMillion {
    /// So much for a million tokens.
    pub const fn new(price: Money) -> Self {
        Self(price)
    }

    /// Twice the price.
    #[must_use]
    pub const fn twice(self) -> Self {
        Self(self.0.saturating_add(self.0))
    }

    /// A share of the price, rounded up.
    pub(crate) fn at(self, share: Share) -> Self {
        Self(share.of(self.0))
    }

    /// In nano-dollars for a million tokens.
    pub(crate) const fn nanos(self) -> u64 {
        self.0.0
    }

    /// What so many tokens cost, rounded up to the nano-dollar.
    pub fn cost(self, tokens: Tokens) -> Money {
        cost([(self, tokens)])
    }
}

/// What several counts cost at their prices, rounded up once for all of them,
/// so that splitting a count at one price never costs more than the whole.
pub(crate) fn cost(parts: impl IntoIterator<Item = (PricePerMillion, Tokens)>) -> Money {
    let millionths = parts
        .into_iter()
        .map(|(price, tokens)| u128::from(price.0.0) * u128::from(tokens.0))
        .fold(0, u128::saturating_add);
    Money::from_ratio(millionths, TOKENS_PER_MILLION)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, nanos: u64, printed: &str) {
        let money: Money = text.parse().unwrap();
        assert_eq!((money.nanos(), money.to_string().as_str()), (nanos, printed));
    }

    #[test]
    fn prints_the_decimals_it_needs_and_at_least_two() {
        check("$2", 2_000_000_000, "$2.00");
        check("$2.5", 2_500_000_000, "$2.50");
        check("$0.0123", 12_300_000, "$0.0123");
        check("$0.000001", 1_000, "$0.000001");
        check("$18446744073.709551615", u64::MAX, "$18446744073.709551615");
    }

    #[test]
    fn refuses_what_is_not_money() {
        for text in ["", "$", "2.00", "$-1", "$+1", "$1.", "$.5", "$1.0000000001", "$1e3", "$ 1", "$18446744073.71"] {
            assert!(text.parse::<Money>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn json_holds_nanos_and_takes_dollars() {
        let read = |json: &str| serde_json::from_str::<Money>(json);
        assert_eq!(serde_json::to_string(&Money(7)).unwrap(), "7");
        assert_eq!(read("7").unwrap(), Money(7));
        assert_eq!(read("\"$0.5\"").unwrap(), Money(500_000_000));
        assert!(read("-7").is_err());
        assert!(read("0.5").is_err());
    }

    #[test]
    fn a_price_rounds_up() {
        let cheap = PricePerMillion::new(Money(1));
        assert_eq!(cheap.cost(Tokens(0)), Money::ZERO);
        assert_eq!(cheap.cost(Tokens(1)), Money(1));
        assert_eq!(cheap.cost(Tokens(1_000_001)), Money(2));
        assert_eq!(PricePerMillion::new(Money::MAX).cost(Tokens(u64::MAX)), Money::MAX);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos: u64) {
            prop_assert_eq!(Money(nanos).to_string().parse(), Ok(Money(nanos)));
        }

        #[test]
        fn splitting_a_count_never_costs_more(price: u64, a: u32, b: u32) {
            let price = PricePerMillion::new(Money(price));
            let (a, b) = (Tokens(a.into()), Tokens(b.into()));
            prop_assert_eq!(cost([(price, a), (price, b)]), price.cost(a + b));
        }
    }
}
