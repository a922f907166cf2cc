//! Zeros ahead of the last segment's end.
//!
//! A sync of bytes that lie within a file's length writes those bytes. One that makes the file longer
//! writes its length too, in the file system's own log, and takes about twice as long.
//!
//! Invariant: nothing depends on the zeros being there; where they cannot be had, the file just grows.

use policies::span::ByteSize;

use super::writer::Active;

/// The reserve is filled up when less than one part in so many is left of it.
const LOW_PARTS: u64 = 4;

pub(super) struct Reserve {
    bytes: u64,
    /// The length of the segment at which the next ones are due.
    due: u64,
}

impl Reserve {
    pub(super) fn new(bytes: ByteSize) -> Self {
        Self { bytes: bytes.bytes(), due: 0 }
    }

    /// Fills the reserve up if it is low. A disk without room for it is asked again when as much as
    /// the reserve has been written.
    pub(super) fn keep(&mut self, active: &mut Active) {
        if self.bytes == 0 || active.length < self.due {
            return;
        }
        let lasts = match active.file.reserve(self.bytes) {
            Ok(()) => self.bytes - self.bytes / LOW_PARTS,
            Err(_) => self.bytes,
        };
        self.due = active.length + lasts;
    }

    /// The zeros are gone, or another segment is written to.
    pub(super) fn spent(&mut self) {
        self.due = 0;
    }
}
