//! The tally of a shelf: what it must hold, counted as it is written.
//!
//! Invariant: equal content gives an equal tally in whatever order it was
//! written, so that a shelf which lost or kept too much shows.

use ::sled::IVec;

use crate::journal::Seq;

/// The record that a shelf keeps beside its data, in the same batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) fold_version: u32,
    pub(super) sequence: Option<Seq>,
    pub(super) content: Content,
}

/// What a shelf's entries amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// The sum, modulo 2⁶⁴, of a hash of every entry.
    sum: u64,
}

impl Content {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(size(key, value));
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    pub(super) fn subtract(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(size(key, value));
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }
}

impl Tally {
    /// Fixed little-endian fields; sequence 0 stands for none, since events
    /// count from 1.
    pub(super) fn encode(&self) -> Vec<u8> {
        let sequence = self.sequence.unwrap_or_default().0;
        let mut bytes = self.fold_version.to_le_bytes().to_vec();
        for field in [sequence, self.content.entries, self.content.bytes, self.content.sum] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &IVec) -> Option<Self> {
        let (fold_version, fields) = bytes.split_first_chunk::<4>()?;
        let (fields, []) = fields.as_chunks::<8>() else {
            return None;
        };
        let &[sequence, entries, bytes, sum] = fields else {
            return None;
        };
        let sequence = u64::from_le_bytes(sequence);
        Some(Self {
            fold_version: u32::from_le_bytes(*fold_version),
            sequence: (sequence > 0).then_some(Seq(sequence)),
            content: Content {
                entries: u64::from_le_bytes(entries),
                bytes: u64::from_le_bytes(bytes),
                sum: u64::from_le_bytes(sum),
            },
        })
    }
}

fn size(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn hash(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let hash = hasher.finalize();
    hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}
