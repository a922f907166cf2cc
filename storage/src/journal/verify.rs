//! Verifying the hash chain: what the doctor and an auditor run.
//!
//! Invariant: it reads everything and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::OpenError;
use super::event::{Seq, StreamId};
use super::frame::{Frame, Kind};
use super::group::End;
use super::scan::{self, Torn};
use super::segment::Position;
use super::writer::EPOCH_PATH;
use super::{index, record};
use crate::blobs::{BlobError, Blobs};
use crate::disk::Disk;
use crate::views::{Shelf, ShelfError};

/// Payloads that are named one by one when they are not as they were; further ones are counted.
const FAULTS_MAX: usize = 100;

/// What a verification found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The last event.
    pub head: Seq,
    /// Segments.
    pub segments: usize,
    /// The chain's last hash in hexadecimal: whoever keeps it can later prove that nothing before
    /// it was changed.
    pub chain: String,
    /// A tail that the next opening will cut off. While the journal is open it may be a write under
    /// way.
    pub torn: Option<Torn>,
    /// Openings after that of the last record, of which the journal holds nothing. Each notes itself
    /// beside the journal a moment before it writes its first record.
    pub openings_unrecorded: u64,
    /// The end of what stands.
    end: Position,
}

/// What became of the payloads that are kept apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payloads {
    /// Those that are as they were written.
    pub whole: u64,
    /// Those whose subject was erased.
    pub erased: u64,
    /// The first ones that are missing or damaged.
    pub faults: Vec<PayloadFault>,
    /// How many are missing or damaged.
    pub faults_count: u64,
}

/// A payload that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFault {
    /// Its event.
    pub seq: Seq,
    /// The event's stream.
    pub stream: StreamId,
    /// The event's kind.
    pub kind: String,
    /// What is wrong, where, and what to do.
    pub reason: String,
}

/// Events that a stream index has seen beyond the journal's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many of which stream.
    pub events: BTreeMap<String, u64>,
}

/// Checks every record of a disk's journal against the hash chain, also one that was edited together
/// with its checksum. Works beside an open journal too. Blocks for as long as it takes to read all.
///
/// # Errors
/// `Damaged` names the first record that is not as it was written; else as an opening.
pub fn verify_chain(disk: &dyn Disk) -> Result<Verified, OpenError> {
    check(disk, |_| Ok(()))
}

/// As [`verify_chain`], and reads every payload that a record names and that is kept apart: whether it
/// is there, and is what its address says.
///
/// # Errors
/// As [`verify_chain`]; a payload that is missing or damaged is none.
pub fn verify(disk: &Arc<dyn Disk>) -> Result<(Verified, Payloads), OpenError> {
    let blobs = Blobs::to_read(Arc::clone(disk));
    let mut payloads = Payloads::default();
    let verified = check(&**disk, |frame| payloads.check(&blobs, frame))?;
    Ok((verified, payloads))
}

/// What a stream index has seen that the journal does not hold.
///
/// # Errors
/// When the index cannot be read.
pub fn lost(journal: &Verified, index: &dyn Shelf) -> Result<Lost, ShelfError> {
    let mut lost = Lost::default();
    index::visit(index, |stream, run| {
        let beyond = (run.at.segment, run.at.offset) >= (journal.end.segment, journal.end.offset);
        if beyond {
            *lost.events.entry(stream.to_owned()).or_default() += u64::from(run.count);
        }
    })?;
    Ok(lost)
}

fn check(disk: &dyn Disk, mut each: impl FnMut(&Frame<'_>) -> Result<(), &'static str>) -> Result<Verified, OpenError> {
    let mut broken = None;
    let scanned = scan::scan(disk, 0, |at, frame, end| {
        if broken.is_none()
            && let Err(what) = link(frame, end).and_then(|()| each(frame))
        {
            broken = Some((at, what));
        }
        Ok(())
    })?;
    if let Some((at, what)) = broken {
        let file = super::segment::path(at.segment);
        return Err(OpenError::Damaged { file, offset: at.offset, what: what.to_owned() });
    }
    let end = scanned.segments.last_key_value().map(|(first, segment)| (*first, segment.length));
    let (segment, offset) = end.unwrap_or_default();
    let noted = disk.read(EPOCH_PATH).ok().and_then(|noted| String::from_utf8_lossy(&noted).parse::<u64>().ok());
    Ok(Verified {
        head: Seq(scanned.end.next.0 - 1),
        segments: scanned.segments.len(),
        chain: blake3::Hash::from_bytes(scanned.end.chain.0).to_string(),
        torn: scanned.torn,
        openings_unrecorded: noted.unwrap_or_default().saturating_sub(scanned.epoch),
        end: Position { segment, offset },
    })
}

impl Payloads {
    fn check(&mut self, blobs: &Blobs, frame: &Frame<'_>) -> Result<(), &'static str> {
        for raw in record::raws(frame)? {
            let Some(id) = raw.apart()? else { continue };
            match blobs.get(&id) {
                Ok(_) => self.whole += 1,
                Err(BlobError::Erased { .. }) => self.erased += 1,
                Err(error) => {
                    self.faults_count += 1;
                    if self.faults.len() < FAULTS_MAX {
                        let (event, _) = raw.event()?;
                        let (seq, stream, kind) = (event.seq, event.stream, event.kind);
                        self.faults.push(PayloadFault { seq, stream, kind, reason: error.to_string() });
                    }
                }
            }
        }
        Ok(())
    }
}

fn link(frame: &Frame<'_>, end: &End) -> Result<(), &'static str> {
    let raws = record::raws(frame)?;
    // The digest was made before the versions were known.
    let mut events = frame.events.to_vec();
    let mut versions = Vec::with_capacity(raws.len());
    for raw in &raws {
        events[raw.version_offset..raw.version_offset + 8].fill(0);
        versions.push(raw.version);
    }
    if frame.head.kind != Kind::Events && !events.is_empty() {
        return Err("a record of the journal's own holds events");
    }
    let chain = frame.head.link(&end.chain, &record::digest(&events), &versions);
    if chain == frame.head.chain { Ok(()) } else { Err("the hash chain breaks: the record was changed") }
}
