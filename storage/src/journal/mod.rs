//! The journal: the only truth. Everything else is a fold of it.

mod position;

pub use position::{Seq, StreamId, Version};
