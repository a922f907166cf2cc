//! How the journal is laid out and bounded.

use policies::span::ByteSize;
use serde::{Deserialize, Serialize};

/// The journal's bounds. The defaults suit one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// A segment file that has reached this size is followed by a new one.
    pub segment_bytes: ByteSize,
    /// Zeros that are kept ahead of the last segment's end, so that a sync need not make a new length
    /// durable; none with 0.
    pub reserve_bytes: ByteSize,
    /// Batches that wait for the committer; further ones wait for room.
    pub queue_max: usize,
    /// Events that share one write and one sync.
    pub group_events_max: usize,
    /// Bytes that share one write and one sync; a larger batch goes alone.
    pub group_bytes_max: ByteSize,
    /// The largest batch, without its payloads that are kept apart; at most 32 MiB.
    pub batch_bytes_max: ByteSize,
    /// The largest payload of one event.
    pub payload_bytes_max: ByteSize,
    /// Payloads over this size are kept apart, in blobs.
    pub inline_max: ByteSize,
    /// A quota on all segments together, which acts like a full disk.
    pub bytes_max: Option<ByteSize>,
    /// Recent batches whose repetition is answered with their first outcome.
    pub repeats_max: usize,
    /// Recent events whose streams and places are held in memory before they go to the index.
    pub unindexed_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: ByteSize(64 << 20),
            reserve_bytes: ByteSize(256 << 10),
            queue_max: 1024,
            group_events_max: 4096,
            group_bytes_max: ByteSize(4 << 20),
            batch_bytes_max: ByteSize(8 << 20),
            payload_bytes_max: ByteSize(16 << 20),
            inline_max: ByteSize(16 << 10),
            bytes_max: None,
            repeats_max: 16 << 10,
            unindexed_max: 16 << 10,
        }
    }
}
