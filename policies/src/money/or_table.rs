//! A value that is written as an amount where that says it all, and as a table where it does not.
//! Invariant: whichever is written is read as itself, so that its mistakes are told in its own words.

use std::{fmt, marker::PhantomData};

use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use super::Money;

/// An amount of money, or a table of type `T`.
pub(crate) enum MoneyOr<T> {
    Amount(Money),
    Table(T),
}

impl<T> MoneyOr<T> {
    /// Reads either; `example` is a table as a person would write it.
    pub(crate) fn read<'de, D>(deserializer: D, example: &'static str) -> Result<Self, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(Either { example, table: PhantomData })
    }
}

struct Either<T> {
    example: &'static str,
    table: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
    type Value = MoneyOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "money such as \"$2.00\", or a table such as {}", self.example)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MoneyOr<T>, E> {
        Money::deserialize(text.into_deserializer()).map(MoneyOr::Amount)
    }

    fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<MoneyOr<T>, E> {
        Ok(MoneyOr::Amount(Money::from_nanos(nanos)))
    }

    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<MoneyOr<T>, E> {
        Money::deserialize(nanos.into_deserializer()).map(MoneyOr::Amount)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<MoneyOr<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(table)).map(MoneyOr::Table)
    }
}
