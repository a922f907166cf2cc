//! The seal of a closed folder: every file's length and checksum, so that the
//! next start knows whether the folder is as it was left.
//!
//! Invariant: a seal is broken by opening, so that it never speaks for a folder
//! that somebody has written to since. A folder that was not closed has none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const SEAL: &str = "callboard.seal";
const READ_BYTES: usize = 1 << 20;

/// What a folder's seal says when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Every byte is as it was left.
    Intact,
    /// The folder was changed after it was closed.
    Broken,
    /// The folder was never closed, or is new.
    Absent,
}

/// Seals `folder`, which nobody has open any more.
///
/// # Errors
/// When a file cannot be read, or the seal not written.
pub fn close(folder: &Path) -> io::Result<()> {
    let seal = describe(folder)?;
    fs::write(folder.join(SEAL), seal)
}

/// Takes the seal off `folder` and says what it told. An unreadable folder
/// counts as broken.
pub fn open(folder: &Path) -> Seal {
    let path = folder.join(SEAL);
    let seal = match fs::read_to_string(&path) {
        Ok(seal) => seal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Seal::Absent,
        Err(_) => return Seal::Broken,
    };
    let removed = fs::remove_file(&path).is_ok();
    if removed && describe(folder).is_ok_and(|found| found == seal) { Seal::Intact } else { Seal::Broken }
}

/// The length of every file in `folder`, by its path within it.
///
/// # Errors
/// When the folder cannot be read.
pub fn lengths(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap_or(&path);
                found.insert(name.display().to_string(), entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

fn describe(folder: &Path) -> io::Result<String> {
    let mut description = String::new();
    for (name, length) in lengths(folder)? {
        let sum = checksum(&folder.join(&name))?;
        description.push_str(&format!("{sum:08x} {length} {name}\n"));
    }
    Ok(description)
}

fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..read]);
    }
}
