//! A folder of large files shared by many processes. Invariant: a file is seen
//! under its name only when it is whole and synced; what a killed process
//! leaves behind is swept by the next holder of the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a waiting process looks whether the folder is free.
const LOCK_POLL: Duration = Duration::from_millis(100);
const LOCK_NAME: &str = ".lock";
const SCRATCH_NAME: &str = ".making";

/// Why a file operation failed: which, on which path, and why.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk or the quota is full.
    #[error("no space is left for {path}; free some, or choose another cache folder")]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// Another process kept the folder for longer than allowed.
    #[error("another process has held {path} for {waited:?}; let it finish or stop it")]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// Anything else.
    #[error("cannot {action} {path}: {error}")]
    Io {
        /// A verb: "write", "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Turns an I/O error into a [`CacheError`] that names the path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CacheError::Full { path: path.into() },
        _ => CacheError::Io { action, path: path.into(), error },
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder, making it where it is missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, CacheError> {
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        Ok(Self { folder: folder.into() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Becomes the one writer of the folder, waiting at most `wait_max` and
    /// calling `waiting` at each look.
    pub(crate) fn lock(&self, wait_max: Duration, waiting: &mut dyn FnMut()) -> Result<CacheLock<'_>, CacheError> {
        let path = self.path(LOCK_NAME);
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed("open", &path))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return CacheLock::sweep(self, file),
                Err(TryLockError::WouldBlock) if waited < wait_max => {
                    waiting();
                    std::thread::sleep(LOCK_POLL);
                    waited += LOCK_POLL;
                }
                Err(TryLockError::WouldBlock) => return Err(CacheError::Busy { path, waited }),
                Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
            }
        }
    }
}

/// The right to write into the folder, and an empty scratch folder on the same
/// file system. Dropping it empties the scratch folder and lets the next one in.
#[derive(Debug)]
pub(crate) struct CacheLock<'a> {
    cache: &'a Cache,
    scratch: PathBuf,
    _file: File,
}

impl<'a> CacheLock<'a> {
    fn sweep(cache: &'a Cache, file: File) -> Result<Self, CacheError> {
        let scratch = cache.path(SCRATCH_NAME);
        match fs::remove_dir_all(&scratch) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed("empty", &scratch)(source)),
            _ => {}
        }
        fs::create_dir(&scratch).map_err(failed("make", &scratch))?;
        Ok(Self { cache, scratch, _file: file })
    }

    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Moves a finished file of the scratch folder to its name.
    pub(crate) fn adopt(&self, made: &Path, name: &str) -> Result<PathBuf, CacheError> {
        let target = self.cache.path(name);
        File::open(made).and_then(|file| file.sync_all()).map_err(failed("sync", made))?;
        fs::rename(made, &target).map_err(failed("write", &target))?;
        // Without this a power cut may forget the new name.
        File::open(&self.cache.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync", &self.cache.folder))?;
        Ok(target)
    }
}

impl Drop for CacheLock<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.scratch) {
            tracing::debug!(%error, folder = %self.scratch.display(), "the next fetch will sweep this folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_kept_out_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let first = cache.lock(Duration::ZERO, &mut || ()).unwrap();
        let refused = cache.lock(Duration::ZERO, &mut || ()).unwrap_err();
        assert!(matches!(refused, CacheError::Busy { .. }), "{refused}");
        drop(first);
        assert!(cache.lock(Duration::ZERO, &mut || ()).is_ok());
    }

    #[test]
    fn what_a_killed_writer_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let left = folder.path().join(SCRATCH_NAME);
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), b"ha").unwrap();
        let lock = cache.lock(Duration::ZERO, &mut || ()).unwrap();
        assert_eq!(fs::read_dir(lock.scratch()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let error = failed("write", Path::new("model"))(io::ErrorKind::StorageFull.into());
        assert_eq!(error.to_string(), "no space is left for model; free some, or choose another cache folder");
    }
}
