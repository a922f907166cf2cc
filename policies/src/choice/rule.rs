//! By what a model is chosen: a word, or weights. Invariant: whichever is written is read as itself, so that
//! its mistakes are told in its own words; by weights that weigh nothing all are equal.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most that one thing may weigh.
pub const WEIGHT_MAX: u32 = 100;

/// By what a model is chosen among those that can make a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choose {
    /// The first of the list.
    #[default]
    Chain,
    /// The one whose call costs least at its worst.
    Cheapest,
    /// The one with the best score in the agent's last evaluations.
    Best,
    /// The one whose calls took least lately.
    Fastest,
    /// The one with the best of all three, weighed.
    Weights(Weights),
}

/// What each thing weighs against the others; 0 where it is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// What the call costs at its worst.
    pub price: u32,
    /// How good the agent's work was, by its evaluations.
    pub quality: u32,
    /// How long calls took lately.
    pub latency: u32,
}

impl Weights {
    /// Whether nothing can be chosen by them.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The words, in the order of [`Choose`].
const WORDS: &[&str] = &["chain", "cheapest", "best", "fastest"];

impl Choose {
    /// It in a sentence about the one that is chosen.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Chain => "the first",
            Self::Cheapest => "the cheapest",
            Self::Best => "the best",
            Self::Fastest => "the fastest",
            Self::Weights(_) => "the best by its weights",
        }
    }
}

impl fmt::Display for Choose {
    /// The rule, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => f.write_str("the first of the list that can"),
            Self::Cheapest => f.write_str("the one whose call costs least at its worst"),
            Self::Best => f.write_str("the one with the best score in the agent's evaluations"),
            Self::Fastest => f.write_str("the one whose calls took least lately"),
            Self::Weights(Weights { price, quality, latency }) => {
                let parts = [("price", price), ("quality", quality), ("latency", latency)];
                let parts = parts.into_iter().filter(|(_, weight)| **weight > 0);
                let parts: Vec<String> = parts.map(|(name, weight)| format!("{name} × {weight}")).collect();
                write!(f, "the one with the best score of {}", parts.join(" + "))
            }
        }
    }
}

impl Serialize for Choose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = match self {
            Self::Chain => "chain",
            Self::Cheapest => "cheapest",
            Self::Best => "best",
            Self::Fastest => "fastest",
            Self::Weights(weights) => return weights.serialize(serializer),
        };
        serializer.serialize_str(word)
    }
}

impl<'de> Deserialize<'de> for Choose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Choose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word such as \"cheapest\", or weights such as { price = 2, quality = 1 }")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Choose, E> {
        Ok(match word {
            "chain" => Choose::Chain,
            "cheapest" => Choose::Cheapest,
            "best" => Choose::Best,
            "fastest" => Choose::Fastest,
            other => return Err(E::unknown_variant(other, WORDS)),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Choose, A::Error> {
        let weights = Weights::deserialize(MapAccessDeserializer::new(table))?;
        let Weights { price, quality, latency } = weights;
        let all = [price, quality, latency];
        if let Some(heavy) = all.iter().find(|weight| **weight > WEIGHT_MAX) {
            return Err(de::Error::custom(format!("a weight of {heavy} is over the most, {WEIGHT_MAX}")));
        }
        Ok(Choose::Weights(weights))
    }
}
