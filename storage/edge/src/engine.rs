//! Calls into the engine.
//!
//! Invariant: no panic of the engine's leaves here; it becomes an error.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use storage::index::IndexError;

/// Runs `call`, which is to `action`.
pub(crate) fn run<T, E: Display>(action: &'static str, call: impl FnOnce() -> Result<T, E>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| refusal(action, error)),
        Err(panic) => {
            let message =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(refusal(action, message.unwrap_or("the engine panicked")))
        }
    }
}

pub(crate) fn refusal(action: &'static str, reason: impl Display) -> IndexError {
    IndexError::Engine { action, reason: reason.to_string() }
}
