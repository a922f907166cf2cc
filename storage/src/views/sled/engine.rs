//! One open sled folder.
//!
//! Invariant: no panic of sled's leaves this file, and a folder that ever failed
//! to read is not sealed but condemned.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use super::refused;
use super::tally::{Content, Tally};
use crate::journal::Seq;
use crate::views::ShelfError;
use crate::views::seal::{self, Seal};

/// How often sled writes what it holds back. Longer loses more to a crash, which
/// then is folded again; shorter wakes an idle process.
const FLUSH_EVERY_MS: u64 = 500;
/// Between two tries at a folder that is locked.
const LOCK_TRY_EVERY: std::time::Duration = std::time::Duration::from_millis(20);
/// Together a second.
const LOCK_TRIES_MAX: u32 = 50;

const CONDEMNED: &str = "callboard.damaged";

/// Where a shelf's tally is; entries are kept under keys that begin with
/// [`ENTRY`].
pub(super) const TALLY: &[u8] = &[0];
/// See [`TALLY`].
pub(super) const ENTRY: u8 = 1;

pub(super) struct Engine {
    path: PathBuf,
    db: Option<::sled::Db>,
    failed: AtomicBool,
}

impl Engine {
    /// Opens the folder and makes sure of what is in it: by its seal, or by
    /// counting every shelf through.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, ShelfError> {
        if let Some(reason) = condemned(path) {
            return Err(damaged("all", reason));
        }
        let as_left = seal::open(path) == Seal::Intact;
        let config = ::sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = unlocked(path, &config)?;
        for name in db.tree_names() {
            let label = String::from_utf8_lossy(&name).into_owned();
            if name == DEFAULT_TREE {
                continue;
            }
            let found = caught(path, &label, || {
                let tree = db.open_tree(&name)?;
                verify(&tree, as_left)
            })?;
            if let Some(reason) = found {
                return Err(damaged(&label, reason.to_owned()));
            }
        }
        Ok(Self { path: path.to_owned(), db: Some(db), failed: AtomicBool::new(false) })
    }

    /// The sequence of every shelf that has one.
    pub(super) fn reached(&self) -> Result<BTreeMap<String, Seq>, ShelfError> {
        self.run("all", |db| {
            let mut reached = BTreeMap::new();
            for name in db.tree_names().into_iter().filter(|name| name != DEFAULT_TREE) {
                let tally = db.open_tree(&name)?.get(TALLY)?;
                if let Some(seq) = tally.and_then(|tally| Tally::decode(&tally)?.sequence) {
                    reached.insert(String::from_utf8_lossy(&name).into_owned(), seq);
                }
            }
            Ok(reached)
        })
    }

    /// Runs `call` on the open database. Whatever goes wrong but the disk's own
    /// refusal condemns the folder.
    pub(super) fn run<T>(
        &self,
        shelf: &str,
        call: impl FnOnce(&::sled::Db) -> ::sled::Result<T>,
    ) -> Result<T, ShelfError> {
        let Some(db) = &self.db else {
            return Err(damaged(shelf, "it is being closed".to_owned()));
        };
        caught(&self.path, shelf, || call(db)).inspect_err(|error| {
            let first = !self.failed.swap(true, Ordering::Relaxed);
            if let (true, ShelfError::Damaged { reason, .. }) = (first, error) {
                tracing::warn!(shelf, reason, "a view cannot be read");
                condemn(&self.path, reason);
            }
        })
    }
}

/// Opens the database, waiting a little for one that was just closed: sled's own
/// threads let go of the lock some time after the last handle is dropped.
pub(super) fn unlocked(path: &Path, config: &::sled::Config) -> Result<::sled::Db, ShelfError> {
    for _ in 0..LOCK_TRIES_MAX {
        match caught(path, "all", || config.open()) {
            Err(ShelfError::Locked { .. }) => std::thread::sleep(LOCK_TRY_EVERY),
            opened => return opened,
        }
    }
    caught(path, "all", || config.open())
}

impl Drop for Engine {
    fn drop(&mut self) {
        let flushed = self.run("all", |db| db.flush());
        let db = self.db.take();
        let closed = caught(&self.path, "all", || {
            drop(db);
            Ok(())
        });
        if flushed.is_ok() && closed.is_ok() && !*self.failed.get_mut() {
            // Without a seal the next start counts the shelves through, no more.
            if let Err(error) = seal::close(&self.path) {
                tracing::debug!(path = %self.path.display(), %error, "the views were not sealed");
            }
        }
    }
}

/// Notes that the folder is not to be trusted again, and why.
fn condemn(folder: &Path, reason: &str) {
    if let Err(error) = fs::write(folder.join(CONDEMNED), reason) {
        tracing::warn!(folder = %folder.display(), %error, "damaged views could not be marked");
    }
}

/// Why the folder is not to be trusted, when that was noted.
fn condemned(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(CONDEMNED)).ok()
}

/// sled makes this tree by itself; nothing is kept in it.
const DEFAULT_TREE: &[u8] = b"__sled__default";

/// What is wrong with a shelf, if anything is.
fn verify(tree: &::sled::Tree, as_left: bool) -> ::sled::Result<Option<&'static str>> {
    let Some(tally) = tree.get(TALLY)? else {
        return Ok((!tree.is_empty()).then_some("its tally is missing"));
    };
    let Some(tally) = Tally::decode(&tally) else {
        return Ok(Some("its tally cannot be read"));
    };
    if as_left {
        return Ok(None);
    }
    let mut counted = Content::default();
    for entry in tree.range([ENTRY]..) {
        let (key, value) = entry?;
        counted.add(&key[1..], &value);
    }
    Ok((counted != tally.content).then_some("its content does not match its tally"))
}

fn caught<T>(path: &Path, shelf: &str, call: impl FnOnce() -> ::sled::Result<T>) -> Result<T, ShelfError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(::sled::Error::Io(source))) if is_lock(&source) => {
            Err(ShelfError::Locked { path: path.display().to_string() })
        }
        Ok(Err(::sled::Error::Io(source))) if is_refusal(source.kind()) => Err(refused(path, source)),
        Ok(Err(error)) => Err(damaged(shelf, error.to_string())),
        Err(panic) => {
            let message =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(damaged(shelf, message.unwrap_or("a panic").to_owned()))
        }
    }
}

/// sled 0.34 tells a held lock by its words alone.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// The disk's refusals, which deleting the views would not cure. Other failures
/// to read, such as an early end of the file, are damage.
fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::PermissionDenied
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::OutOfMemory
            | Kind::Interrupted
            | Kind::NotADirectory
            | Kind::AlreadyExists
    )
}

fn damaged(shelf: &str, reason: String) -> ShelfError {
    ShelfError::Damaged { shelf: shelf.to_owned(), reason }
}
