//! Checking all segments: what an opening and the doctor stand on.
//!
//! Where reading stops before the end, it is either a torn tail or damage. Everything before the
//! start of a group was synced before the group was written; so if any frame behind the break belongs
//! to a later group than the broken one, or the break is not in the last segment, what broke had been
//! acknowledged, and it is damage. Else it never was, and is a torn tail. Zeros up to a segment's end are
//! its reserve; were they ever more than that, the next segment would not follow what is before them.
//!
//! Invariant: nothing is written here.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use super::error::OpenError;
use super::event::{RecordId, Seq};
use super::frame::Frame;
use super::group::End;
use super::reader::{Segment, Segments};
use super::segment::{self, FOLDER, FORMAT, HEADER_BYTES, Header, HeaderFlaw, Position, Walked};
use crate::disk::{Disk, File};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A torn tail: writes that a crash cut short and that were never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment, as a path on the disk.
    pub file: String,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes were cut off, without what was only reserved.
    pub bytes: u64,
}

/// What the segments hold.
pub(super) struct Scanned {
    pub(super) segments: Segments,
    pub(super) end: End,
    pub(super) epoch: u64,
    /// Where the last group begins, in the last segment.
    pub(super) last_group: u64,
    pub(super) torn: Option<Torn>,
    /// The last batches, oldest first.
    pub(super) batches: VecDeque<(RecordId, Position)>,
}

/// Checks every segment. `visit` sees each frame that stands, after the chain before it.
pub(super) fn scan(
    disk: &dyn Disk,
    batches_max: usize,
    mut visit: impl FnMut(Position, &Frame<'_>, &End) -> Result<(), &'static str>,
) -> Result<Scanned, OpenError> {
    let names = disk.list(FOLDER).map_err(at(FOLDER))?;
    let firsts: Vec<Seq> = names.iter().filter_map(|name| segment::first(name)).collect();
    let mut scanned = Scanned {
        segments: Segments::new(),
        end: End { next: Seq::FIRST, ..End::default() },
        epoch: 0,
        last_group: 0,
        torn: None,
        batches: VecDeque::new(),
    };
    for (nth, first) in firsts.iter().enumerate() {
        let last = nth + 1 == firsts.len();
        scanned.segment(disk, *first, last, batches_max, &mut visit)?;
    }
    Ok(scanned)
}

impl Scanned {
    fn segment(
        &mut self,
        disk: &dyn Disk,
        first: Seq,
        last: bool,
        batches_max: usize,
        visit: &mut impl FnMut(Position, &Frame<'_>, &End) -> Result<(), &'static str>,
    ) -> Result<(), OpenError> {
        let path = segment::path(first);
        let file = disk.open_existing(&path).map_err(at(&path))?;
        let length = file.len().map_err(at(&path))?;
        match Header::read(&*file).map_err(at(&path))? {
            Ok(header) => self.check_header(&path, first, header)?,
            Err(HeaderFlaw::Format(format)) => {
                return Err(OpenError::Format { file: path, format, known: FORMAT });
            }
            // Frames are written only behind a synced header, so without any it was never in use.
            Err(HeaderFlaw::Bad) if last && length <= HEADER_BYTES => {
                self.torn = Some(Torn { file: path, offset: 0, bytes: length });
                return Ok(());
            }
            Err(HeaderFlaw::Bad) => return Err(damaged(path, 0, "the segment's header")),
        }
        let mut segment = Segment::new();
        self.last_group = 0;
        let walked = self.frames(&*file, first, length, batches_max, &mut segment, visit);
        segment.length = length;
        if let Walked::Broken { offset, what } = walked.map_err(at(&path))? {
            let rest = segment::rest(&*file, offset, length).map_err(at(&path))?;
            segment.length = offset;
            if rest.bytes > 0 {
                if !last || rest.written_later {
                    return Err(damaged(path, offset, what));
                }
                self.torn = Some(Torn { file: path, offset, bytes: rest.bytes });
            }
        }
        self.segments.insert(first, segment);
        Ok(())
    }

    fn check_header(&mut self, path: &str, first: Seq, header: Header) -> Result<(), OpenError> {
        let what = if header.first != first {
            "the segment's name and header disagree"
        } else if first != self.end.next {
            "events before this segment are missing"
        } else if header.before != self.end.chain {
            "the segment does not follow the one before it"
        } else {
            self.epoch = self.epoch.max(header.epoch);
            return Ok(());
        };
        Err(damaged(path.to_owned(), 0, what))
    }

    fn frames(
        &mut self,
        file: &dyn File,
        first: Seq,
        length: u64,
        batches_max: usize,
        segment: &mut Segment,
        visit: &mut impl FnMut(Position, &Frame<'_>, &End) -> Result<(), &'static str>,
    ) -> io::Result<Walked> {
        let mut broken = None;
        let walked = segment::walk(file, HEADER_BYTES, length, CHUNK_BYTES, |offset, frame| {
            let head = &frame.head;
            let at = Position { segment: first, offset };
            let follows = head.first == self.end.next && head.epoch >= self.epoch && head.group_start <= offset;
            let judged =
                if follows { visit(at, frame, &self.end) } else { Err("the record does not follow the one before it") };
            if let Err(what) = judged {
                broken = Some(Walked::Broken { offset, what });
                return ControlFlow::Break(());
            }
            if head.count > 0 {
                segment.mark(head.first, offset);
                self.batches.push_back((head.id, at));
                if self.batches.len() > batches_max {
                    self.batches.pop_front();
                }
            }
            self.end = End { next: head.next(), chain: head.chain };
            self.epoch = head.epoch;
            self.last_group = head.group_start;
            ControlFlow::Continue(())
        })?;
        Ok(broken.unwrap_or(walked))
    }
}

fn damaged(file: String, offset: u64, what: &str) -> OpenError {
    OpenError::Damaged { file, offset, what: what.to_owned() }
}

pub(super) fn at(path: &str) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |source| {
        let path = path.to_owned();
        if crate::disk::is_full(&source) { OpenError::Full { path, source } } else { OpenError::Io { path, source } }
    }
}
