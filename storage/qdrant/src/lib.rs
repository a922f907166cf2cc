//! The context index on a Qdrant server.
//!
//! Invariant: the server's key is sent to the server and shown to nobody.

mod failure;
mod index;
mod mapping;

pub use index::{Options, ServerIndex};
