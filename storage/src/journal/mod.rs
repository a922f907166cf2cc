//! The journal: the only truth. Everything else is a fold of it.
//!
//! Segment files of CRC-checked, hash-chained frames; each frame is one batch, all or nothing. One
//! committer writes them in groups: one write, one sync, then all acknowledgements.
//!
//! Invariant: nothing is acknowledged, and nothing can be read, before the sync that covers it; and
//! what was acknowledged is either read back whole or its absence stops the start.

mod committer;
mod error;
mod event;
mod frame;
mod group;
mod handle;
mod index;
mod opening;
mod options;
mod reader;
mod record;
mod reserve;
mod scan;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use committer::Committer;
pub use error::{AppendError, OpenError, ReadError};
pub use event::{Appended, Batch, Event, NewEvent, RecordId, Seq, StreamId, TraceId, Version, Write};
pub use handle::{Journal, Pending, Shortage};
pub use opening::Opened;
pub use options::Options;
pub use scan::Torn;
pub use tail::Tail;
pub use verify::{Lost, PayloadFault, Payloads, Verified, lost, verify, verify_chain};

/// The fold version of the stream index: open its shelf with this one.
pub const INDEX_VERSION: u32 = 1;
