//! A disk that lies about its syncs. Invariant: it loses nothing by itself; only a crash does.

use std::io;
use std::sync::Arc;

use storage::disk::{Disk, File};

/// When a file is synced in truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// Never.
    Never,
    /// When the next append comes: each append is acknowledged before it is durable.
    Later,
}

/// A disk that says that it has synced, and has not.
pub(super) struct Liar {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) when: Synced,
}

struct LyingFile {
    file: Box<dyn File>,
    when: Synced,
    /// A sync was promised, and not made.
    owed: bool,
}

impl Disk for Liar {
    fn open(&self, path: &str) -> io::Result<Box<dyn File>> {
        let lying = |file| Box::new(LyingFile { file, when: self.when, owed: false }) as Box<dyn File>;
        self.disk.open(path).map(lying)
    }

    fn open_existing(&self, path: &str) -> io::Result<Box<dyn File>> {
        self.disk.open_existing(path)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send>> {
        self.disk.lock(path)
    }

    fn entropy(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.entropy(buffer)
    }
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
