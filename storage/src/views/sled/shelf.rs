//! One shelf: a sled tree with its tally.
//!
//! Invariant: data, sequence and tally change in one sled batch, which a crash
//! leaves done or undone.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::sled::{Batch, Tree};

use super::engine::{ENTRY, Engine, TALLY};
use super::tally::Tally;
use crate::journal::Seq;
use crate::views::{Changes, Entry, Shelf, ShelfError};

/// Entries removed in one batch when a shelf is emptied.
const CLEAR_BATCH: usize = 4096;

pub(super) struct SledShelf {
    name: String,
    // Before the engine, which closes the folder when the last shelf lets go.
    tree: Tree,
    /// As on disk; also keeps writers apart.
    tally: Mutex<Tally>,
    engine: Arc<Engine>,
}

impl SledShelf {
    pub(super) fn open(engine: Arc<Engine>, name: &str) -> Result<Self, ShelfError> {
        let (tree, tally) = engine.run(name, |db| {
            let tree = db.open_tree(name)?;
            let tally = tree.get(TALLY)?.and_then(|bytes| Tally::decode(&bytes));
            Ok((tree, tally.unwrap_or_default()))
        })?;
        Ok(Self { name: name.to_owned(), tree, tally: Mutex::new(tally), engine })
    }

    /// Makes this the shelf of that version of its fold. What another version
    /// wrote is removed, and so is what an interrupted clearing left.
    pub(super) fn adopt(&self, fold_version: u32) -> Result<(), ShelfError> {
        let mut tally = self.held();
        if tally.fold_version != fold_version || tally.sequence.is_none() {
            self.empty(&mut tally, fold_version)?;
        }
        Ok(())
    }

    fn empty(&self, tally: &mut Tally, fold_version: u32) -> Result<(), ShelfError> {
        loop {
            let mut next = Tally { fold_version, sequence: None, ..*tally };
            let removed = self.run(|tree| {
                let mut batch = Batch::default();
                let mut removed = 0;
                for entry in tree.range([ENTRY]..).take(CLEAR_BATCH) {
                    let (key, value) = entry?;
                    next.content.subtract(&key[1..], &value);
                    batch.remove(key);
                    removed += 1;
                }
                batch.insert(TALLY, next.encode());
                tree.apply_batch(batch)?;
                Ok(removed)
            })?;
            *tally = next;
            if removed < CLEAR_BATCH {
                return Ok(());
            }
        }
    }

    fn run<T>(&self, call: impl FnOnce(&Tree) -> ::sled::Result<T>) -> Result<T, ShelfError> {
        self.engine.run(&self.name, |_| call(&self.tree))
    }

    /// Panics of sled's are caught below this lock, so a poisoned one is sound.
    fn held(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf for SledShelf {
    fn sequence(&self) -> Result<Option<Seq>, ShelfError> {
        Ok(self.held().sequence)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ShelfError> {
        self.run(|tree| Ok(tree.get(stored(key))?.map(|value| value.to_vec())))
    }

    fn range(&self, keys: Range<&[u8]>, limit: usize, reverse: bool) -> Result<Vec<Entry>, ShelfError> {
        if keys.start >= keys.end {
            return Ok(Vec::new());
        }
        self.run(|tree| {
            let found = tree.range(stored(keys.start)..stored(keys.end));
            let owned = |entry: ::sled::Result<_>| {
                let (key, value): (::sled::IVec, ::sled::IVec) = entry?;
                Ok((key[1..].to_vec(), value.to_vec()))
            };
            if reverse { found.rev().take(limit).map(owned).collect() } else { found.take(limit).map(owned).collect() }
        })
    }

    fn apply(&self, changes: &Changes, reached: Seq) -> Result<(), ShelfError> {
        let mut tally = self.held();
        let mut next = Tally { sequence: Some(reached), ..*tally };
        self.run(|tree| {
            let mut batch = Batch::default();
            for (key, value) in changes.iter() {
                let stored = stored(key);
                if let Some(old) = tree.get(&stored)? {
                    next.content.subtract(key, &old);
                }
                match value {
                    Some(value) => {
                        next.content.add(key, value);
                        batch.insert(stored, value);
                    }
                    None => batch.remove(stored),
                }
            }
            batch.insert(TALLY, next.encode());
            tree.apply_batch(batch)
        })?;
        *tally = next;
        Ok(())
    }

    fn clear(&self) -> Result<(), ShelfError> {
        let mut tally = self.held();
        let fold_version = tally.fold_version;
        self.empty(&mut tally, fold_version)
    }

    fn bytes(&self) -> u64 {
        self.held().content.bytes
    }
}

fn stored(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(ENTRY);
    stored.extend_from_slice(key);
    stored
}
