//! What model calls cost.
//!
//! The law: a call that stays within the counts it was reserved for never costs
//! more than its worst case. A model without a price has no cost of zero; it
//! has no cost, and a budget refuses it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    document,
    money::{self, Money, PricePerMillion},
    span::Span,
    tokens::{Tokens, Usage},
};

/// The text of the prices compiled in, `defaults/prices.toml`.
pub const BUILTIN: &str = include_str!("../defaults/prices.toml");

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The prices of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct ModelPrice {
    /// Per million input tokens that no cache was used for.
    pub input: PricePerMillion,
    /// Per million output tokens, reasoning included.
    pub output: PricePerMillion,
    /// Per million input tokens read from the cache; where it is not written,
    /// the price of input.
    pub cache_read: PricePerMillion,
    /// Per million input tokens written to the cache; where it is not written,
    /// the price of input.
    pub cache_write: PricePerMillion,
    /// For each request, tokens aside.
    pub request: Money,
    /// For each second of processor time, for local models.
    pub cpu_second: Money,
    /// Prices of long inputs.
    pub tiers: Vec<Tier>,
}

/// The prices of a request whose whole input, cached or not, is over a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenTier")]
pub struct Tier {
    /// It applies to an input of more tokens than this.
    pub over: Tokens,
    /// Per million input tokens that no cache was used for.
    pub input: PricePerMillion,
    /// Per million output tokens.
    pub output: PricePerMillion,
    /// Per million input tokens read from the cache; where it is not written,
    /// the price of input.
    pub cache_read: PricePerMillion,
    /// Per million input tokens written to the cache; where it is not written,
    /// the price of input.
    pub cache_write: PricePerMillion,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    input: PricePerMillion,
    output: PricePerMillion,
    cache_read: Option<PricePerMillion>,
    cache_write: Option<PricePerMillion>,
    #[serde(default)]
    request: Money,
    #[serde(default)]
    cpu_second: Money,
    #[serde(default)]
    tiers: Vec<Tier>,
}

impl From<Written> for ModelPrice {
    fn from(written: Written) -> Self {
        Self {
            input: written.input,
            output: written.output,
            cache_read: written.cache_read.unwrap_or(written.input),
            cache_write: written.cache_write.unwrap_or(written.input),
            request: written.request,
            cpu_second: written.cpu_second,
            tiers: written.tiers,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTier {
    over: Tokens,
    input: PricePerMillion,
    output: PricePerMillion,
    cache_read: Option<PricePerMillion>,
    cache_write: Option<PricePerMillion>,
}

impl From<WrittenTier> for Tier {
    fn from(written: WrittenTier) -> Self {
        Self {
            over: written.over,
            input: written.input,
            output: written.output,
            cache_read: written.cache_read.unwrap_or(written.input),
            cache_write: written.cache_write.unwrap_or(written.input),
        }
    }
}

impl ModelPrice {
    /// The prices without a tier, as a tier of their own.
    fn base(&self) -> Tier {
        let &Self { input, output, cache_read, cache_write, .. } = self;
        Tier { over: Tokens(0), input, output, cache_read, cache_write }
    }

    /// All prices that may apply to an input of at most so many tokens.
    fn rates(&self, input: Tokens) -> impl Iterator<Item = Tier> {
        let tiers = self.tiers.iter().copied().filter(move |tier| input > tier.over);
        std::iter::once(self.base()).chain(tiers)
    }

    /// The prices that do apply to an input of so many tokens: those of the
    /// highest tier it is over.
    fn rate(&self, input: Tokens) -> Tier {
        self.rates(input).max_by_key(|tier| tier.over).unwrap_or_else(|| self.base())
    }

    fn cpu(&self, cpu: Span) -> Money {
        let nanos = u128::from(self.cpu_second.nanos()).saturating_mul(cpu.0.as_nanos());
        Money::from_ratio(nanos, NANOS_PER_SECOND)
    }

    /// The most that a request may cost whose input and output are at most so
    /// long: every token at the dearest rate that may apply to it.
    pub fn worst_case(&self, input: Tokens, output_max: Tokens, cpu_max: Span) -> Money {
        let dearest_input = self.rates(input).map(|rate| rate.input.max(rate.cache_read).max(rate.cache_write)).max();
        let dearest_output = self.rates(input).map(|rate| rate.output).max();
        let tokens = [(dearest_input, input), (dearest_output, output_max)];
        let tokens = money::cost(tokens.map(|(rate, count)| (rate.unwrap_or_default(), count)));
        [tokens, self.cpu(cpu_max), self.request].into_iter().sum()
    }

    /// What a request cost that used so much.
    pub fn actual(&self, usage: &Usage) -> Money {
        let rate = self.rate(usage.input_total());
        let tokens = money::cost([
            (rate.input, usage.input),
            (rate.cache_read, usage.cache_read),
            (rate.cache_write, usage.cache_write),
            (rate.output, usage.output),
        ]);
        [tokens, self.cpu(usage.cpu), self.request].into_iter().sum()
    }
}

/// The prices of all models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// Counts up with every change.
    pub version: u32,
    /// Where the prices are from.
    pub source: String,
    /// The day they are of, such as "2026-11-22".
    pub date: String,
    /// Prices by the name that the provider gives the model.
    #[serde(default)]
    pub models: BTreeMap<String, ModelPrice>,
}

/// A model whose price nobody wrote down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no price is known for the model `{model}` (price table {version}), so no budget can cover it; \
     add [models.\"{model}\"] to the price table"
)]
pub struct NoPrice {
    /// The model.
    pub model: String,
    /// The version of the table it is not in.
    pub version: u32,
}

impl PriceTable {
    /// The prices compiled in, `defaults/prices.toml`.
    ///
    /// # Errors
    /// None once this crate's tests pass: the file is part of the build.
    pub fn builtin() -> Result<Self, Vec<document::Error>> {
        document::read("policies/defaults/prices.toml", BUILTIN)
    }

    /// The prices of a model.
    ///
    /// # Errors
    /// [`NoPrice`] if the table does not have it under exactly this name.
    pub fn price(&self, model: &str) -> Result<&ModelPrice, NoPrice> {
        self.models.get(model).ok_or_else(|| NoPrice { model: model.to_owned(), version: self.version })
    }

    /// The most that one request may cost; see [`ModelPrice::worst_case`].
    ///
    /// # Errors
    /// [`NoPrice`] if the table does not have the model.
    pub fn worst_case(&self, model: &str, input: Tokens, output_max: Tokens, cpu_max: Span) -> Result<Money, NoPrice> {
        self.price(model).map(|price| price.worst_case(input, output_max, cpu_max))
    }

    /// What one request cost. Tiers are decided request by request, so usages
    /// must be priced before they are added up.
    ///
    /// # Errors
    /// [`NoPrice`] if the table does not have the model.
    pub fn actual(&self, model: &str, usage: &Usage) -> Result<Money, NoPrice> {
        self.price(model).map(|price| price.actual(usage))
    }
}

#[cfg(test)]
mod tests;
