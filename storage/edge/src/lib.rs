//! The context index on embedded Qdrant: one shard, one folder, no server.
//!
//! Invariant: this crate starts no thread of its own; every blocking call runs
//! where the caller's executor puts it.

mod engine;
mod index;
mod mapping;
mod record;
mod store;

pub use index::{EdgeIndex, Executor, Options};
