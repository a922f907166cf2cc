//! The disk as it is: files under one root folder.
//!
//! Invariant: a lock is held by at most one process, and falls with it.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Disk, File};

/// Files under a root folder.
#[derive(Debug, Clone)]
pub struct FileDisk {
    root: PathBuf,
}

impl FileDisk {
    /// The disk whose root is this folder, which is made with the first folder in it.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Disk for FileDisk {
    fn open(&self, path: &str) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.at(path))?;
        RealFile::boxed(file)
    }

    fn open_existing(&self, path: &str) -> io::Result<Box<dyn File>> {
        RealFile::boxed(fs::File::open(self.at(path))?)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        fs::exists(self.at(path))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.at(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.at(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let target = self.at(dir);
        if target.is_dir() {
            return Ok(());
        }
        // The nearest folder that stands is where the first new name goes.
        let standing = target.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_path_buf);
        fs::create_dir_all(&target)?;
        for made in target.ancestors().skip(1) {
            sync_folder(made)?;
            if standing.as_deref() == Some(made) {
                break;
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_folder(&self.at(dir))
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.at(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                let holder = if holder.is_empty() { "an unknown process".to_owned() } else { holder };
                return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("held by {holder}")));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whom to name to the second opener; the lock itself is the kernel's, so a full disk does
        // not matter here.
        let _ = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id()));
        Ok(Box::new(file))
    }

    fn entropy(&self, buffer: &mut [u8]) -> io::Result<()> {
        fs::File::open("/dev/urandom")?.read_exact(buffer)
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    // An empty path is the folder that the process stands in.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::File::open(path)?.sync_all()
}

/// Zeros that are written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Not opened in append mode, in which Linux ignores the offsets of positioned writes; so the end
/// is kept here.
struct RealFile {
    file: fs::File,
    end: u64,
    /// Where the zeros end that were reserved; never before the end.
    reserved: u64,
}

impl RealFile {
    fn boxed(file: fs::File) -> io::Result<Box<dyn File>> {
        let end = file.metadata()?.len();
        Ok(Box::new(Self { file, end, reserved: end }))
    }
}

impl File for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.reserved = self.reserved.max(self.end);
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        while self.reserved < self.end + bytes {
            let missing = usize::try_from(self.end + bytes - self.reserved).unwrap_or(usize::MAX);
            let zeros = &ZEROS[..missing.min(ZEROS.len())];
            self.file.write_all_at(zeros, self.reserved)?;
            self.reserved += zeros.len() as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        (self.end, self.reserved) = (length, length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::replace;

    #[test]
    fn appends_rewrites_truncates_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(folder.path().join("deep/root"));
        disk.create_dir_all("d").unwrap();
        let mut file = disk.open("d/a").unwrap();
        file.append(b"12345").unwrap();
        file.rewrite(1, b"xy").unwrap();
        file.truncate(4).unwrap();
        file.append(b"z").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read("d/a").unwrap(), b"1xy4z");
        replace(&disk, "d/a", b"new").unwrap();
        assert_eq!(disk.read("d/a").unwrap(), b"new");
        assert_eq!(disk.list("d").unwrap(), ["a"]);
        assert_eq!(disk.list("absent").unwrap(), Vec::<String>::new());
        assert!(disk.open_existing("d/b").is_err());
    }

    #[test]
    fn what_is_reserved_is_zeros_until_it_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(folder.path());
        let mut file = disk.open("a").unwrap();
        file.append(b"12").unwrap();
        file.reserve(4).unwrap();
        file.append(b"3").unwrap();
        assert_eq!(disk.read("a").unwrap(), b"123\0\0\0");
        file.reserve(200_000).unwrap();
        assert_eq!(file.len().unwrap(), 200_003);
        file.reserve(1).unwrap();
        assert_eq!(file.len().unwrap(), 200_003, "there is more already");
        file.truncate(3).unwrap();
        file.append(b"4").unwrap();
        assert_eq!(disk.read("a").unwrap(), b"1234");
    }

    #[test]
    fn the_second_locker_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(folder.path());
        let lock = disk.lock("lock").unwrap();
        let refusal = disk.lock("lock").err().unwrap();
        assert_eq!(refusal.to_string(), format!("held by process {}", std::process::id()));
        drop(lock);
        disk.lock("lock").unwrap();
    }
}
