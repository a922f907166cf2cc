//! A model server that serves from a script and keeps a ledger of its own.
//!
//! Invariant: a call stands in the ledger before its reply begins, so the ledger
//! never counts less than what the server would bill.

mod command;
mod script;
mod server;

pub use command::{ProviderArguments, main, serve};
pub use script::{Reply, reply};
pub use server::{Entry, Options, app, read};
