//! Opening the journal: lock, check, mend, catch up.
//!
//! Invariant: opening changes nothing before all was checked, and opening twice changes no event.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use policies::instant::Timestamp;

use super::error::{OpenError, ReadError};
use super::event::Seq;
use super::frame::Kind;
use super::group::Repeats;
use super::handle::Shared;
use super::index::StreamIndex;
use super::options::Options;
use super::reader::{Reader, Segment};
use super::scan::{self, Scanned, Torn, at};
use super::segment::{self, FOLDER, HEADER_BYTES, Header};
use super::writer::{Active, EPOCH_PATH, Writer};
use crate::blobs::{BlobError, Blobs};
use crate::disk::{Disk, read_full, replace};
use crate::latest::Latest;
use crate::views::Shelf;

const LOCK_PATH: &str = "journal/lock";

/// What an opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The last event.
    pub head: Seq,
    /// Counts the openings of this journal, this one included.
    pub epoch: u64,
    /// What was cut off, if anything.
    pub torn: Option<Torn>,
    /// Events that the stream index had not seen yet.
    pub indexed: u64,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    shelf: Arc<dyn Shelf>,
    options: Options,
    now: Timestamp,
) -> Result<(Writer, Arc<Shared>, Opened), OpenError> {
    disk.create_dir_all(FOLDER).map_err(at(FOLDER))?;
    let lock = disk.lock(LOCK_PATH).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { holder: error.to_string() },
        _ => at(LOCK_PATH)(error),
    })?;
    let mut scanned = scan::scan(&*disk, options.repeats_max, |_, _, _| Ok(()))?;
    let head = Seq(scanned.end.next.0 - 1);
    let index = StreamIndex::new(shelf, options.unindexed_max);
    let seen = index.on_shelf().map_err(OpenError::Index)?;
    if seen > head {
        return Err(OpenError::Missing { end: head, seen });
    }
    let epoch = next_epoch(&*disk, scanned.epoch)?;
    let active = mend(&*disk, &mut scanned, epoch)?;
    let blobs = Blobs::open(disk.clone()).map_err(|error| match error {
        BlobError::Io { path, source } => at(&path)(source),
        other => at("blobs")(io::Error::other(other)),
    })?;
    let shared = Arc::new(Shared {
        reader: Reader::new(disk.clone(), blobs, index, scanned.segments),
        disk,
        syncs: AtomicU64::new(0),
        shortage: Latest::new(None),
        ended: OnceLock::new(),
        options,
    });
    let indexed = shared.reader.catch_up(head).map_err(unread)?;
    let mut repeats = Repeats::new(shared.options.repeats_max);
    for (id, at) in scanned.batches {
        repeats.insert(id, at);
    }
    let path = segment::path(active.first);
    let mut writer = Writer::new(shared.clone(), active, epoch, scanned.end, repeats, lock);
    writer.note(Kind::Opened, now).map_err(at(&path))?;
    if let Some(Torn { file, offset, bytes }) = &scanned.torn {
        tracing::warn!(file, offset, bytes, "cut off a torn tail, which was never acknowledged");
    }
    Ok((writer, shared, Opened { head, epoch, torn: scanned.torn, indexed }))
}

/// The epoch after all earlier ones, noted durably: an earlier owner that still runs finds it and
/// stops.
fn next_epoch(disk: &dyn Disk, seen: u64) -> Result<u64, OpenError> {
    let noted = match disk.read(EPOCH_PATH) {
        Ok(noted) => String::from_utf8_lossy(&noted).parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(at(EPOCH_PATH)(error)),
    };
    let epoch = seen.max(noted) + 1;
    replace(disk, EPOCH_PATH, epoch.to_string().as_bytes()).map_err(at(EPOCH_PATH))?;
    Ok(epoch)
}

/// Cuts off a torn tail and makes sure that all which was read is durable.
fn mend(disk: &dyn Disk, scanned: &mut Scanned, epoch: u64) -> Result<Active, OpenError> {
    if let Some(torn) = scanned.torn.as_ref().filter(|torn| torn.offset == 0) {
        disk.remove(&torn.file).map_err(at(&torn.file))?;
    }
    let Some((first, segment)) = scanned.segments.last_key_value() else {
        let header = Header { epoch, first: scanned.end.next, before: scanned.end.chain };
        let first = header.first;
        let file = segment::create(disk, header).map_err(at(&segment::path(first)))?;
        scanned.segments.insert(first, Segment::new());
        return Ok(Active { first, file, length: HEADER_BYTES });
    };
    let (first, length) = (*first, segment.length);
    let path = segment::path(first);
    let mut file = disk.open(&path).map_err(at(&path))?;
    let settle = || {
        file.truncate(length)?;
        // The last group may have been read from a cache whose write-back had failed before: the
        // system would then call it clean, and never write it. Written again, it is dirty again.
        let mut group = vec![0; usize::try_from(length - scanned.last_group).unwrap_or(0)];
        let read = read_full(&*file, scanned.last_group, &mut group)?;
        file.rewrite(scanned.last_group, &group[..read])?;
        file.sync()?;
        disk.sync_dir(FOLDER)?;
        Ok(file)
    };
    let file = settle().map_err(at(&path))?;
    Ok(Active { first, file, length })
}

fn unread(error: ReadError) -> OpenError {
    match error {
        ReadError::Index(error) => OpenError::Index(error),
        ReadError::Damaged { file, offset, what } => OpenError::Damaged { file, offset, what },
        ReadError::Io { path, source } => OpenError::Io { path, source },
        other => OpenError::Io { path: FOLDER.to_owned(), source: io::Error::other(other) },
    }
}
