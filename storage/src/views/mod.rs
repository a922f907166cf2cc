//! Views: what lists, searches and reports read. A view is a fold of the journal
//! kept on a shelf together with the sequence number that it has reached.
//!
//! Invariant: data and sequence change in one atomic step, so that a view is
//! always the exact fold of the events up to its sequence. A view is never the
//! truth: what is missing, stale or damaged is emptied and folded again.

pub mod fold;
pub mod memory;
pub mod projector;
pub mod seal;
pub mod sled;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use fold::{Fold, FoldError};
pub use projector::{Projector, ProjectorError};

use crate::journal::Seq;

/// A key with its value, as [`Shelf::range`] gives them.
pub type Entry = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes that knows how far it has followed the journal. Calls
/// may block on the disk for a moment; the data is small and mostly cached.
pub trait Shelf: Send + Sync {
    /// The last event whose changes are here; `None` for an empty shelf.
    fn sequence(&self) -> Result<Option<Seq>, ShelfError>;

    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ShelfError>;

    /// At most `limit` entries with keys in `keys` (the end is excluded), in key
    /// order, or from the last one down when `reverse`. See [`after_prefix`].
    fn range(&self, keys: Range<&[u8]>, limit: usize, reverse: bool) -> Result<Vec<Entry>, ShelfError>;

    /// Makes the changes and records the sequence they lead to: all or nothing.
    fn apply(&self, changes: &Changes, reached: Seq) -> Result<(), ShelfError>;

    /// Removes every entry and the sequence.
    fn clear(&self) -> Result<(), ShelfError>;

    /// Bytes held, as near as the store can tell cheaply.
    fn bytes(&self) -> u64;
}

/// Where shelves are kept.
pub trait Shelves: Send + Sync {
    /// The shelf of that name. What another version of its fold has written, or
    /// what is damaged, is emptied first.
    fn open(&self, name: &str, fold_version: u32) -> Result<Arc<dyn Shelf>, ShelfError>;
}

/// Why a shelf could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Another process has the folder open.
    #[error("the views in {path} are in use by another process; stop it, or choose another data folder")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The store found its data damaged while in use.
    #[error("view {shelf} is damaged ({reason}); it is rebuilt from the journal at the next start")]
    Damaged {
        /// The shelf, or the folder when no shelf is to blame.
        shelf: String,
        /// What the store said.
        reason: String,
    },
    /// The disk refused.
    #[error("views in {path} cannot be read or written; check its free space and permissions")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Writes to one shelf that take effect together. A later write to a key
/// replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes `key`, which may be absent.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.insert(key.into(), None);
    }

    /// The value under `key` as it will be once these changes are applied to
    /// `shelf`: folds read through their own writes.
    pub fn read(&self, shelf: &dyn Shelf, key: &[u8]) -> Result<Option<Vec<u8>>, ShelfError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => shelf.get(key),
        }
    }

    /// The writes in key order; `None` removes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// How many keys are written.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The first key after all that begin with `prefix`, so that
/// `prefix..after_prefix(prefix)` spans them. A prefix of `0xFF` bytes alone has
/// none; it gets a key that is longer than any in use.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    /// Longer than any key that a fold makes.
    const KEY_BYTES_MAX: usize = 1024;
    match prefix.iter().rposition(|&byte| byte != u8::MAX) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        None => vec![u8::MAX; KEY_BYTES_MAX],
    }
}
