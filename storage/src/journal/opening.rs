//! Opening.
use std::sync::Arc;

use policies::instant::Timestamp;

use super::committer::Writer;
use super::error::OpenError;
use super::event::Seq;
use super::handle::Shared;
use super::options::Options;
use crate::disk::Disk;
use crate::views::Shelf;

/// What an opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The last event.
    pub head: Seq,
    /// Counts the openings of this journal, this one included.
    pub epoch: u64,
    /// What was cut off, if anything.
    pub torn: Option<Torn>,
    /// Events that the stream index had not seen yet.
    pub indexed: u64,
}

/// A torn tail: writes that a crash cut short and that were never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment, as a path on the disk.
    pub file: String,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
}

pub(super) fn open(
    _disk: Arc<dyn Disk>,
    _index: Arc<dyn Shelf>,
    _options: Options,
    _now: Timestamp,
) -> Result<(Writer, Arc<Shared>, Opened), OpenError> {
    Err(OpenError::Locked { holder: String::new() })
}
