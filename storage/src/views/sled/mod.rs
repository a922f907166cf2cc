//! Shelves on disk, in sled.
//!
//! Invariant: what a shelf gives is what was applied to it, up to its sequence.
//! sled alone does not promise that (a truncated file loses entries silently, a
//! flipped byte panics), so each shelf keeps a tally of its content, every call
//! catches panics, and a folder that does not add up is deleted and made anew.
//! It is never flushed on the way: what a crash loses is folded again.

mod engine;
mod shelf;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{fs, io};

use self::engine::Engine;
use self::shelf::SledShelf;
use crate::journal::Seq;
use crate::views::{Shelf, ShelfError, Shelves};

/// Shelves in one folder, which one process at a time may open.
pub struct SledShelves {
    engine: Arc<Engine>,
    rebuilt: Option<String>,
    /// Two handles of one shelf must share its tally.
    opened: Mutex<BTreeMap<String, Weak<SledShelf>>>,
}

impl SledShelves {
    /// Opens the folder, or makes it. `cache_bytes` bounds what sled keeps in
    /// memory. On any doubt about the content all of it is deleted, reported and
    /// made anew; a folder that is in use, or a disk that refuses, is an error.
    pub fn open(path: impl Into<PathBuf>, cache_bytes: u64) -> Result<Self, ShelfError> {
        let path = path.into();
        let mut rebuilt = None;
        let engine = match Engine::open(&path, cache_bytes) {
            Err(ShelfError::Damaged { reason, .. }) => {
                tracing::warn!(
                    path = %path.display(),
                    reason,
                    "the views are damaged; they are deleted and folded again from the journal"
                );
                rebuilt = Some(reason);
                fs::remove_dir_all(&path).map_err(|source| refused(&path, source))?;
                Engine::open(&path, cache_bytes)?
            }
            opened => opened?,
        };
        Ok(Self { engine: Arc::new(engine), rebuilt, opened: Mutex::default() })
    }

    /// The last event that each shelf has taken in.
    ///
    /// # Errors
    /// When sled cannot be read.
    pub fn reached(&self) -> Result<BTreeMap<String, Seq>, ShelfError> {
        self.engine.reached()
    }

    /// Why everything was deleted and made anew when this was opened, if it was.
    pub fn rebuilt(&self) -> Option<&str> {
        self.rebuilt.as_deref()
    }
}

impl Shelves for SledShelves {
    fn open(&self, name: &str, fold_version: u32) -> Result<Arc<dyn Shelf>, ShelfError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = match opened.get(name).and_then(Weak::upgrade) {
            Some(shelf) => shelf,
            None => {
                let shelf = Arc::new(SledShelf::open(Arc::clone(&self.engine), name)?);
                opened.insert(name.to_owned(), Arc::downgrade(&shelf));
                shelf
            }
        };
        shelf.adopt(fold_version)?;
        Ok(shelf)
    }
}

fn refused(path: &Path, source: io::Error) -> ShelfError {
    ShelfError::Io { path: path.display().to_string(), source }
}
