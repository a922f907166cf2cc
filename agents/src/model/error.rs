//! How a call fails. Invariant: [`Billed::No`] is said only where the provider certainly asks nothing
//! for it, and [`Billed::Used`] only where it said how much.

use std::time::Duration;

use policies::failure::FailureClass;
use policies::tokens::Usage;
use serde::{Deserialize, Serialize};

/// Whether a failed call may have cost money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billed {
    /// Certainly not: the provider refused it or never had it.
    No,
    /// It may: settle at the reserved worst case.
    Unknown,
    /// For this much, as the provider counts it: it answered, and the answer is of no use.
    Used(Box<Usage>),
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// How it is to be handled.
    pub class: FailureClass,
    /// What went wrong and what to do, in one sentence for a person.
    pub message: String,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Duration>,
    /// Whether it may have cost money.
    pub billed: Billed,
}

impl ModelError {
    /// A failure that cost nothing, and with no time to wait.
    pub fn free(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None, billed: Billed::No }
    }

    /// A failure that may have cost as much as was reserved.
    pub fn unknown(class: FailureClass, message: impl Into<String>) -> Self {
        Self { billed: Billed::Unknown, ..Self::free(class, message) }
    }

    /// A failure that cost this much.
    pub fn used(class: FailureClass, message: impl Into<String>, usage: Usage) -> Self {
        Self { billed: Billed::Used(Box::new(usage)), ..Self::free(class, message) }
    }

    /// The call was asked to end, and may have reached the provider.
    pub fn cancelled(model: &impl std::fmt::Display) -> Self {
        Self::unknown(FailureClass::Shutdown, format!("the call to {model} was cancelled"))
    }
}
