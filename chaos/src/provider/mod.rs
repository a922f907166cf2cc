//! A model server that serves from a script, bills what it serves, and keeps a ledger of its own.
//!
//! Invariant: a call stands in the ledger before its reply begins, so the ledger
//! never counts less than what the server would bill.

mod anthropic;
mod command;
mod script;
mod server;
mod storm;

#[cfg(test)]
mod tests;

pub use command::{ProviderArguments, main, serve};
pub use script::{Reply, reply};
pub use server::{Entry, Options, Prices, app, read};
pub use storm::{Storm, Weather};
