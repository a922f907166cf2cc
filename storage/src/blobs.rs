//! Large and personal payloads: content-addressed files, encrypted with one key per subject.
//!
//! Invariant: what [`Blobs::put`] returned is durable until its subject is erased; after
//! [`Blobs::erase`] nothing can decrypt it, because the key existed only here. Equal content under
//! two subjects shares nothing.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::disk::{Disk, replace};

/// The subject of payloads that are about nobody. It cannot be erased.
pub const NOBODY: &str = "";

const FOLDER: &str = "blobs";
const HASH_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Tells an erased subject from one whose files are lost.
const ERASED_MARK: &str = "erased";
const KEY_FILE: &str = "key";

/// The address of a blob: its subject and its content, both hashed, the content under the subject's
/// key, so that nobody without the key can tell what is in it by guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId {
    subject: [u8; HASH_BYTES],
    content: [u8; HASH_BYTES],
}

impl BlobId {
    /// Length of an address in bytes.
    pub const BYTES: usize = 2 * HASH_BYTES;

    /// The address as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..HASH_BYTES].copy_from_slice(&self.subject);
        bytes[HASH_BYTES..].copy_from_slice(&self.content);
        bytes
    }

    /// Reads an address; `None` when the length is wrong.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (subject, content) = bytes.split_at_checked(HASH_BYTES)?;
        Some(Self { subject: subject.try_into().ok()?, content: content.try_into().ok()? })
    }

    fn path(&self) -> String {
        format!("{}/{}", folder(&self.subject), blake3::Hash::from_bytes(self.content))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path())
    }
}

/// Why a blob could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The subject was erased.
    #[error("the subject of {id} was erased")]
    Erased {
        /// The blob.
        id: BlobId,
    },
    /// The file or its key is gone, and not by erasure.
    #[error("{id} is missing; restore it from a backup")]
    Missing {
        /// The blob.
        id: BlobId,
    },
    /// The file does not decrypt.
    #[error("{id} is damaged; restore it from a backup")]
    Damaged {
        /// The blob.
        id: BlobId,
    },
    /// Payloads about nobody cannot be erased.
    #[error("payloads without a subject cannot be erased; name the subject")]
    Nobody,
    /// The disk refused.
    #[error("{path} cannot be read or written")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BlobError {
    /// Whether there was no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::disk::is_full(source))
    }
}

/// The blobs of one disk. A clone is cheap and shares the state.
#[derive(Clone)]
pub struct Blobs {
    disk: Arc<dyn Disk>,
    /// Held while a subject's files change, so that no blob is written under a key that is being
    /// erased.
    changing: Arc<Mutex<()>>,
}

impl Blobs {
    /// The blobs of a disk.
    ///
    /// # Errors
    /// `Io` when the folder cannot be made.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, BlobError> {
        disk.create_dir_all(FOLDER).map_err(at(FOLDER))?;
        Ok(Self { disk, changing: Arc::default() })
    }

    /// The blobs of a disk, to be read only: nothing is made.
    pub(crate) fn to_read(disk: Arc<dyn Disk>) -> Self {
        Self { disk, changing: Arc::default() }
    }

    /// Encrypts and keeps a payload; durable when it returns. The same payload of the same subject
    /// is kept once.
    ///
    /// # Errors
    /// `Io`, with [`BlobError::is_full`] when there is no room.
    pub fn put(&self, subject: &str, bytes: &[u8]) -> Result<BlobId, BlobError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = *blake3::hash(subject.as_bytes()).as_bytes();
        let folder = folder(&subject);
        self.disk.create_dir_all(&folder).map_err(at(&folder))?;
        let keys = match self.keys(&subject)? {
            Some(keys) => keys,
            None => self.make_keys(&subject)?,
        };
        let id = BlobId { subject, content: *blake3::keyed_hash(&keys.address, bytes).as_bytes() };
        let path = id.path();
        if self.disk.exists(&path).map_err(at(&path))? {
            // An earlier put may have failed after its rename; the name must be durable before
            // anything refers to it.
            self.disk.sync_dir(&folder).map_err(at(&folder))?;
            return Ok(id);
        }
        let sealed = keys.seal(&id, bytes).ok_or(BlobError::Damaged { id })?;
        replace(&*self.disk, &path, &sealed).map_err(at(&path))?;
        Ok(id)
    }

    /// The payload at an address.
    ///
    /// # Errors
    /// `Erased`, `Missing`, `Damaged` or `Io`.
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>, BlobError> {
        let path = id.path();
        let sealed = match self.disk.read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.absent(id)?),
            Err(error) => return Err(at(&path)(error)),
        };
        match self.keys(&id.subject)? {
            Some(keys) => keys.unseal(id, &sealed).ok_or(BlobError::Damaged { id: *id }),
            None => Err(self.absent(id)?),
        }
    }

    /// Destroys a subject's key and blobs for ever. Payloads put later get a new key.
    ///
    /// # Errors
    /// `Io`: repeat it, it may be half done. `Nobody` for [`NOBODY`].
    pub fn erase(&self, subject: &str) -> Result<(), BlobError> {
        if subject == NOBODY {
            return Err(BlobError::Nobody);
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder(blake3::hash(subject.as_bytes()).as_bytes());
        if !self.disk.exists(&folder).map_err(at(&folder))? {
            return Ok(());
        }
        // First the mark, then the key, then the rest: a crash between them leaves an erasure that
        // reads as one.
        let mark = format!("{folder}/{ERASED_MARK}");
        replace(&*self.disk, &mark, b"").map_err(at(&mark))?;
        let names = self.disk.list(&folder).map_err(at(&folder))?;
        let (keys, rest): (Vec<_>, Vec<_>) =
            names.into_iter().filter(|name| name != ERASED_MARK).partition(|name| name == KEY_FILE);
        for name in keys.into_iter().chain(rest) {
            let path = format!("{folder}/{name}");
            self.disk.remove(&path).map_err(at(&path))?;
        }
        self.disk.sync_dir(&folder).map_err(at(&folder))
    }

    fn absent(&self, id: &BlobId) -> Result<BlobError, BlobError> {
        let mark = format!("{}/{ERASED_MARK}", folder(&id.subject));
        let erased = self.disk.exists(&mark).map_err(at(&mark))?;
        Ok(if erased { BlobError::Erased { id: *id } } else { BlobError::Missing { id: *id } })
    }

    fn keys(&self, subject: &[u8; HASH_BYTES]) -> Result<Option<Keys>, BlobError> {
        let path = format!("{}/{KEY_FILE}", folder(subject));
        match self.disk.read(&path) {
            Ok(key) => Ok(Some(Keys::derive(&key))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    fn make_keys(&self, subject: &[u8; HASH_BYTES]) -> Result<Keys, BlobError> {
        let path = format!("{}/{KEY_FILE}", folder(subject));
        let mut key = [0; KEY_BYTES];
        self.disk.entropy(&mut key).map_err(at(&path))?;
        replace(&*self.disk, &path, &key).map_err(at(&path))?;
        Ok(Keys::derive(&key))
    }
}

/// What a subject's key is used for, one derived key for each use.
struct Keys {
    address: [u8; KEY_BYTES],
    content: [u8; KEY_BYTES],
}

impl Keys {
    fn derive(key: &[u8]) -> Self {
        Self {
            address: blake3::derive_key("callboard 2026 blob address", key),
            content: blake3::derive_key("callboard 2026 blob content", key),
        }
    }

    fn seal(&self, id: &BlobId, bytes: &[u8]) -> Option<Vec<u8>> {
        self.cipher().encrypt(&nonce(id), Payload { msg: bytes, aad: &id.to_bytes() }).ok()
    }

    fn unseal(&self, id: &BlobId, sealed: &[u8]) -> Option<Vec<u8>> {
        self.cipher().decrypt(&nonce(id), Payload { msg: sealed, aad: &id.to_bytes() }).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(self.content))
    }
}

/// A nonce from the content's keyed hash: it repeats only with the same content, and then so does
/// the whole ciphertext.
fn nonce(id: &BlobId) -> XNonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&id.content[..NONCE_BYTES]);
    XNonce::from(nonce)
}

fn folder(subject: &[u8; HASH_BYTES]) -> String {
    format!("{FOLDER}/{}", blake3::Hash::from_bytes(*subject))
}

fn at(path: &str) -> impl FnOnce(io::Error) -> BlobError + '_ {
    move |source| BlobError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Loss, SimDisk};

    fn blobs() -> (SimDisk, Blobs) {
        let disk = SimDisk::new();
        (disk.clone(), Blobs::open(Arc::new(disk)).unwrap())
    }

    fn files(disk: &SimDisk) -> Vec<String> {
        let folders = disk.list(FOLDER).unwrap();
        folders.iter().flat_map(|folder| disk.list(&format!("{FOLDER}/{folder}")).unwrap()).collect()
    }

    #[test]
    fn what_was_put_survives_a_power_cut() {
        let (disk, blobs) = blobs();
        let id = blobs.put("ada", b"hello").unwrap();
        disk.power_cut(Loss::LoseUnsynced);
        assert_eq!(blobs.get(&id).unwrap(), b"hello");
        assert_eq!(BlobId::from_bytes(&id.to_bytes()), Some(id));
        assert_eq!(BlobId::from_bytes(&[0; 63]), None);
    }

    #[test]
    fn the_same_content_is_kept_once_a_subject_and_never_in_the_clear() {
        let (disk, blobs) = blobs();
        let text = b"a secret of some length";
        let ada = blobs.put("ada", text).unwrap();
        assert_eq!(blobs.put("ada", text).unwrap(), ada);
        assert_ne!(blobs.put("bob", text).unwrap().content, ada.content);
        assert_eq!(files(&disk).len(), 4, "a key and a blob for each");
        assert!(!disk.read(&ada.path()).unwrap().windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn erasing_takes_one_subject_and_leaves_the_others() {
        let (disk, blobs) = blobs();
        let (ada, bob) = (blobs.put("ada", b"1").unwrap(), blobs.put("bob", b"2").unwrap());
        blobs.erase("ada").unwrap();
        blobs.erase("carol").unwrap();
        disk.power_cut(Loss::LoseUnsynced);
        assert!(matches!(blobs.get(&ada), Err(BlobError::Erased { .. })));
        assert_eq!(blobs.get(&bob).unwrap(), b"2");
        let again = blobs.put("ada", b"1").unwrap();
        assert_ne!(again, ada, "a new key gives new addresses");
        assert_eq!(blobs.get(&again).unwrap(), b"1");
        assert!(matches!(blobs.erase(NOBODY), Err(BlobError::Nobody)));
    }

    #[test]
    fn an_erasure_cut_short_anywhere_is_finished_by_repeating_it() {
        for changes in 0..12 {
            let (disk, blobs) = blobs();
            let id = blobs.put("ada", b"1").unwrap();
            disk.power_off_after(changes);
            let outcome = blobs.erase("ada");
            disk.power_cut(Loss::Torn { seed: changes });
            if outcome.is_err() {
                assert!(matches!(blobs.get(&id), Ok(_) | Err(BlobError::Erased { .. })), "after {changes} changes");
                blobs.erase("ada").unwrap();
            }
            assert!(matches!(blobs.get(&id), Err(BlobError::Erased { .. })), "after {changes} changes");
        }
    }

    #[test]
    fn damage_and_loss_are_told_apart() {
        let (disk, blobs) = blobs();
        let id = blobs.put("ada", b"hello").unwrap();
        disk.flip(&id.path(), 2);
        assert!(matches!(blobs.get(&id), Err(BlobError::Damaged { .. })));
        disk.remove(&id.path()).unwrap();
        assert!(matches!(blobs.get(&id), Err(BlobError::Missing { .. })));
    }

    #[test]
    fn a_full_disk_is_said_to_be_full_and_leaves_no_half_blob() {
        let (disk, blobs) = blobs();
        disk.set_capacity(Some(100));
        let error = blobs.put("ada", &[7; 1000]).unwrap_err();
        assert!(error.is_full());
        disk.set_capacity(None);
        let id = blobs.put("ada", &[7; 1000]).unwrap();
        assert_eq!(blobs.get(&id).unwrap(), [7; 1000]);
    }
}
