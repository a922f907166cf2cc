//! What can go wrong with the journal, each with the place and what to do about it.

use std::io;
use std::sync::Arc;

use policies::span::ByteSize;

use super::event::{Seq, StreamId, Version};
use crate::views::ShelfError;

/// Why the journal did not open. Nothing was changed on the disk, apart from a torn tail that may
/// have been cut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the journal is in use ({holder}); stop that process, or choose another data folder")]
    Locked {
        /// Who, as far as is known.
        holder: String,
    },
    /// Acknowledged records cannot be read.
    #[error("{file} is damaged at byte {offset} ({what}); run `callboard doctor`, or restore a backup")]
    Damaged {
        /// The segment, as a path on the disk.
        file: String,
        /// Where in the segment, in bytes.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The stream index has seen events that the journal lacks.
    #[error(
        "the journal ends at event {end}, but its index has seen event {seen}: acknowledged events are missing; \
         run `callboard doctor`, or, if an older backup was restored on purpose, delete the views folder"
    )]
    Missing {
        /// The journal's last event.
        end: Seq,
        /// The last event that was indexed.
        seen: Seq,
    },
    /// A segment is of a format that this build does not know.
    #[error(
        "{file} has format {format}, and this build reads format {known}; use the build that wrote it, or a newer one"
    )]
    Format {
        /// The segment.
        file: String,
        /// Its format.
        format: u32,
        /// The format of this build.
        known: u32,
    },
    /// No room for the few bytes that an opening writes.
    #[error("the disk is full, so {path} cannot be opened; make room and start again")]
    Full {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk refused.
    #[error("{path} cannot be read or written; check the disk and the folder's permissions")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The stream index failed.
    #[error("the journal's stream index failed; delete the views folder, it is made anew")]
    Index(#[source] ShelfError),
}

/// Why a batch was not appended, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A stream is not at the expected version. Nothing was written.
    #[error("stream {stream} is at version {actual}, not at {expected}; read it again and decide anew")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// The version that the batch expected.
        expected: Version,
        /// The version that it has.
        actual: Version,
    },
    /// A later owner has opened the journal. Nothing was written, and this one will write no more.
    #[error("another process has taken over the journal; this one must stop")]
    Fenced,
    /// There is no room. Nothing was written; it works again when there is room.
    #[error("the journal has no room for {asked} ({limit}); make room, or raise the quota, and try again")]
    Full {
        /// What the batch, or the group that it was in, needed.
        asked: ByteSize,
        /// Which limit was met.
        limit: Arc<str>,
    },
    /// The write failed and was taken back. Nothing was written; try again.
    #[error("the write failed and was taken back ({reason}); try again")]
    Retry {
        /// What the system said.
        reason: Arc<str>,
    },
    /// Nobody knows whether it was written. Repeat it with the same record id once the journal is
    /// open again.
    #[error(
        "the append may or may not have been kept ({reason}); \
         repeat it with the same record id when the journal is open again"
    )]
    Unknown {
        /// What happened.
        reason: Arc<str>,
    },
    /// The journal no longer writes. Nothing was written.
    #[error("the journal has stopped ({reason}); it must be opened again")]
    Stopped {
        /// Why it stopped.
        reason: Arc<str>,
    },
    /// The batch can never be appended. Nothing was written.
    #[error("{what} has {bytes}, and at most {bytes_max} are taken; split it")]
    TooLarge {
        /// Which part is too large.
        what: &'static str,
        /// Its size.
        bytes: ByteSize,
        /// The largest size.
        bytes_max: ByteSize,
    },
    /// The batch is malformed. Nothing was written.
    #[error("the batch cannot be appended: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: Arc<str>,
    },
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A record no longer reads as it was written.
    #[error("{file} is damaged at byte {offset} ({what}); stop and run `callboard doctor`")]
    Damaged {
        /// The segment, as a path on the disk.
        file: String,
        /// Where in the segment, in bytes.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// A payload kept apart cannot be read.
    #[error("the payload of event {seq} cannot be read; run `callboard doctor`")]
    Payload {
        /// The event.
        seq: Seq,
        /// Why.
        source: crate::blobs::BlobError,
    },
    /// The disk refused.
    #[error("{path} cannot be read; check the disk and the folder's permissions")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The stream index failed.
    #[error("the journal's stream index failed; restart, it is rebuilt from the journal")]
    Index(#[from] ShelfError),
    /// The journal was closed or has stopped; what it holds was read to its end.
    #[error("the journal has stopped; it must be opened again")]
    Closed,
}
