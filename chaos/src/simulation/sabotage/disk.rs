//! A disk that lies about its syncs. Invariant: it loses nothing by itself; only a crash does.

use std::io;
use std::sync::Arc;

use storage::disk::watched::with_files;
use storage::disk::{Disk, File};

/// When a file is synced in truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// Never.
    Never,
    /// When the next append comes: each append is acknowledged before it is durable.
    Later,
}

/// This disk, which says that it has synced, and has not.
pub(super) fn lying(disk: Arc<dyn Disk>, when: Synced) -> Arc<dyn Disk> {
    with_files(disk, move |file| Box::new(LyingFile { file, when, owed: false }))
}

struct LyingFile {
    file: Box<dyn File>,
    when: Synced,
    /// A sync was promised, and not made.
    owed: bool,
}

impl File for LyingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.owed) {
            self.file.sync()?;
        }
        // What comes first is synced after all, so that a start finds a journal to open.
        let first = self.file.is_empty()?;
        self.file.append(bytes)?;
        if first { self.file.sync() } else { Ok(()) }
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.owed = self.when == Synced::Later;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.rewrite(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}
