//! The book of a server that stands outside the system: JSON lines in a file of its own.
//!
//! Invariant: a line is in the file, with its time, before the call that writes it returns; so a book
//! never holds less than what its server has said to anybody.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use actors::world::World;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One line of a book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<T> {
    /// When it was written, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// What happened.
    #[serde(flatten)]
    pub entry: T,
}

/// A book could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("the ledger {path} cannot be used")]
pub struct LedgerError {
    /// Its file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// A server's own book, on disk.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    world: World,
    file: Mutex<std::fs::File>,
}

impl Ledger {
    /// Opens the book at `path`, and goes on where it ends.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be opened.
    pub fn open(path: &Path, world: World) -> Result<Self, LedgerError> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| LedgerError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), world, file: Mutex::new(file) })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be written.
    pub fn write<T: Serialize>(&self, entry: T) -> Result<(), LedgerError> {
        let fail = |source| LedgerError { path: self.path.clone(), source };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken in here, so that it never goes back from line to line.
        let mut line = serde_json::to_string(&Line { at_us: self.world.now().micros(), entry })
            .map_err(|error| fail(error.into()))?;
        line.push('\n');
        file.write_all(line.as_bytes()).map_err(fail)
    }
}

/// The lines of the book at `path`; none where there is no book yet. A last line that is still being
/// written is left out.
///
/// # Errors
/// [`LedgerError`] when the book cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<Line<T>>, LedgerError> {
    let fail = |source| LedgerError { path: path.to_owned(), source };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(|error| fail(error.into()))).collect()
}

#[cfg(test)]
mod tests {
    use actors::transport;

    use super::*;

    #[test]
    fn a_book_goes_on_where_it_ends_and_a_half_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.jsonl");
        assert_eq!(read::<serde_json::Value>(&path).unwrap(), []);
        for n in 0..2 {
            let ledger = Ledger::open(&path, World::simulated(1, transport::unplugged())).unwrap();
            ledger.write(serde_json::json!({ "n": n })).unwrap();
        }
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at_us\":1,\"n\"").unwrap();
        let lines = read::<serde_json::Value>(&path).unwrap();
        assert_eq!(lines.iter().map(|line| line.entry["n"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
        assert!(lines[0].at_us > 0);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read::<serde_json::Value>(&path).unwrap_err().to_string().contains("book.jsonl"));
    }
}
