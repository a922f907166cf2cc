//! A disk that lies the way real ones do: it keeps what was synced, and loses, tears or fails the
//! rest on demand.
//!
//! Invariant: the same calls and the same seeds give the same bytes; nothing that was synced is
//! ever lost by a power cut.

pub mod content;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::content::{Content, Dice};
use self::file::SimFile;
use super::{Disk, File, parent};

/// What a power cut does to that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Only the process dies: the system's cache, and so everything written, stays (`kill -9`).
    KeepAll,
    /// All of it is gone.
    LoseUnsynced,
    /// Of each 512-byte sector and each new name, the seed decides: kept, zeros, garbage or gone.
    Torn {
        /// Decides what is kept.
        seed: u64,
    },
}

/// A kind of operation, for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// Appending; half of the bytes arrive before it fails.
    Append,
    /// Reserving room behind the end; none arrives.
    Reserve,
    /// Syncing a file.
    Sync,
    /// Syncing a folder.
    SyncDir,
    /// Reading.
    Read,
    /// Truncating.
    Truncate,
    /// Renaming or removing.
    Rename,
}

/// How much was done since the disk was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// File syncs that succeeded.
    pub syncs: u64,
    /// Folder syncs that succeeded.
    pub folder_syncs: u64,
    /// Appends that succeeded.
    pub appends: u64,
    /// Operations that change something, failed ones included: the places where
    /// [`SimDisk::power_off_after`] can strike.
    pub changes: u64,
    /// Those, and those that only read.
    pub operations: u64,
}

/// A simulated disk. Clones share their state, so a clone outlives the system under test and serves
/// the next one.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

type FileId = u64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(FileId),
}

#[derive(Default)]
struct State {
    files: BTreeMap<FileId, Content>,
    names: BTreeMap<String, Entry>,
    names_durable: BTreeMap<String, Entry>,
    file_next: FileId,
    /// Counts power cuts: handles and locks of an earlier life are dead.
    life: u64,
    locks: BTreeSet<String>,
    capacity: Option<u64>,
    used: u64,
    counters: Counters,
    faults: BTreeMap<Operation, u64>,
    power_off_at: Option<u64>,
    entropy_drawn: u64,
}

impl SimDisk {
    /// An empty disk of boundless capacity.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power and turns it on again: open handles and locks die, and what was not synced
    /// suffers the loss. Planned faults are forgotten.
    pub fn power_cut(&self, loss: Loss) {
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
        state.faults.clear();
        state.power_off_at = None;
        if loss == Loss::KeepAll {
            return;
        }
        let mut dice = Dice::new(match loss {
            Loss::Torn { seed } => seed,
            _ => 0,
        });
        let torn = matches!(loss, Loss::Torn { .. });
        state.lose_names(torn, &mut dice);
        for content in state.files.values_mut() {
            if torn { content.tear(&mut dice) } else { content.revert() }
        }
        state.forget_orphans();
    }

    /// Bounds the bytes of all files together; appending past it fails with `StorageFull` after as
    /// much as fits. `None` lifts the bound.
    pub fn set_capacity(&self, bytes_max: Option<u64>) {
        self.state().capacity = bytes_max;
    }

    /// Bytes that all files hold together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// The next file sync fails; what it should have kept is lost even if a later sync succeeds, as
    /// on Linux.
    pub fn fail_next_sync(&self) {
        self.fail_nth(Operation::Sync, 1);
    }

    /// The nth next operation of this kind (1 is the very next) fails with an I/O error.
    pub fn fail_nth(&self, operation: Operation, nth: u64) {
        self.state().faults.insert(operation, nth);
    }

    /// Lets this many changes through; then the power is off, and all fails until
    /// [`SimDisk::power_cut`] says what is lost.
    pub fn power_off_after(&self, changes: u64) {
        let mut state = self.state();
        state.power_off_at = Some(state.counters.changes + changes);
    }

    /// Flips all bits of one byte of a file, behind everyone's back and durably. Does nothing where
    /// there is no such byte.
    pub fn flip(&self, path: &str, offset: u64) {
        let mut state = self.state();
        if let Some(Entry::File(id)) = state.names.get(path).copied()
            && let Some(content) = state.files.get_mut(&id)
        {
            content.flip(offset);
        }
    }

    /// Replaces a file's content behind everyone's back, durably: for tests that forge files.
    pub fn forge(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let id = state.create(path);
        state.names_durable.insert(path.to_owned(), Entry::File(id));
        let before = state.files.get(&id).map_or(0, Content::len);
        state.used = state.used - before + bytes.len() as u64;
        state.files.insert(id, Content::durable(bytes));
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change below is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn create(&mut self, path: &str) -> FileId {
        if let Some(Entry::File(id)) = self.names.get(path) {
            return *id;
        }
        self.file_next += 1;
        self.files.insert(self.file_next, Content::default());
        self.names.insert(path.to_owned(), Entry::File(self.file_next));
        self.file_next
    }

    fn file(&self, path: &str) -> io::Result<FileId> {
        match self.names.get(path) {
            Some(Entry::File(id)) => Ok(*id),
            Some(Entry::Folder) => Err(io::Error::new(io::ErrorKind::IsADirectory, format!("{path} is a folder"))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("{path} is not on the simulated disk"))),
        }
    }

    fn handle(&self, disk: &SimDisk, id: FileId) -> Box<dyn File> {
        let end = self.files.get(&id).map_or(0, Content::len);
        Box::new(SimFile { disk: disk.clone(), id, life: self.life, end })
    }

    /// Writes at an offset as much as there is room for; returns how much that was.
    fn write(&mut self, id: FileId, offset: u64, bytes: &[u8]) -> usize {
        let Some(content) = self.files.get_mut(&id) else { return bytes.len() };
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used));
        let before = content.len();
        // What lies within the file has its room already.
        let free = room.saturating_add(before.saturating_sub(offset));
        let written = bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX));
        content.write(usize::try_from(offset).unwrap_or(usize::MAX), &bytes[..written]);
        self.used += content.len() - before;
        written
    }

    /// Counts an operation; fails it when the power is off or a planned fault strikes.
    fn admit(&mut self, operation: Operation) -> io::Result<()> {
        self.count(operation)?;
        self.strike(operation)
    }

    fn count(&mut self, operation: Operation) -> io::Result<()> {
        if operation != Operation::Read {
            if self.power_off_at.is_some_and(|at| self.counters.changes >= at) {
                return Err(io::Error::other("the simulated power is off"));
            }
            self.counters.changes += 1;
        }
        self.counters.operations += 1;
        Ok(())
    }

    fn strike(&mut self, operation: Operation) -> io::Result<()> {
        if let Some(left) = self.faults.get_mut(&operation) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.faults.remove(&operation);
                return Err(io::Error::other(format!("simulated I/O error ({operation:?})")));
            }
        }
        Ok(())
    }

    fn lose_names(&mut self, torn: bool, dice: &mut Dice) {
        let changed: BTreeSet<String> = self.names.keys().chain(self.names_durable.keys()).cloned().collect();
        for path in changed {
            let (new, old) = (self.names.get(&path).copied(), self.names_durable.get(&path).copied());
            let keep_new = new == old || (torn && dice.below(2) == 0);
            match if keep_new { new } else { old } {
                Some(entry) => self.names_durable.insert(path, entry),
                None => self.names_durable.remove(&path),
            };
        }
        // What lies in a lost folder is lost with it.
        let kept = self.names_durable.clone();
        self.names_durable.retain(|path, _| ancestors(path).all(|folder| kept.contains_key(folder)));
        self.names = self.names_durable.clone();
    }

    fn forget_orphans(&mut self) {
        let named: BTreeSet<FileId> = self
            .names
            .values()
            .filter_map(|entry| match entry {
                Entry::File(id) => Some(*id),
                Entry::Folder => None,
            })
            .collect();
        self.files.retain(|id, _| named.contains(id));
        self.used = self.files.values().map(Content::len).sum();
    }

    fn drop_name(&mut self, path: &str) {
        if let Some(Entry::File(id)) = self.names.remove(path) {
            // A move of which one folder only was synced leaves two names after a power cut.
            if self.names.values().any(|entry| *entry == Entry::File(id)) {
                return;
            }
            // The content stays until a power cut, because the durable names may still show it; it
            // takes no room.
            self.used -= self.files.get(&id).map_or(0, Content::len);
        }
    }
}

/// The folders above a path, nearest first, without the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/'), |(above, _)| above.rsplit_once('/')).map(|(above, _)| above)
}

impl Disk for SimDisk {
    fn open(&self, path: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.admit(Operation::Open)?;
        let folder = parent(path);
        if !folder.is_empty() && state.names.get(folder) != Some(&Entry::Folder) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{folder} is not on the simulated disk")));
        }
        if !state.names.contains_key(path) {
            state.create(path);
        }
        let id = state.file(path)?;
        Ok(state.handle(self, id))
    }

    fn open_existing(&self, path: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.admit(Operation::Read)?;
        let id = state.file(path)?;
        Ok(state.handle(self, id))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(path.is_empty() || self.state().names.contains_key(path))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.admit(Operation::Read)?;
        let id = state.file(path)?;
        Ok(state.files.get(&id).map(|content| content.bytes().to_vec()).unwrap_or_default())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.admit(Operation::Read)?;
        let inside = state.names.keys().filter(|path| !path.is_empty() && parent(path) == dir);
        Ok(inside.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Operation::Rename)?;
        let id = state.file(from)?;
        state.drop_name(to);
        state.names.remove(from);
        state.names.insert(to.to_owned(), Entry::File(id));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Operation::Rename)?;
        state.file(path)?;
        state.drop_name(path);
        Ok(())
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() || self.exists(dir)? {
            return Ok(());
        }
        let mut state = self.state();
        state.admit(Operation::SyncDir)?;
        for folder in ancestors(dir).chain([dir]) {
            state.names.insert(folder.to_owned(), Entry::Folder);
            state.names_durable.insert(folder.to_owned(), Entry::Folder);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Operation::SyncDir)?;
        let state = &mut *state;
        state.names_durable.retain(|path, _| parent(path) != dir || state.names.contains_key(path));
        let inside = state.names.iter().filter(|(path, _)| parent(path) == dir);
        state.names_durable.extend(inside.map(|(path, entry)| (path.clone(), *entry)));
        state.counters.folder_syncs += 1;
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send>> {
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "held by another user of the simulated disk"));
        }
        Ok(Box::new(Lock { disk: self.clone(), path: path.to_owned(), life: state.life }))
    }

    fn entropy(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.entropy_drawn += 1;
        let mut dice = Dice::new(state.entropy_drawn);
        buffer.fill_with(|| dice.byte());
        Ok(())
    }
}

struct Lock {
    disk: SimDisk,
    path: String,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}
