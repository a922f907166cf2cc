//! Shelves in memory, for tests and the simulator.
//!
//! Invariant: clones share their shelves, so that what stands for the disk
//! outlives the process that is simulated on it.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::Seq;
use crate::views::{Changes, Entry, Shelf, ShelfError, Shelves};

/// Shelves that live as long as the last clone of this.
#[derive(Clone, Default)]
pub struct MemoryShelves {
    shelves: Arc<Mutex<BTreeMap<String, Opened>>>,
}

struct Opened {
    fold_version: u32,
    shelf: Arc<MemoryShelf>,
}

impl MemoryShelves {
    /// No shelves yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Shelves for MemoryShelves {
    fn open(&self, name: &str, fold_version: u32) -> Result<Arc<dyn Shelf>, ShelfError> {
        let mut shelves = held(&self.shelves);
        let opened = shelves.entry(name.to_owned()).or_insert_with(|| Opened { fold_version, shelf: Arc::default() });
        if opened.fold_version != fold_version {
            opened.fold_version = fold_version;
            opened.shelf.clear()?;
        }
        Ok(opened.shelf.clone())
    }
}

/// One shelf in memory.
#[derive(Default)]
pub struct MemoryShelf {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    sequence: Option<Seq>,
    bytes: u64,
}

impl Content {
    fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let replaced = match value {
            Some(value) => {
                self.bytes += (key.len() + value.len()) as u64;
                self.entries.insert(key.to_vec(), value.to_vec())
            }
            None => self.entries.remove(key),
        };
        if let Some(replaced) = replaced {
            self.bytes -= (key.len() + replaced.len()) as u64;
        }
    }
}

impl Shelf for MemoryShelf {
    fn sequence(&self) -> Result<Option<Seq>, ShelfError> {
        Ok(held(&self.content).sequence)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(held(&self.content).entries.get(key).cloned())
    }

    fn range(&self, keys: Range<&[u8]>, limit: usize, reverse: bool) -> Result<Vec<Entry>, ShelfError> {
        if keys.start >= keys.end {
            return Ok(Vec::new());
        }
        let content = held(&self.content);
        let bounds = (Bound::Included(keys.start), Bound::Excluded(keys.end));
        let found = content.entries.range::<[u8], _>(bounds);
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if reverse { found.rev().take(limit).map(owned).collect() } else { found.take(limit).map(owned).collect() })
    }

    fn apply(&self, changes: &Changes, reached: Seq) -> Result<(), ShelfError> {
        let mut content = held(&self.content);
        for (key, value) in changes.iter() {
            content.write(key, value);
        }
        content.sequence = Some(reached);
        Ok(())
    }

    fn clear(&self) -> Result<(), ShelfError> {
        *held(&self.content) = Content::default();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        held(&self.content).bytes
    }
}

/// Nothing panics under these locks, so that a poisoned one is still sound.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
