//! The seam through which everything durable is written: a few file operations that real files and
//! a simulated disk both offer.
//!
//! Invariant: nothing counts as kept until `File::sync` returned for its bytes and `Disk::sync_dir`
//! for its name.

pub mod files;
pub mod sim;
pub mod watched;

use std::io;

/// A folder of files. Paths are relative, with `/` between their parts; the root itself is `""`.
/// All calls block.
pub trait Disk: Send + Sync {
    /// Opens a file for appending and reading, and creates it when it is absent. Its name is
    /// durable only after [`Disk::sync_dir`].
    fn open(&self, path: &str) -> io::Result<Box<dyn File>>;
    /// Opens a file that must be there, for reading. `NotFound` when it is absent.
    fn open_existing(&self, path: &str) -> io::Result<Box<dyn File>>;
    /// Whether there is a file or folder of that name.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// The whole content of a file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// The names (not paths) in a folder, sorted. An absent folder has none.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Renames a file, over another one if need be. Durable only after [`Disk::sync_dir`] on both
    /// folders.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Disk::sync_dir`].
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes a folder and those above it, and makes their names durable.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Takes the exclusive lock on a file; dropping the guard releases it. `WouldBlock`, with the
    /// holder in the message, when it is taken.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Send>>;
    /// Fills the buffer with bytes that nobody can guess (on a simulated disk: bytes that every run
    /// repeats). Keys are made of them.
    fn entropy(&self, buffer: &mut [u8]) -> io::Result<()>;
}

/// An open file that grows at its end.
pub trait File: Send + Sync {
    /// Writes all bytes at the end, over what was reserved there. After an error some of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Puts this many zeros behind the end, for the next appends to write over: a sync then has no new
    /// length to make durable, which costs most file systems a second write. [`File::len`] counts
    /// them, and whoever opens the file again finds its end behind them. After an error, or a crash,
    /// there may be fewer.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes the content and length durable (`fdatasync`). After an error nobody knows what is:
    /// never call it again, reopen instead.
    fn sync(&mut self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Writes bytes over those already there, from an offset in bytes and within the file's length.
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads from an offset in bytes; returns how many bytes it read, 0 at the end, possibly fewer
    /// than asked.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Cuts the file to a length in bytes. Durable only after [`File::sync`].
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Replaces a file's content in one durable step: after a crash the file is the old one or the new
/// one, whole.
pub fn replace(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = format!("{path}.tmp");
    let write = || {
        let mut file = disk.open(&draft)?;
        file.truncate(0)?;
        file.append(bytes)?;
        file.sync()?;
        disk.rename(&draft, path)
    };
    if let Err(error) = write() {
        // A draft left behind takes room that may be short; its removal is a courtesy.
        let _ = disk.remove(&draft);
        return Err(error);
    }
    disk.sync_dir(parent(path))
}

/// Reads until the buffer is full or the file ends; returns how many bytes it read.
pub fn read_full(file: &dyn File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Whether an error says that the disk, or its quota, has no room left.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The folder that a path lies in; `""` for one in the root.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
