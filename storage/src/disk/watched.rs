//! A disk that tells somebody when bytes are about to be written and made durable: a place for crash
//! points.
//!
//! Invariant: it does what the disk beneath does, in the same order; the point before a step is told
//! before anything of it is done, and the point after it only when the step has succeeded.

use std::io;
use std::sync::Arc;

use super::{Disk, File};

/// A moment in the life of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskPoint {
    /// Before bytes are appended.
    AppendBefore,
    /// After bytes were appended.
    AppendAfter,
    /// Before a file is synced.
    SyncBefore,
    /// After a file was synced.
    SyncAfter,
}

/// Who is told; called in the middle of the disk's work, which waits for it.
pub type DiskHook = Arc<dyn Fn(DiskPoint) + Send + Sync>;

/// This disk, with somebody who is told of each append and each sync of a file.
pub fn watched(disk: Arc<dyn Disk>, hook: DiskHook) -> Arc<dyn Disk> {
    with_files(disk, move |file| Box::new(WatchedFile { file, hook: Arc::clone(&hook) }))
}

/// This disk, with something else for each file that is opened on it.
pub fn with_files(
    disk: Arc<dyn Disk>,
    wrap: impl Fn(Box<dyn File>) -> Box<dyn File> + Send + Sync + 'static,
) -> Arc<dyn Disk> {
    Arc::new(Wrapped { disk, wrap })
}

struct Wrapped<F> {
    disk: Arc<dyn Disk>,
    wrap: F,
}

impl<F: Fn(Box<dyn File>) -> Box<dyn File> + Send + Sync> Disk for Wrapped<F> {
    fn open(&self, path: &str) -> io::Result<Box<dyn File>> {
        self.disk.open(path).map(&self.wrap)
    }

    fn open_existing(&self, path: &str) -> io::Result<Box<dyn File>> {
        self.disk.open_existing(path).map(&self.wrap)
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

struct WatchedFile {
    file: Box<dyn File>,
    hook: DiskHook,
}

impl File for WatchedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        (self.hook)(DiskPoint::AppendBefore);
        self.file.append(bytes)?;
        (self.hook)(DiskPoint::AppendAfter);
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.hook)(DiskPoint::SyncBefore);
        self.file.sync()?;
        (self.hook)(DiskPoint::SyncAfter);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn each_append_and_sync_is_told_before_and_after() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (ear, beneath) = (Arc::clone(&told), SimDisk::new());
        let under = beneath.clone();
        // What the disk beneath holds at each point: told before is before, told after is after.
        let hook = move |point| {
            let length = under.read("a").map_or(0, |bytes| bytes.len());
            ear.lock().unwrap().push((point, length));
        };
        let disk = watched(Arc::new(beneath), Arc::new(hook));
        let mut file = disk.open("a").unwrap();
        file.append(b"12345").unwrap();
        file.rewrite(0, b"x").unwrap();
        file.sync().unwrap();
        let told = told.lock().unwrap().clone();
        assert_eq!(
            told,
            [
                (DiskPoint::AppendBefore, 0),
                (DiskPoint::AppendAfter, 5),
                (DiskPoint::SyncBefore, 5),
                (DiskPoint::SyncAfter, 5),
            ]
        );
        assert_eq!(disk.read("a").unwrap(), b"x2345");
    }

    #[test]
    fn what_failed_is_not_told_as_done() {
        struct Broken;
        impl File for Broken {
            fn append(&mut self, _: &[u8]) -> io::Result<()> {
                Err(io::Error::other("broken"))
            }
            fn reserve(&mut self, _: u64) -> io::Result<()> {
                Err(io::Error::other("broken"))
            }
            fn sync(&mut self) -> io::Result<()> {
                Err(io::Error::other("broken"))
            }
            fn len(&self) -> io::Result<u64> {
                Ok(0)
            }
            fn rewrite(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
                Ok(())
            }
            fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
            fn truncate(&mut self, _: u64) -> io::Result<()> {
                Ok(())
            }
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&told);
        let hook: DiskHook = Arc::new(move |point| ear.lock().unwrap().push(point));
        let mut file = WatchedFile { file: Box::new(Broken), hook };
        assert!(file.append(b"1").is_err() && file.sync().is_err());
        assert_eq!(*told.lock().unwrap(), [DiskPoint::AppendBefore, DiskPoint::SyncBefore]);
    }
}
