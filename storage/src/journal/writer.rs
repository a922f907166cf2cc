//! Writing groups: one write, one sync, then all answers.
//!
//! Invariant: the writer's picture of the journal (next event, chain, length) moves only when a sync
//! has succeeded; a group that failed leaves no trace, or ends the writer.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use policies::instant::Timestamp;
use policies::span::ByteSize;

use super::error::AppendError;
use super::event::{RecordId, Seq};
use super::frame::{self, Chain, Head, Kind};
use super::group::{End, Group, Place, Repeats};
use super::handle::{Reply, Shared, Shortage};
use super::record::{self, Prepared};
use super::reserve::Reserve;
use super::segment::{self, HEADER_BYTES, Header, Position};
use crate::disk::{File, is_full};
use crate::latest::{Latest, Watcher};

/// Where the epoch of the journal's owner is noted, so that an earlier owner finds out.
pub(super) const EPOCH_PATH: &str = "journal/epoch";

/// The segment that is written to.
pub(super) struct Active {
    pub(super) first: Seq,
    pub(super) file: Box<dyn File>,
    pub(super) length: u64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    head: Latest<Seq>,
    active: Active,
    reserve: Reserve,
    journal_bytes: u64,
    epoch: u64,
    end: End,
    repeats: Repeats,
    group: Group,
    /// Whether the segment that the group goes to is there.
    rolled: Result<(), Failure>,
    _lock: Box<dyn Send>,
}

/// How a group failed.
enum Failure {
    /// Nothing of it was written, and the writer goes on.
    TakenBack(AppendError),
    /// Nothing of it was written, and the writer ends.
    Last(AppendError),
    /// Nobody knows what of it was written, and the writer ends.
    Doubtful(Arc<str>),
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        active: Active,
        epoch: u64,
        end: End,
        repeats: Repeats,
        lock: Box<dyn Send>,
    ) -> Self {
        let head = Latest::new(Seq(end.next.0 - 1));
        let journal_bytes = shared.reader.bytes();
        let start = Position { segment: active.first, offset: active.length };
        let group = Group::new(Place { start, epoch, journal_bytes }, end);
        let reserve = Reserve::new(shared.options.reserve_bytes);
        let rolled = Ok(());
        Self { shared, head, active, reserve, journal_bytes, epoch, end, repeats, group, rolled, _lock: lock }
    }

    pub(super) fn watch_head(&self) -> Watcher<Seq> {
        self.head.watch()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Begins a group, in a new segment if that is due.
    pub(super) fn begin(&mut self) {
        self.rolled = self.roll_if_due();
        let start = Position { segment: self.active.first, offset: self.active.length };
        let place = Place { start, epoch: self.epoch, journal_bytes: self.journal_bytes };
        self.group.begin(place, self.end);
    }

    /// Adds a batch to the group that was begun.
    pub(super) fn stage(&mut self, batch: Box<Prepared>, reply: Reply) {
        self.group.stage(&self.shared, &mut self.repeats, batch, reply);
    }

    /// Commits the group that was begun and answers each batch of it.
    ///
    /// # Errors
    /// Why the writer ended. Every batch was answered even so.
    pub(super) fn commit(&mut self) -> Result<(), AppendError> {
        let rolled = std::mem::replace(&mut self.rolled, Ok(()));
        match rolled.and_then(|()| self.write()) {
            Ok(()) => {
                self.publish();
                self.group.answer(None);
                self.settle()
            }
            Err(failure) => {
                self.group.give_up(&mut self.repeats);
                self.fail(failure)
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Result<(), AppendError> {
        match failure {
            Failure::TakenBack(error) => {
                if let Some(shortage) = Shortage::of(&error) {
                    self.shared.note_room(Some(shortage));
                }
                self.group.answer(Some(&error));
                Ok(())
            }
            Failure::Last(error) => {
                self.group.answer(Some(&error));
                Err(error)
            }
            Failure::Doubtful(reason) => {
                self.group.answer(Some(&AppendError::Unknown { reason: reason.clone() }));
                Err(AppendError::Stopped { reason })
            }
        }
    }

    /// Ends the journal in good order: a later break before this point is known to be damage.
    pub(super) fn seal(&mut self) {
        if let Err(error) = self.note(Kind::Sealed, Timestamp::EPOCH) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the journal was not sealed; its next opening looks for a torn tail");
        }
        if let Err(error) = self.shared.reader.index().flush() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the stream index is behind; the next opening catches it up");
        }
    }

    /// Writes and syncs a frame of the journal's own.
    pub(super) fn note(&mut self, kind: Kind, time: Timestamp) -> io::Result<()> {
        let mut head = Head {
            kind,
            count: 0,
            epoch: self.epoch,
            group_start: self.active.length,
            id: RecordId::default(),
            first: self.end.next,
            time,
            chain: Chain::default(),
        };
        head.chain = head.link(&self.end.chain, &record::digest(&[]), &[]);
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, &[], &[], &[]);
        self.active.file.append(&bytes)?;
        if kind == Kind::Sealed {
            self.active.file.truncate(self.active.length + bytes.len() as u64)?;
        }
        self.active.file.sync()?;
        self.end.chain = head.chain;
        self.grow(bytes.len() as u64);
        self.shared.reader.extend(self.active.first, self.active.length, []);
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        if self.group.bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.active.file.append(&self.group.bytes) {
            return Err(self.take_back(&error));
        }
        self.active.file.sync().map_err(|error| {
            let path = segment::path(self.active.first);
            Failure::Doubtful(format!("{path} could not be synced: {error}").into())
        })?;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn take_back(&mut self, error: &io::Error) -> Failure {
        let path = segment::path(self.active.first);
        if let Err(second) = self.active.file.truncate(self.active.length) {
            let reason = format!("{path} could be neither written ({error}) nor cut back ({second})");
            return Failure::Doubtful(reason.into());
        }
        self.reserve.spent();
        Failure::TakenBack(refusal(&path, error, self.group.bytes.len()))
    }

    /// Shows what the sync has made durable.
    fn publish(&mut self) {
        if self.group.bytes.is_empty() {
            return;
        }
        self.end = self.group.end;
        self.grow(self.group.bytes.len() as u64);
        let head = Seq(self.end.next.0 - 1);
        self.shared.reader.index().record(self.group.runs.drain(..), head);
        let marks = self.group.frames.iter().map(|staged| (staged.first, staged.at.offset));
        self.shared.reader.extend(self.active.first, self.active.length, marks);
        self.head.set(head);
    }

    fn grow(&mut self, bytes: u64) {
        self.active.length += bytes;
        self.journal_bytes += bytes;
    }

    /// What is left to do once a group is answered.
    fn settle(&mut self) -> Result<(), AppendError> {
        let shortage = self.group.shortage.take();
        if shortage.is_some() || !self.group.bytes.is_empty() {
            self.shared.note_room(shortage);
        }
        self.reserve.keep(&mut self.active);
        if let Err(error) = self.shared.reader.index().flush_if_due() {
            self.group.failed = Some(error.to_string().into());
        }
        let Some(reason) = self.group.failed.take() else { return Ok(()) };
        // Whatever is wrong with the index, the next opening makes it anew from the journal.
        if let Err(error) = self.shared.reader.index().discard() {
            tracing::warn!(%error, source = error.source(), "the stream index could not be emptied");
        }
        Err(AppendError::Stopped { reason })
    }

    fn roll_if_due(&mut self) -> Result<(), Failure> {
        // A segment is named by its first event, so each holds at least one.
        if self.active.length < self.shared.options.segment_bytes.bytes() || self.end.next == self.active.first {
            return Ok(());
        }
        self.check_epoch()?;
        let first = self.end.next;
        let header = Header { epoch: self.epoch, first, before: self.end.chain };
        self.shed_reserve()?;
        let disk = &*self.shared.disk;
        let file = segment::create(disk, header).map_err(|error| {
            let path = segment::path(first);
            // The old segment stays in use; a half-made new one must not be found beside it.
            if is_full(&error) && disk.remove(&path).is_ok() {
                return Failure::TakenBack(refusal(&path, &error, HEADER_BYTES as usize));
            }
            let reason = format!("{path} could not be made: {error}").into();
            Failure::Last(AppendError::Stopped { reason })
        })?;
        self.active = Active { first, file, length: HEADER_BYTES };
        self.journal_bytes += HEADER_BYTES;
        self.shared.reader.extend(first, HEADER_BYTES, []);
        Ok(())
    }

    /// Ends the segment's file where its frames end. What was reserved last was never synced, and a
    /// power cut would leave anything there, behind which another segment must not follow.
    fn shed_reserve(&mut self) -> Result<(), Failure> {
        self.reserve.spent();
        let Active { first, file, length } = &mut self.active;
        file.truncate(*length).and_then(|()| file.sync()).map_err(|error| {
            let reason = format!("{} could not be ended: {error}", segment::path(*first)).into();
            Failure::Last(AppendError::Stopped { reason })
        })
    }

    fn check_epoch(&self) -> Result<(), Failure> {
        let noted = self.shared.disk.read(EPOCH_PATH).map_err(|error| {
            Failure::TakenBack(AppendError::Retry { reason: format!("{EPOCH_PATH}: {error}").into() })
        })?;
        let own = self.epoch.to_string();
        if noted == own.as_bytes() { Ok(()) } else { Err(Failure::Last(AppendError::Fenced)) }
    }
}

fn refusal(path: &str, error: &io::Error, asked: usize) -> AppendError {
    let reason = format!("{path}: {error}").into();
    if is_full(error) {
        AppendError::Full { asked: ByteSize(asked as u64), limit: reason }
    } else {
        AppendError::Retry { reason }
    }
}
