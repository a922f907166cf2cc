//! The record of a commit: which sequence the shard holds, and how long its
//! files were then.
//!
//! Invariant: written only after a flush; on any doubt it reads as missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use storage::disk::{self, Disk};
use storage::journal::Seq;
use storage::views::seal;

const FILE: &str = "sequence";
/// The shard's folder of vectors and payloads, whose files only grow.
const SEGMENTS: &str = "segments";
/// The shard's folder with its own log, which numbers its operations: without
/// it, new ones would pass for old ones and be skipped.
const LOG: &str = "wal";

#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) sequence: Seq,
    dimension: usize,
    files: BTreeMap<String, u64>,
}

impl Record {
    /// Describes `shard`, which was just flushed.
    pub(crate) fn of(shard: &Path, dimension: usize, sequence: Seq) -> io::Result<Self> {
        Ok(Self { sequence, dimension, files: seal::lengths(&shard.join(SEGMENTS))? })
    }

    /// Whether `shard` can still hold what it held.
    pub(crate) fn describes(&self, shard: &Path, dimension: usize) -> bool {
        let Ok(found) = seal::lengths(&shard.join(SEGMENTS)) else {
            return false;
        };
        let whole = self.files.iter().all(|(name, length)| found.get(name).is_some_and(|now| now >= length));
        let log = seal::lengths(&shard.join(LOG)).is_ok_and(|files| !files.is_empty());
        whole && log && self.dimension == dimension
    }

    pub(crate) fn read(disk: &dyn Disk) -> Option<Self> {
        let text = String::from_utf8(disk.read(FILE).ok()?).ok()?;
        let (sum, json) = text.split_once('\n')?;
        if sum != checksum(json) {
            return None;
        }
        serde_json::from_str(json).ok()
    }

    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let json = serde_json::to_string(self)?;
        let text = format!("{}\n{json}", checksum(&json));
        disk::replace(disk, FILE, text.as_bytes())
    }
}

pub(crate) fn remove(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| disk.sync_dir("")),
    }
}

/// Removes from the shard's log what a flush has made needless: the engine itself
/// never does, and never reads it again. Its last closed part stays, since that
/// tells where the numbers go on.
pub(crate) fn trim_log(shard: &Path) -> io::Result<()> {
    let log = shard.join(LOG);
    let number = |name: &str| name.strip_prefix("closed-")?.parse::<u64>().ok();
    let mut closed: Vec<u64> = seal::lengths(&log)?.keys().filter_map(|name| number(name)).collect();
    closed.sort_unstable();
    closed.pop();
    for number in closed {
        fs::remove_file(log.join(format!("closed-{number}")))?;
    }
    Ok(())
}

fn checksum(json: &str) -> String {
    format!("{:08x}", crc32fast::hash(json.as_bytes()))
}
