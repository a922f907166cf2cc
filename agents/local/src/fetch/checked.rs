//! Whether a file is the pinned one. Invariant: a file counts as checked only
//! while its size and time of change are those it had when its hash was right.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

const READ_BYTES: usize = 1 << 20;

/// Copies `from` to `to` and returns the SHA-256 of what passed.
pub(super) fn copy_hashed(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok(hex(&hash.finalize()));
        };
        hash.update(piece);
        to.write_all(piece)?;
    }
}

/// The SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    copy_hashed(&mut File::open(path)?, &mut io::sink())
}

/// Whether the file is there with this hash. A note beside it spares hashing
/// a hundred megabytes at each start.
pub(super) fn is_checked(path: &Path, sha256_expected: &str) -> io::Result<bool> {
    let note_expected = match note(path, sha256_expected) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        note => note?,
    };
    if fs::read_to_string(note_path(path)).is_ok_and(|found| found == note_expected) {
        return Ok(true);
    }
    let right = sha256(path)? == sha256_expected;
    if right {
        remember(path, sha256_expected);
    }
    Ok(right)
}

/// Notes that the file was found right. Failing to is harmless: it is hashed again.
pub(super) fn remember(path: &Path, sha256: &str) {
    let written = note(path, sha256).and_then(|note| fs::write(note_path(path), note));
    if let Err(error) = written {
        tracing::debug!(%error, file = %path.display(), "the file will be hashed again at the next start");
    }
}

fn note(path: &Path, sha256: &str) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    let changed = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{sha256} {} {}\n", meta.len(), changed.as_nanos()))
}

fn note_path(path: &Path) -> PathBuf {
    path.with_added_extension("checked")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
