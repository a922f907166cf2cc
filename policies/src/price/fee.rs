//! What a request costs beside its tokens. Invariant: the least is never more than the most.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::money::{Money, MoneyOr};

/// What a request costs beside its tokens; where the provider decides it request
/// by request, from the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fee {
    least: Money,
    most: Money,
}

/// A fee that ends before it begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fee's least, {least}, is more than its most, {most}; exchange them")]
pub struct NotFee {
    /// Its least.
    pub least: Money,
    /// Its most.
    pub most: Money,
}

impl Fee {
    /// The same for each request.
    pub const fn flat(fee: Money) -> Self {
        Self { least: fee, most: fee }
    }

    /// From `least` to `most`.
    ///
    /// # Errors
    /// [`NotFee`] if `least` is the greater.
    pub fn between(least: Money, most: Money) -> Result<Self, NotFee> {
        if least > most { Err(NotFee { least, most }) } else { Ok(Self { least, most }) }
    }

    /// The most that it may be: what is reserved, and what is charged where the
    /// provider does not say what it took.
    pub const fn most(self) -> Money {
        self.most
    }

    /// The least that it may be.
    pub const fn least(self) -> Money {
        self.least
    }
}

/// A fee as a table writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    least: Money,
    most: Money,
}

impl<'de> Deserialize<'de> for Fee {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match MoneyOr::read(deserializer, "{ least = \"$0.006\", most = \"$0.014\" }")? {
            MoneyOr::Amount(fee) => Ok(Self::flat(fee)),
            MoneyOr::Table(Range { least, most }) => Self::between(least, most).map_err(de::Error::custom),
        }
    }
}

impl Serialize for Fee {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { least, most } = *self;
        if least == most { most.serialize(serializer) } else { Range { least, most }.serialize(serializer) }
    }
}
