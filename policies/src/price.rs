//! What model calls cost.
//!
//! The law: a call that stays within the bounds it was reserved for never costs
//! more than its worst case, by the table. A model without a price has no cost of
//! zero; it has no cost, and a budget refuses it. What the provider itself says a
//! call costs counts over the table.

mod fee;
mod keeping;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    document,
    money::{self, Money, PricePerMillion},
    share::Share,
    span::Span,
    tokens::{Tokens, Usage},
};

pub use fee::{Fee, NotFee};
pub use keeping::{Keep, Reuse};

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
    /// Per million input tokens written to the cache for five minutes; where it
    /// is not written, the price of input.
    pub cache_write: PricePerMillion,
    /// Per million input tokens written to the cache for one hour; where it is
    /// not written, twice the price of input.
    pub cache_write_1h: PricePerMillion,
    /// The shortest beginning of a request that the provider keeps, where it is marked.
    pub cache_prefix_min: Tokens,
    /// What tokens cost by batch, as a share of these prices, where the provider takes batches.
    pub batch: Option<Share>,
    /// For each request, tokens aside.
    pub request: Fee,
    /// For each web search.
    pub search: Money,
    /// Of a request to a provider that thinks beside the output that it was allowed: the most that it thinks.
    pub reasoning_max: Option<Tokens>,
    /// Of a request to a provider that searches without being asked to: the most searches.
    pub searches_max: Option<u64>,
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
    /// Per million input tokens written to the cache for five minutes; where it
    /// is not written, the price of input.
    pub cache_write: PricePerMillion,
    /// Per million input tokens written to the cache for one hour; where it is
    /// not written, twice the price of input.
    pub cache_write_1h: PricePerMillion,
}

/// The most that one call may use: what its worst case is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// All input tokens, cached or not.
    pub input: Tokens,
    /// Output tokens, reasoning included.
    pub output: Tokens,
    /// Processor time.
    pub cpu: Span,
    /// Web searches.
    pub searches: u64,
    /// Requests beyond the first.
    pub repeats: u64,
    /// Requests in which the provider may think and search beside what it is asked, as far as the table says.
    pub unasked: u64,
    /// Whether it may write to the one-hour cache: only a call that asks for it does.
    pub hour_cache: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    input: PricePerMillion,
    output: PricePerMillion,
    cache_read: Option<PricePerMillion>,
    cache_write: Option<PricePerMillion>,
    cache_write_1h: Option<PricePerMillion>,
    #[serde(default = "prefix_min")]
    cache_prefix_min: Tokens,
    batch: Option<Share>,
    #[serde(default)]
    request: Fee,
    #[serde(default)]
    search: Money,
    reasoning_max: Option<Tokens>,
    searches_max: Option<u64>,
    #[serde(default)]
    cpu_second: Money,
    #[serde(default)]
    tiers: Vec<Tier>,
}

const fn prefix_min() -> Tokens {
    keeping::PREFIX_MIN
}

impl From<Written> for ModelPrice {
    fn from(written: Written) -> Self {
        Self {
            input: written.input,
            output: written.output,
            cache_read: written.cache_read.unwrap_or(written.input),
            cache_write: written.cache_write.unwrap_or(written.input),
            cache_write_1h: written.cache_write_1h.unwrap_or_else(|| written.input.twice()),
            cache_prefix_min: written.cache_prefix_min,
            batch: written.batch,
            request: written.request,
            search: written.search,
            reasoning_max: written.reasoning_max,
            searches_max: written.searches_max,
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
    cache_write_1h: Option<PricePerMillion>,
}

impl From<WrittenTier> for Tier {
    fn from(written: WrittenTier) -> Self {
        Self {
            over: written.over,
            input: written.input,
            output: written.output,
            cache_read: written.cache_read.unwrap_or(written.input),
            cache_write: written.cache_write.unwrap_or(written.input),
            cache_write_1h: written.cache_write_1h.unwrap_or_else(|| written.input.twice()),
        }
    }
}

impl Tier {
    /// The same at a share of its prices, each rounded up.
    fn at(&self, share: Share) -> Self {
        Self {
            over: self.over,
            input: self.input.at(share),
            output: self.output.at(share),
            cache_read: self.cache_read.at(share),
            cache_write: self.cache_write.at(share),
            cache_write_1h: self.cache_write_1h.at(share),
        }
    }

    /// The most that an input token may cost.
    fn dearest_input(&self, hour_cache: bool) -> PricePerMillion {
        let dearest = self.input.max(self.cache_read).max(self.cache_write);
        if hour_cache { dearest.max(self.cache_write_1h) } else { dearest }
    }
}

impl ModelPrice {
    /// The prices without a tier, as a tier of their own.
    fn base(&self) -> Tier {
        let &Self { input, output, cache_read, cache_write, cache_write_1h, .. } = self;
        Tier { over: Tokens(0), input, output, cache_read, cache_write, cache_write_1h }
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

    /// What so many requests cost at the most beside what is in them.
    fn fees(&self, repeats: u64) -> Money {
        Money::from_nanos(self.request.most().nanos().saturating_mul(repeats.saturating_add(1)))
    }

    fn searches(&self, count: u64) -> Money {
        Money::from_nanos(self.search.nanos().saturating_mul(count))
    }

    /// The prices by batch; none where the table has none.
    pub fn by_batch(&self) -> Option<Self> {
        let share = self.batch?;
        let base = self.base().at(share);
        Some(Self {
            input: base.input,
            output: base.output,
            cache_read: base.cache_read,
            cache_write: base.cache_write,
            cache_write_1h: base.cache_write_1h,
            batch: None,
            tiers: self.tiers.iter().map(|tier| tier.at(share)).collect(),
            ..self.clone()
        })
    }

    /// The most that a request may cost that stays within these bounds: every
    /// token at the dearest rate that may apply to it.
    pub fn worst_case(&self, bounds: &Bounds) -> Money {
        let Bounds { input, output, cpu, searches, repeats, unasked, hour_cache } = *bounds;
        let output = output + Tokens(self.reasoning_max.unwrap_or_default().0.saturating_mul(unasked));
        let searches = searches.saturating_add(self.searches_max.unwrap_or_default().saturating_mul(unasked));
        let dearest_input = self.rates(input).map(|rate| rate.dearest_input(hour_cache)).max();
        let dearest_output = self.rates(input).map(|rate| rate.output).max();
        let tokens = [(dearest_input, input), (dearest_output, output)];
        let tokens = money::cost(tokens.map(|(rate, count)| (rate.unwrap_or_default(), count)));
        [tokens, self.cpu(cpu), self.fees(repeats), self.searches(searches)].into_iter().sum()
    }

    /// The bound that the table lacks of a model whose provider thinks and searches unasked: what costs something
    /// and may be any number.
    #[must_use]
    pub fn lacks_bound(&self) -> Option<&'static str> {
        let thinking_costs = self.rates(Tokens(u64::MAX)).any(|rate| rate.output != PricePerMillion::default());
        if thinking_costs && self.reasoning_max.is_none() {
            return Some("reasoning_max");
        }
        (self.search != Money::ZERO && self.searches_max.is_none()).then_some("searches_max")
    }

    /// What a request cost that used so much: what the provider says, or else
    /// what the table makes of it.
    pub fn actual(&self, usage: &Usage) -> Money {
        if let Some(told) = usage.cost_told {
            return told;
        }
        let rate = self.rate(usage.input_total());
        let tokens = money::cost([
            (rate.input, usage.input),
            (rate.cache_read, usage.cache_read),
            (rate.cache_write, usage.cache_write),
            (rate.cache_write_1h, usage.cache_write_1h),
            (rate.output, usage.output),
        ]);
        [tokens, self.cpu(usage.cpu), self.fees(usage.repeats), self.searches(usage.searches)].into_iter().sum()
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

/// A model whose calls no budget can cover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPrice {
    /// Nobody wrote its price down.
    #[error(
        "no price is known for the model `{model}` (price table {version}), so no budget can cover it; \
         add [models.\"{model}\"] to the price table"
    )]
    Unknown {
        /// The model.
        model: String,
        /// The version of the table it is not in.
        version: u32,
    },
    /// Nobody wrote down how much it may do unasked.
    #[error(
        "the model `{model}` may think and search beside what it is asked, and the price table {version} has no \
         `{bound}` for it, so no budget can cover it; add `{bound}` to [models.\"{model}\"] in the price table"
    )]
    Unbounded {
        /// The model.
        model: String,
        /// What the table lacks.
        bound: &'static str,
        /// The table's version.
        version: u32,
    },
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
        self.models.get(model).ok_or_else(|| NoPrice::Unknown { model: model.to_owned(), version: self.version })
    }

    /// The prices of a model, if they bound what a call within these bounds may cost.
    ///
    /// # Errors
    /// [`NoPrice`] if the table does not have it, or not how much it may do unasked.
    pub fn covering(&self, model: &str, bounds: &Bounds) -> Result<&ModelPrice, NoPrice> {
        let price = self.price(model)?;
        match price.lacks_bound().filter(|_| bounds.unasked > 0) {
            None => Ok(price),
            Some(bound) => Err(NoPrice::Unbounded { model: model.to_owned(), bound, version: self.version }),
        }
    }

    /// The most that one request may cost; see [`ModelPrice::worst_case`].
    ///
    /// # Errors
    /// As [`PriceTable::covering`].
    pub fn worst_case(&self, model: &str, bounds: &Bounds) -> Result<Money, NoPrice> {
        self.covering(model, bounds).map(|price| price.worst_case(bounds))
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
