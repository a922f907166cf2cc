//! A platform to post to, with a ledger of its own.
//!
//! Invariant: a post stands in the ledger before its answer begins, and a post that was taken stays
//! taken, whatever becomes of whoever sent it.

mod command;
mod server;

#[cfg(test)]
mod tests;

pub use command::{PlatformArguments, main, serve};
pub use server::{Entry, Options, app};
