//! Snapshots: a fold's state at some sequence, so that a start need not fold from the first event.
//!
//! Invariant: a snapshot is only ever a shortcut. One that is damaged or of another fold version is
//! as good as none.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, replace};
use crate::journal::Seq;

const FOLDER: &str = "snapshots";
const MAGIC: &[u8; 8] = b"CBSNAP\x01\n";
/// Magic, CRC of all that follows, fold version, sequence, length of the name.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 4;
/// The folder is split by this many hex digits of the name's hash.
const FAN_OUT_DIGITS: usize = 2;

/// Why a snapshot could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("snapshot {path} cannot be read or written; check the disk and the folder's permissions")]
pub struct SnapshotError {
    /// The file or folder.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

/// The snapshots of one disk. A clone is cheap.
#[derive(Clone)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
}

impl Snapshots {
    /// The snapshots of a disk.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, SnapshotError> {
        disk.create_dir_all(FOLDER).map_err(at(FOLDER))?;
        Ok(Self { disk })
    }

    /// Keeps the state of a fold after event `at`, in place of an earlier one of the same name.
    /// Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses; the earlier snapshot then stands.
    pub fn put(&self, name: &str, at_seq: Seq, fold_version: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        let path = path(name);
        let (folder, _) = path.rsplit_once('/').unwrap_or((FOLDER, ""));
        self.disk.create_dir_all(folder).map_err(at(folder))?;
        let mut file = Vec::with_capacity(HEADER_BYTES + name.len() + bytes.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&fold_version.to_le_bytes());
        file.extend_from_slice(&at_seq.0.to_le_bytes());
        file.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(bytes);
        let crc = crc32fast::hash(&file[12..]);
        file[8..12].copy_from_slice(&crc.to_le_bytes());
        replace(&*self.disk, &path, &file).map_err(at(&path))
    }

    /// The snapshot of that name and the event it stands at; `None` when there is none of this fold
    /// version that can be trusted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn get(&self, name: &str, fold_version: u32) -> Result<Option<(Seq, Vec<u8>)>, SnapshotError> {
        let path = path(name);
        let file = match self.disk.read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let Some(snapshot) = parse(&file, name) else {
            tracing::warn!(path, name, "a snapshot is damaged; the state is folded from the journal instead");
            return Ok(None);
        };
        Ok((snapshot.fold_version == fold_version).then(|| (snapshot.at, snapshot.bytes.to_vec())))
    }

    /// The snapshot on this disk that stands at the latest event, and its name; damaged ones say
    /// nothing. Nothing is made.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn latest(disk: &dyn Disk) -> Result<Option<(Seq, String)>, SnapshotError> {
        let mut latest = None;
        for folder in disk.list(FOLDER).map_err(at(FOLDER))? {
            let folder = format!("{FOLDER}/{folder}");
            for name in disk.list(&folder).map_err(at(&folder))? {
                let path = format!("{folder}/{name}");
                let file = disk.read(&path).map_err(at(&path))?;
                latest = latest.max(stands_at(&file));
            }
        }
        Ok(latest)
    }

    /// Removes the snapshot of that name, if there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        let path = path(name);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }
}

struct Snapshot<'a> {
    at: Seq,
    fold_version: u32,
    bytes: &'a [u8],
}

/// Where a whole snapshot stands, and whose it is.
fn stands_at(file: &[u8]) -> Option<(Seq, String)> {
    let length = file.get(HEADER_BYTES - 4..HEADER_BYTES)?.try_into().ok()?;
    let name = file.get(HEADER_BYTES..)?.get(..u32::from_le_bytes(length) as usize)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let at = parse(file, &name)?.at;
    Some((at, name))
}

fn parse<'a>(file: &'a [u8], name: &str) -> Option<Snapshot<'a>> {
    let rest = file.strip_prefix(MAGIC)?;
    let (crc, rest) = rest.split_first_chunk()?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(rest) {
        return None;
    }
    let (fold_version, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (found, bytes) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (found == name.as_bytes()).then_some(Snapshot {
        at: Seq(u64::from_le_bytes(*at)),
        fold_version: u32::from_le_bytes(*fold_version),
        bytes,
    })
}

/// Names hold any character, so the file is named by their hash.
fn path(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!("{FOLDER}/{}/{hash}", &hash[..FAN_OUT_DIGITS])
}

fn at(path: &str) -> impl FnOnce(io::Error) -> SnapshotError + '_ {
    move |source| SnapshotError { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Loss, SimDisk};

    fn snapshots() -> (SimDisk, Snapshots) {
        let disk = SimDisk::new();
        (disk.clone(), Snapshots::open(Arc::new(disk)).unwrap())
    }

    #[test]
    fn the_latest_snapshot_survives_a_power_cut() {
        let (disk, snapshots) = snapshots();
        snapshots.put("run/a", Seq(7), 1, b"old").unwrap();
        snapshots.put("run/a", Seq(9), 1, b"new").unwrap();
        disk.power_cut(Loss::LoseUnsynced);
        assert_eq!(snapshots.get("run/a", 1).unwrap(), Some((Seq(9), b"new".to_vec())));
        assert_eq!(snapshots.get("run/b", 1).unwrap(), None);
    }

    #[test]
    fn another_fold_version_is_as_good_as_none() {
        let (_, snapshots) = snapshots();
        snapshots.put("a", Seq(7), 1, b"x").unwrap();
        assert_eq!(snapshots.get("a", 2).unwrap(), None);
    }

    #[test]
    fn damage_at_any_byte_is_as_good_as_none() {
        let (disk, snapshots) = snapshots();
        snapshots.put("run/a", Seq(7), 1, b"state").unwrap();
        let path = path("run/a");
        for offset in 0..disk.read(&path).unwrap().len() as u64 {
            disk.flip(&path, offset);
            assert_eq!(snapshots.get("run/a", 1).unwrap(), None, "byte {offset}");
            disk.flip(&path, offset);
        }
        assert!(snapshots.get("run/a", 1).unwrap().is_some());
    }

    #[test]
    fn the_latest_of_all_is_found_and_a_damaged_one_says_nothing() {
        let (disk, snapshots) = snapshots();
        assert_eq!(Snapshots::latest(&disk).unwrap(), None);
        for (name, at) in [("run/a", 7), ("ledger/main", 12), ("run/b", 9)] {
            snapshots.put(name, Seq(at), 1, b"state").unwrap();
        }
        assert_eq!(Snapshots::latest(&disk).unwrap(), Some((Seq(12), "ledger/main".to_owned())));
        disk.flip(&path("ledger/main"), 20);
        assert_eq!(Snapshots::latest(&disk).unwrap(), Some((Seq(9), "run/b".to_owned())));
    }

    #[test]
    fn a_removed_snapshot_is_gone() {
        let (_, snapshots) = snapshots();
        snapshots.put("a", Seq(7), 1, b"x").unwrap();
        snapshots.remove("a").unwrap();
        snapshots.remove("a").unwrap();
        assert_eq!(snapshots.get("a", 1).unwrap(), None);
    }
}
