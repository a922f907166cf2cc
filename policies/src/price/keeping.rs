//! Whether it pays to have a provider keep the beginning of a request.
//!
//! The law: what is kept costs its write once, beyond the price of plain input, and spares the difference
//! between input and read each time that it is sent again. It is kept where that comes to less for what is
//! expected, for the time that spares the most; a beginning that the provider would not keep is not marked.

use serde::{Deserialize, Serialize};

use super::ModelPrice;
use crate::money::PricePerMillion;
use crate::tokens::Tokens;

/// The shortest beginning that a provider keeps, where the table does not say.
pub(super) const PREFIX_MIN: Tokens = Tokens(1024);

/// How often the same beginning is expected to be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reuse {
    /// Before five minutes are over; each use has the provider keep it for as long again.
    pub within_5m: u32,
    /// Before an hour is over; never less than that.
    pub within_1h: u32,
}

/// How long a beginning is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
}

impl Reuse {
    /// So many more in either time.
    #[must_use]
    pub fn plus(self, more: u32) -> Self {
        let within_5m = self.within_5m.saturating_add(more);
        Self { within_5m, within_1h: self.within_1h.saturating_add(more).max(within_5m) }
    }
}

impl ModelPrice {
    /// For how long a beginning of so many tokens is to be kept; none where that would not pay.
    #[must_use]
    pub fn keep(&self, prefix: Tokens, expected: Reuse) -> Option<Keep> {
        if prefix < self.cache_prefix_min {
            return None;
        }
        let rate = self.rate(prefix);
        let spared = |write: PricePerMillion, reuses: u32| {
            let [input, read, write] = [rate.input, rate.cache_read, write].map(|price| i128::from(price.nanos()));
            i128::from(reuses) * (input - read) - (write - input)
        };
        let expected = expected.plus(0);
        let short = (spared(rate.cache_write, expected.within_5m), Keep::FiveMinutes);
        let long = (spared(rate.cache_write_1h, expected.within_1h), Keep::Hour);
        // The shorter one where both spare the same.
        let (most, keep) = if long.0 > short.0 { long } else { short };
        (most > 0).then_some(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PriceTable;
    use super::*;
    use crate::money::Money;
    use crate::tokens::Usage;

    fn price(model: &str) -> ModelPrice {
        PriceTable::builtin().unwrap().price(model).unwrap().clone()
    }

    fn keep(model: &str, prefix: u64, within_5m: u32, within_1h: u32) -> Option<Keep> {
        price(model).keep(Tokens(prefix), Reuse { within_5m, within_1h })
    }

    #[test]
    fn what_is_sent_again_is_kept_for_as_long_as_pays_best() {
        let sonnet = "claude-sonnet-5-5";
        assert_eq!(keep(sonnet, 3000, 0, 0), None, "a write costs more than plain input");
        assert_eq!(keep(sonnet, 3000, 1, 0), Some(Keep::FiveMinutes));
        assert_eq!(keep(sonnet, 3000, 0, 1), None, "an hour's write costs twice the input, and one read spares less");
        assert_eq!(keep(sonnet, 3000, 0, 2), Some(Keep::Hour));
        assert_eq!(keep(sonnet, 3000, 3, 3), Some(Keep::FiveMinutes), "the longer time has to be worth its price");
        assert_eq!(keep(sonnet, 3000, 1, 9), Some(Keep::Hour));
    }

    #[test]
    fn what_is_too_short_or_spares_nothing_is_not_kept() {
        assert_eq!(keep("claude-sonnet-5-5", 1023, 9, 9), None);
        assert_eq!(keep("claude-haiku-4-5", 4095, 9, 9), None, "its least is higher");
        assert_eq!(keep("claude-haiku-4-5", 4096, 9, 0), Some(Keep::FiveMinutes));
        assert_eq!(keep("sonar-pro", 9000, 9, 9), None, "its reads cost as much as its input");
    }

    /// The example of docs/thrift.md: an agent with 3,000 tokens of tools, instructions and order takes six
    /// turns, each of which says 150 tokens and hears 1,500 more.
    #[test]
    fn the_documented_talk_costs_what_the_page_says() {
        let price = price("claude-sonnet-5-5");
        let (mut plain, mut kept) = (Money::ZERO, Money::ZERO);
        for turn in 0..6_u64 {
            let (all, before) = (3000 + turn * 1650, turn.checked_sub(1).map_or(0, |turn| 3000 + turn * 1650));
            let usage = Usage { input: Tokens(all), output: Tokens(150), ..Usage::default() };
            plain = plain.saturating_add(price.actual(&usage));
            let goes_on = price.keep(Tokens(all), Reuse::default().plus(u32::from(turn < 5))).is_some();
            let (input, cache_write) = if goes_on { (0, all - before) } else { (all - before, 0) };
            let [input, cache_write, cache_read] = [input, cache_write, before].map(Tokens);
            kept = kept.saturating_add(price.actual(&Usage { input, cache_write, cache_read, ..usage }));
        }
        assert_eq!((plain.to_string().as_str(), kept.to_string().as_str()), ("$0.0945", "$0.03945"));
    }
}
