//! Reading events back, by place in the journal or in a stream.
//!
//! Invariant: only what a sync has covered can be read, and each record is checked as it is.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use policies::span::ByteSize;

use super::error::ReadError;
use super::event::{Appended, Event, Seq, StreamId, Version};
use super::frame::{self, Flaw, Frame};
use super::index::{Run, StreamIndex};
use super::record::{self, Payload, Raw};
use super::segment::{self, HEADER_BYTES, Position, Walked};
use crate::blobs::{BlobError, Blobs};
use crate::disk::{Disk, File, read_full};
use crate::views::ShelfError;

/// Bytes that are read at once, going through the journal.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that are read at once, picking out the frames of one stream.
const WINDOW_BYTES: usize = 8 << 10;
/// A segment is entered at the nearest mark before an event; marks are this far apart.
const MARK_BYTES: u64 = 128 << 10;
/// What an erased payload reads as.
const ERASED_PAYLOAD: &[u8] = b"null";

/// A segment, as far as it is durable.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) length: u64,
    marks: Vec<(Seq, u64)>,
}

impl Segment {
    pub(super) fn new() -> Self {
        Self { length: HEADER_BYTES, marks: Vec::new() }
    }

    /// Notes where the frame that begins with this event is, if the last mark is far enough away.
    pub(super) fn mark(&mut self, first: Seq, offset: u64) {
        if self.marks.last().is_none_or(|(_, last)| offset >= last + MARK_BYTES) {
            self.marks.push((first, offset));
        }
    }

    fn enter(&self, seq: Seq) -> u64 {
        let after = self.marks.partition_point(|(first, _)| *first <= seq);
        after.checked_sub(1).map_or(HEADER_BYTES, |at| self.marks[at].1)
    }
}

/// Segments by their first event.
pub(super) type Segments = BTreeMap<Seq, Segment>;

/// Where a reader that follows the journal stands: the frame at this place begins with this event
/// or a later one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    seq: Seq,
    at: Position,
}

pub(super) struct Reader {
    disk: Arc<dyn Disk>,
    blobs: Blobs,
    index: StreamIndex,
    segments: RwLock<Segments>,
}

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, blobs: Blobs, index: StreamIndex, segments: Segments) -> Self {
        Self { disk, blobs, index, segments: RwLock::new(segments) }
    }

    pub(super) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(super) fn index(&self) -> &StreamIndex {
        &self.index
    }

    /// Takes in what a sync has made durable.
    pub(super) fn extend(&self, segment: Seq, length: u64, frames: impl IntoIterator<Item = (Seq, u64)>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let segment = segments.entry(segment).or_insert_with(Segment::new);
        for (first, offset) in frames {
            segment.mark(first, offset);
        }
        segment.length = length;
    }

    pub(super) fn read(
        &self,
        from: Seq,
        head: Seq,
        events_max: usize,
        cursor: &mut Option<Cursor>,
    ) -> Result<Vec<Event>, ReadError> {
        let mut events = Vec::new();
        if events_max == 0 {
            return Ok(events);
        }
        self.visit(from.max(Seq::FIRST), head, *cursor, |at, frame| {
            let wanted = |raw: &Raw<'_>| raw.seq >= from && raw.seq <= head;
            self.collect(at, frame, wanted, events_max, &mut events)?;
            // A frame that is only half read is where the next read begins.
            *cursor = Some(Cursor { seq: frame.head.first, at });
            Ok(if events.len() < events_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(events)
    }

    pub(super) fn read_stream(
        &self,
        stream: &StreamId,
        after: Version,
        events_max: usize,
    ) -> Result<Vec<Event>, ReadError> {
        let mut events = Vec::new();
        if events_max == 0 {
            return Ok(events);
        }
        let mut window = Window::default();
        for Run { at, first, count } in self.index.runs(stream, after, events_max)? {
            let versions = first.max(after.plus(1))..first.plus(count.into());
            let wanted = |raw: &Raw<'_>| versions.contains(&raw.version) && raw.stream() == Ok(stream.as_str());
            let frame = window.frame(&*self.disk, at)?;
            self.collect(at, &frame, wanted, events_max, &mut events)?;
            if events.len() == events_max {
                break;
            }
        }
        Ok(events)
    }

    pub(super) fn version(&self, stream: &StreamId) -> Result<Version, ShelfError> {
        self.index.version(stream)
    }

    /// Where the batch in the frame at this place went.
    pub(super) fn appended(&self, at: Position) -> Result<Appended, ReadError> {
        let mut window = Window::default();
        let frame = window.frame(&*self.disk, at)?;
        let mut versions: Vec<(StreamId, Version)> = Vec::new();
        for (stream, run) in runs(&frame, at).map_err(|what| damaged(at, what))? {
            match versions.iter_mut().find(|(known, _)| *known == stream) {
                Some((_, version)) => *version = run.last(),
                None => versions.push((stream, run.last())),
            }
        }
        let last = Seq(frame.head.next().0 - 1);
        Ok(Appended { first: frame.head.first, last, versions })
    }

    /// Brings the index up to the head; returns how many events it had not seen.
    pub(super) fn catch_up(&self, head: Seq) -> Result<u64, ReadError> {
        let seen = self.index.on_shelf()?;
        if seen >= head {
            return Ok(0);
        }
        self.visit(seen.next(), head, None, |at, frame| {
            if frame.head.count > 0 && frame.head.first > seen {
                let runs = runs(frame, at).map_err(|what| damaged(at, what))?;
                self.index.record(runs, Seq(frame.head.next().0 - 1));
                self.index.flush_if_due()?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(head.0 - seen.0)
    }

    /// Tries whether the quota and the disk have some room.
    pub(super) fn has_room(&self, quota: Option<ByteSize>) -> bool {
        const PATH: &str = "journal/probe";
        if quota.is_some_and(|quota| self.bytes() + CHUNK_BYTES as u64 > quota.bytes()) {
            return false;
        }
        let written = self.disk.open(PATH).and_then(|mut probe| probe.append(&[0; CHUNK_BYTES]));
        self.disk.remove(PATH).and(written).is_ok()
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments().values().map(|segment| segment.length).sum()
    }

    /// Visits the frames from the one that holds `from` up to the one that holds `head`.
    fn visit(
        &self,
        from: Seq,
        head: Seq,
        cursor: Option<Cursor>,
        mut visit: impl FnMut(Position, &Frame<'_>) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        let mut at = match cursor {
            Some(cursor) if cursor.seq <= from => Some(cursor.at),
            _ => self.enter(from),
        };
        while let Some(Position { segment, offset }) = at.filter(|_| from <= head) {
            let Some((length, following)) = self.extent(segment) else { break };
            let path = segment::path(segment);
            let io = |source| ReadError::Io { path: path.clone(), source };
            let file = self.disk.open_existing(&path).map_err(io)?;
            let (mut failed, mut done) = (None, false);
            let walked = segment::walk(&*file, offset, length, CHUNK_BYTES, |offset, frame| {
                done = frame.head.next() > head;
                if frame.head.next() <= from {
                    return ControlFlow::Continue(());
                }
                match visit(Position { segment, offset }, frame) {
                    Ok(ControlFlow::Continue(())) if !done => return ControlFlow::Continue(()),
                    Ok(_) => done = true,
                    Err(error) => failed = Some(error),
                }
                ControlFlow::Break(())
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if let Walked::Broken { offset, what } = walked.map_err(io)? {
                return Err(damaged(Position { segment, offset }, what));
            }
            at = following.filter(|_| !done).map(|segment| Position { segment, offset: HEADER_BYTES });
        }
        Ok(())
    }

    fn enter(&self, seq: Seq) -> Option<Position> {
        let segments = self.segments();
        let (first, segment) = segments.range(..=seq).next_back()?;
        Some(Position { segment: *first, offset: segment.enter(seq) })
    }

    /// A segment's length, and the segment after it.
    fn extent(&self, segment: Seq) -> Option<(u64, Option<Seq>)> {
        let segments = self.segments();
        let length = segments.get(&segment)?.length;
        Some((length, segments.range(segment.next()..).next().map(|(first, _)| *first)))
    }

    /// Adds the wanted events of a frame, with their payloads.
    fn collect(
        &self,
        at: Position,
        frame: &Frame<'_>,
        wanted: impl Fn(&Raw<'_>) -> bool,
        events_max: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let raws = record::raws(frame).map_err(|what| damaged(at, what))?;
        for raw in raws.iter().filter(|raw| wanted(raw)) {
            if events.len() == events_max {
                break;
            }
            let (mut event, payload) = raw.event().map_err(|what| damaged(at, what))?;
            if let Payload::Apart(id) = payload {
                match self.blobs.get(&id) {
                    Ok(bytes) => event.payload = bytes,
                    Err(BlobError::Erased { .. }) => {
                        event.payload = ERASED_PAYLOAD.to_vec();
                        event.erased = true;
                    }
                    Err(source) => return Err(ReadError::Payload { seq: event.seq, source }),
                }
            }
            events.push(event);
        }
        Ok(())
    }

    fn segments(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neighbouring events of one stream in a frame, as one place each.
fn runs(frame: &Frame<'_>, at: Position) -> Result<Vec<(StreamId, Run)>, &'static str> {
    let mut runs: Vec<(StreamId, Run)> = Vec::new();
    for raw in record::raws(frame)? {
        let stream = raw.stream()?;
        match runs.last_mut() {
            Some((last, run)) if last.as_str() == stream => run.count += 1,
            _ => runs.push((StreamId::from(stream), Run { first: raw.version, count: 1, at })),
        }
    }
    Ok(runs)
}

fn damaged(at: Position, what: &str) -> ReadError {
    ReadError::Damaged { file: segment::path(at.segment), offset: at.offset, what: what.to_owned() }
}

/// The bytes around the frame that was read last: the next one is often among them.
#[derive(Default)]
struct Window {
    file: Option<(Seq, Box<dyn File>)>,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn frame(&mut self, disk: &dyn Disk, at: Position) -> Result<Frame<'_>, ReadError> {
        let io = |source| ReadError::Io { path: segment::path(at.segment), source };
        if self.file.as_ref().is_none_or(|(segment, _)| *segment != at.segment) {
            let file = disk.open_existing(&segment::path(at.segment)).map_err(io)?;
            self.file = Some((at.segment, file));
            self.bytes.clear();
        }
        // The first reading may only tell how long the frame is; the second then holds it.
        for _ in 0..2 {
            if let Err(Flaw::Short(need)) = frame::parse(self.from(at.offset)) {
                self.fill(at.offset, need.max(WINDOW_BYTES)).map_err(io)?;
            }
        }
        frame::parse(self.from(at.offset)).map_err(|flaw| match flaw {
            Flaw::Bad(what) => damaged(at, what),
            Flaw::Short(_) => damaged(at, "the record is cut short"),
        })
    }

    fn fill(&mut self, start: u64, bytes: usize) -> io::Result<()> {
        let Some((_, file)) = &self.file else { return Ok(()) };
        self.bytes.resize(bytes, 0);
        self.start = start;
        let read = read_full(&**file, start, &mut self.bytes)?;
        self.bytes.truncate(read);
        Ok(())
    }

    fn from(&self, offset: u64) -> &[u8] {
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.bytes.get(skip..)).unwrap_or_default()
    }
}
