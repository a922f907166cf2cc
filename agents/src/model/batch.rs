//! A call that may take a day, for less. Invariant: its name is of one attempt alone, so that whoever is asked
//! for it later can tell it from every other.

use policies::instant::Timestamp;

/// How a call is made by a provider's batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCall {
    /// What it is known by at the provider: 64 letters, digits, `_` and `-` at most.
    pub id: String,
    /// It was not made before this.
    pub since: Timestamp,
    /// Whether an earlier life may have made it: then it is looked for, and not made.
    pub may_be_there: bool,
}
