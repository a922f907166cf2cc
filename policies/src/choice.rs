//! Which model of a pool makes a call.
//!
//! Invariant: the order of a pool follows from its policy and from what is known of each model for this
//! very call, and from nothing else: who is out now is passed over later, and moves nobody else. Who cannot
//! make the call at all is behind all who can, with the reason. Equals keep the order of the list.

mod rating;
mod rule;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use rating::Rating;
pub use rule::{Choose, WEIGHT_MAX, Weights};

use crate::fallback::Outage;
use crate::money::Money;
use crate::span::Span;

/// The most models of one pool.
pub const POOL_MAX: usize = 8;
/// What is added to both prices before they are compared, so that the free and the nearly free are much the
/// same: a hundredth of a cent.
const PRICE_FLOOR: Money = Money::from_nanos(100_000);
/// The same for times.
const LATENCY_FLOOR_MICROS: u128 = 100_000;

/// The models of an agent, and how one is chosen for a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPolicy {
    /// The models by their names, of equals the first choice first.
    pub models: Vec<String>,
    /// By what one is chosen.
    #[serde(default)]
    pub choose: Choose,
    /// What evaluation has found to be worse is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality_min: Option<Rating>,
}

/// What is known of one model of a pool, for one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Why it cannot make this call, whoever else could; none where it can.
    pub bar: Option<Outage>,
    /// What the call costs at its worst.
    pub price: Option<Money>,
    /// How good the agent's work with it was, by the last evaluation.
    pub quality: Option<Rating>,
    /// How long its calls took lately.
    pub latency: Option<Span>,
}

/// A pool in the order in which it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// All of the pool by their places in its list, the first choice first, who is barred last.
    pub order: Vec<usize>,
    /// Why each, by its place in the list, cannot make this call.
    pub bars: Vec<Option<Outage>>,
    /// What each comes to, where several things are weighed.
    pub scores: Vec<Option<Rating>>,
    /// Whether the first is there because the talk goes on with it.
    pub keeps: bool,
}

/// Ranks a pool for one call; `facts` are those of its models, in the order of its list. A talk that was
/// held with the one at the place `kept` goes on with it, if it can make the call.
///
/// What is not known counts so that nobody waits for ever to be known: a quality as the mean of those
/// that are known, or as half where none is; a latency as the best, since one call makes it known.
///
/// Where several things are weighed, each is a part from 0 to 1 and the score is their mean by the weights:
/// quality as it is; price as `(least + $0.0001) / (price + $0.0001)` and latency as
/// `(least + 100 ms) / (latency + 100 ms)`, with the least of all that can make the call. Scores are
/// whole thousandths, rounded down; what differs by less is equal.
pub fn rank(policy: &PoolPolicy, facts: &[Facts], kept: Option<usize>) -> Ranking {
    let bars: Vec<Option<Outage>> = facts.iter().map(|facts| bar(policy, facts)).collect();
    let able = |place: &usize| bars.get(*place).is_some_and(Option::is_none);
    let mut order: Vec<usize> = (0..facts.len()).filter(able).collect();
    let known = Known::of(order.iter().filter_map(|place| facts.get(*place)));
    let scores: Vec<Option<Rating>> = facts.iter().map(|facts| known.score(&policy.choose, facts)).collect();
    let at = |place: usize| facts.get(place).zip(scores.get(place));
    // It is stable, so equals stay in the order of the list.
    order.sort_by(|one, other| match (at(*one), at(*other)) {
        (Some((one, scored)), Some((other, other_scored))) => match policy.choose {
            Choose::Chain => Ordering::Equal,
            Choose::Cheapest => known.price(one).cmp(&known.price(other)),
            Choose::Best => known.quality(other).cmp(&known.quality(one)),
            // Nothing is before something, so who was never asked is asked.
            Choose::Fastest => one.latency.cmp(&other.latency),
            Choose::Weights(_) => other_scored.cmp(scored),
        },
        _ => Ordering::Equal,
    });
    let keeps = kept.filter(able).and_then(|kept| order.iter().position(|place| *place == kept));
    if let Some(at) = keeps {
        order[..=at].rotate_right(1);
    }
    let barred = (0..facts.len()).filter(|place| !able(place));
    order.extend(barred);
    Ranking { order, scores, keeps: keeps.is_some(), bars }
}

/// Why a model is not used for a call: it cannot make it, or is known to be too bad for it.
fn bar(policy: &PoolPolicy, facts: &Facts) -> Option<Outage> {
    let too_bad = || match (facts.quality, policy.quality_min) {
        (Some(quality), Some(quality_min)) if quality < quality_min => Some(Outage::Worse { quality, quality_min }),
        _ => None,
    };
    facts.bar.clone().or_else(too_bad)
}

/// What is known of all that can make a call, by which each is measured.
struct Known {
    price_least: Money,
    latency_least: Span,
    quality_mean: Rating,
}

impl Known {
    fn of<'f>(able: impl Iterator<Item = &'f Facts> + Clone) -> Self {
        let qualities = able.clone().filter_map(|facts| facts.quality);
        Self {
            price_least: able.clone().filter_map(|facts| facts.price).min().unwrap_or(Money::ZERO),
            latency_least: able.filter_map(|facts| facts.latency).min().unwrap_or(Span::ZERO),
            quality_mean: Rating::mean(qualities).unwrap_or(Rating::HALF),
        }
    }

    /// What has no price is as dear as can be.
    fn price(&self, facts: &Facts) -> Money {
        facts.price.unwrap_or(Money::MAX)
    }

    fn quality(&self, facts: &Facts) -> Rating {
        facts.quality.unwrap_or(self.quality_mean)
    }

    fn score(&self, choose: &Choose, facts: &Facts) -> Option<Rating> {
        let Choose::Weights(Weights { price, quality, latency }) = choose else { return None };
        let floored = |money: Money| u128::from(money.nanos()) + u128::from(PRICE_FLOOR.nanos());
        let waited = |span: Span| span.duration().as_micros() + LATENCY_FLOOR_MICROS;
        let cheap = Rating::ratio(floored(self.price_least), floored(self.price(facts)));
        let fast = Rating::ratio(waited(self.latency_least), waited(facts.latency.unwrap_or(self.latency_least)));
        Rating::weighted([(cheap, *price), (self.quality(facts), *quality), (fast, *latency)])
    }
}

/// Why a model of a pool makes a call: what was known of all of it. At most [`POOL_MAX`] are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The model by its name.
    pub model: String,
    /// By what it was chosen.
    pub by: Choose,
    /// Whether the first of them is first because the talk was held with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// All of the pool, in the order in which they are asked.
    pub considered: Vec<Considered>,
}

/// What was known of one model of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// The model by its name.
    pub model: String,
    /// What the call costs at its worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// How good it was by the last evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Rating>,
    /// How long its calls took lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Span>,
    /// What that comes to, where several things are weighed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Rating>,
    /// What keeps it from the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Outage>,
}

impl fmt::Display for PoolPolicy {
    /// The whole rule, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}, {}; of equals the first named", self.models.join(", "), self.choose)?;
        if let Some(quality_min) = self.quality_min {
            write!(f, "; not one that evaluation found worse than {quality_min}")?;
        }
        f.write_str("; not one that is out or cannot do what is asked; a talk keeps to its model while that can go on")
    }
}

impl Considered {
    /// What a ranking says of the model at this place of its list.
    pub fn new(model: &str, place: usize, facts: &Facts, ranking: &Ranking) -> Self {
        Self {
            model: model.to_owned(),
            price: facts.price,
            quality: facts.quality,
            latency: facts.latency,
            score: ranking.scores.get(place).copied().flatten(),
            out: ranking.bars.get(place).cloned().flatten(),
        }
    }
}

impl fmt::Display for Chosen {
    /// Such as "claude, the cheapest of 3; not home, because the breaker of model/home is open".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.considered.len();
        let is_kept = self.kept && self.considered.first().is_some_and(|first| first.model == self.model);
        if is_kept {
            write!(f, "{}, with which the talk goes on", self.model)?;
        } else {
            write!(f, "{}, {} of {of}", self.model, self.by.word())?;
        }
        let before = self.considered.iter().take_while(|considered| considered.model != self.model);
        for (considered, out) in before.filter_map(|considered| Some((considered, considered.out.as_ref()?))) {
            write!(f, "; not {}, because {out}", considered.model)?;
        }
        Ok(())
    }
}
