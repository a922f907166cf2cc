//! Verifying the hash chain: what the doctor and an auditor run.
//!
//! Invariant: it reads everything and changes nothing.

use super::error::OpenError;
use super::event::Seq;
use super::frame::{Frame, Kind};
use super::group::End;
use super::record;
use super::scan::{self, Torn};
use crate::disk::Disk;

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
}

/// Checks every record of a disk's journal against the hash chain, also one that was edited together
/// with its checksum. Works beside an open journal too. Blocks for as long as it takes to read all.
///
/// # Errors
/// `Damaged` names the first record that is not as it was written; else as an opening.
pub fn verify_chain(disk: &dyn Disk) -> Result<Verified, OpenError> {
    let mut broken = None;
    let scanned = scan::scan(disk, 0, |at, frame, end| {
        if broken.is_none()
            && let Err(what) = link(frame, end)
        {
            broken = Some((at, what));
        }
        Ok(())
    })?;
    if let Some((at, what)) = broken {
        let file = super::segment::path(at.segment);
        return Err(OpenError::Damaged { file, offset: at.offset, what: what.to_owned() });
    }
    Ok(Verified {
        head: Seq(scanned.end.next.0 - 1),
        segments: scanned.segments.len(),
        chain: blake3::Hash::from_bytes(scanned.end.chain.0).to_string(),
        torn: scanned.torn,
    })
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
