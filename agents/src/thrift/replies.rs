//! Replies that are kept over restarts.
//!
//! A shelf holds each under its request's key, with the time at which it came. To lose it costs money and
//! nothing else, so what does not read is left out and what cannot be written is not kept.
//!
//! Invariant: what is kept is within the bound, and of what must go the oldest goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policies::instant::Timestamp;
use policies::span::{ByteSize, Span};
use storage::journal::Seq;
use storage::views::{Changes, Shelf, ShelfError, after_prefix};

use super::key::Key;
use crate::model::ModelReply;

/// Open the shelf with this one; raise it when kept replies would not read.
pub const REPLIES_VERSION: u32 = 1;
/// Entries that are read from the shelf at once.
const PAGE_ENTRIES: usize = 256;
/// What stands before a reply: when it came, in microseconds.
const TIME_BYTES: usize = 8;
/// The shelf follows no events.
const NOWHERE: Seq = Seq(1);

/// Replies on a shelf.
pub struct Replies {
    shelf: Arc<dyn Shelf>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    entries: BTreeMap<Key, Entry>,
    ages: BTreeSet<(Timestamp, Key)>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    at: Timestamp,
    bytes: u64,
}

impl Replies {
    /// The replies on this shelf. Blocks while it is read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(shelf: Arc<dyn Shelf>) -> Result<Self, ShelfError> {
        let mut held = Held::default();
        let (mut from, end) = (Vec::new(), after_prefix(&[]));
        loop {
            let page = shelf.range(&from..&end, PAGE_ENTRIES, false)?;
            for (key, value) in &page {
                if let (Some(key), Some((at, _))) = (Key::from_bytes(key), parts(value)) {
                    held.insert(key, Entry { at, bytes: value.len() as u64 });
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE_ENTRIES => from = [last.as_slice(), &[0]].concat(),
                _ => return Ok(Self { shelf, held: Mutex::new(held) }),
            }
        }
    }

    /// The reply to such a request, if one is kept that is younger than `ttl`.
    pub(super) fn get(&self, key: &Key, now: Timestamp, ttl: Span) -> Option<ModelReply> {
        let entry = *self.held().entries.get(key)?;
        if now.since(entry.at) >= ttl.duration() {
            return None;
        }
        let value = match self.shelf.get(key.bytes()) {
            Ok(value) => value?,
            Err(error) => {
                tracing::warn!(%error, "kept replies cannot be read; the model is asked");
                return None;
            }
        };
        serde_json::from_slice(parts(&value)?.1).ok()
    }

    /// Keeps a reply, and lets the oldest go until all are within the bound.
    pub(super) fn put(&self, key: &Key, reply: &ModelReply, now: Timestamp, bytes_max: ByteSize) {
        let Ok(text) = serde_json::to_vec(reply) else { return };
        let value = [now.micros().to_le_bytes().as_slice(), &text].concat();
        let bytes = value.len() as u64;
        if bytes > bytes_max.bytes() {
            return;
        }
        let mut held = self.held();
        let mut changes = Changes::new();
        held.insert(*key, Entry { at: now, bytes });
        for gone in held.shrink(bytes_max) {
            changes.remove(gone.bytes().as_slice());
        }
        if held.entries.contains_key(key) {
            changes.put(key.bytes().as_slice(), value);
        }
        // Under the lock, so that shelf and memory change in the same order.
        if let Err(error) = self.shelf.apply(&changes, NOWHERE) {
            tracing::warn!(%error, "a reply could not be kept; the model will be asked again");
            held.remove(key);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic elsewhere may leave a sum wrong, which only moves the bound a little.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn insert(&mut self, key: Key, entry: Entry) {
        self.remove(&key);
        self.bytes += entry.bytes;
        self.ages.insert((entry.at, key));
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
            self.ages.remove(&(entry.at, *key));
        }
    }

    /// Lets the oldest go, and returns them.
    fn shrink(&mut self, bytes_max: ByteSize) -> Vec<Key> {
        let mut gone = Vec::new();
        while self.bytes > bytes_max.bytes() {
            let Some((_, oldest)) = self.ages.first().copied() else { break };
            self.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }
}

/// When a kept reply came, and the reply.
fn parts(value: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (time, reply) = value.split_first_chunk::<TIME_BYTES>()?;
    Some((Timestamp::from_micros(i64::from_le_bytes(*time)), reply))
}
