//! JSON Schemas of the files that people write, for their editors. Invariant: a schema knows the keys
//! that its reader knows, no more and no fewer; the reader alone decides what is right.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod validator;

use clap::ValueEnum;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// The supervision tree
    Tree,
    /// What surrounds every effect
    Guard,
    /// What may be spent
    Budget,
    /// What models cost
    Prices,
    /// The configuration
    Callboard,
}

impl SchemaOf {
    /// The schema, in JSON.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tree => include_str!("../../../policies/schemas/tree.json"),
            Self::Guard => include_str!("../../../policies/schemas/guard.json"),
            Self::Budget => include_str!("../../../policies/schemas/budget.json"),
            Self::Prices => include_str!("../../../policies/schemas/prices.json"),
            Self::Callboard => include_str!("../../../policies/schemas/callboard.json"),
        }
    }
}
