//! The journal as its users see it: a handle that submits batches and reads events.
//!
//! Invariant: batches are committed in the order in which they were submitted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use policies::instant::Timestamp;
use policies::span::ByteSize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::committer::Committer;
use super::error::{AppendError, OpenError, ReadError};
use super::event::{Appended, Batch, Event, Seq, StreamId, Version};
use super::opening::{self, Opened};
use super::options::Options;
use super::reader::Reader;
use super::record::{self, Prepared};
use super::tail::Tail;
use crate::blobs::Blobs;
use crate::disk::Disk;
use crate::latest::{Latest, Watcher};
use crate::views::Shelf;

/// What the committer is asked to do.
pub(super) enum Request {
    Append(Box<Prepared>, Reply),
    Close(oneshot::Sender<()>),
}

pub(super) type Reply = oneshot::Sender<Answer>;

/// A batch's fate, with the batch: whoever made it frees its memory, which costs the committer more,
/// since all wait for it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) fate: Result<Appended, AppendError>,
    pub(super) _spent: Option<Box<Prepared>>,
}

/// What the handles and the committer share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    pub(super) reader: Reader,
    /// Syncs of segment files since the opening.
    pub(super) syncs: AtomicU64,
    /// What the last write found no room for, if it did not.
    pub(super) shortage: Latest<Option<Shortage>>,
    /// Why the committer ended, once it has.
    pub(super) ended: std::sync::OnceLock<Arc<str>>,
}

/// A write that found no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What it needed.
    pub asked: ByteSize,
    /// Which limit was met.
    pub limit: Arc<str>,
}

impl Shortage {
    /// What an append was refused for, if it was for want of room.
    pub(super) fn of(error: &AppendError) -> Option<Self> {
        match error {
            AppendError::Full { asked, limit } => Some(Self { asked: *asked, limit: limit.clone() }),
            _ => None,
        }
    }
}

impl Shared {
    /// Notes whether there is room. Those who watch hear of it when that changes; another write that
    /// finds none is no news.
    pub(super) fn note_room(&self, shortage: Option<Shortage>) {
        self.shortage.set_if(|held| {
            let changed = held.is_some() != shortage.is_some();
            if changed {
                *held = shortage;
            }
            changed
        });
    }

    pub(super) fn stopped(&self) -> AppendError {
        let reason = self.ended.get().cloned().unwrap_or_else(|| "its committer is gone".into());
        AppendError::Stopped { reason }
    }
}

/// A handle to the journal. A clone is cheap; the committer ends when the last one is dropped.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    head: Watcher<Seq>,
}

impl Journal {
    /// Opens the journal of a disk, and makes it if there is none: checks every segment, cuts off a
    /// torn tail, catches up the stream index. Blocks for as long as that takes. Nothing is appended
    /// until the committer runs. `index` is a shelf opened with [`super::INDEX_VERSION`], the
    /// journal's own; `now` is noted in the journal.
    ///
    /// # Errors
    /// See [`OpenError`]; the journal is left as it was.
    pub fn open(
        disk: Arc<dyn Disk>,
        index: Arc<dyn Shelf>,
        options: Options,
        now: Timestamp,
    ) -> Result<(Self, Committer, Opened), OpenError> {
        let (requests, queue) = mpsc::channel(options.queue_max.max(1));
        let (writer, shared, opened) = opening::open(disk, index, options, now)?;
        let head = writer.watch_head();
        let journal = Self { shared, requests, head };
        Ok((journal, Committer::new(writer, queue), opened))
    }

    /// Queues a batch, waiting for room in the queue. The order of submissions is the order of
    /// commits, so one may submit again without awaiting the answer.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge` or `Stopped`; nothing was written.
    pub async fn submit(&self, batch: Batch) -> Result<Pending, AppendError> {
        let prepared = Box::new(record::prepare(batch, &self.shared.options)?);
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(Request::Append(prepared, reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => self.requests.send(request).await.map_err(|_| self.shared.stopped())?,
            Err(TrySendError::Closed(_)) => return Err(self.shared.stopped()),
        }
        Ok(Pending(answer))
    }

    /// Appends a batch: durable when this returns `Ok`.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        self.submit(batch).await?.await
    }

    /// The last durable event; zero when there is none.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.head.get()
    }

    /// Follows [`Journal::head`]. It is closed when the committer ends.
    #[must_use]
    pub fn watch_head(&self) -> Watcher<Seq> {
        self.head.clone()
    }

    /// The durable events from `from` on, at most `events_max`; none past the head. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, from: Seq, events_max: usize) -> Result<Vec<Event>, ReadError> {
        self.shared.reader.read(from, self.head(), events_max, &mut None)
    }

    /// The durable events of a stream after a version, at most `events_max`. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_stream(&self, stream: &StreamId, after: Version, events_max: usize) -> Result<Vec<Event>, ReadError> {
        self.shared.reader.read_stream(stream, after, events_max)
    }

    /// A stream's durable version.
    ///
    /// # Errors
    /// `Index` when the stream index fails.
    pub fn version(&self, stream: &StreamId) -> Result<Version, ReadError> {
        Ok(self.shared.reader.version(stream)?)
    }

    /// Follows the journal from an event on. A tail does not keep the committer running.
    #[must_use]
    pub fn tail(&self, from: Seq) -> Tail {
        Tail::new(self.shared.clone(), self.head.clone(), from)
    }

    /// The payloads kept apart, for instance to erase a subject.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        self.shared.reader.blobs()
    }

    /// Commits what was queued before, seals the journal and ends the committer. Returns at once
    /// when it has ended already.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            // An error says that the committer ended by itself, which is what was asked for.
            let _ = closed.await;
        }
    }

    /// Syncs of the journal's files since it was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// Why the journal no longer writes; `None` while it does.
    #[must_use]
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.shared.ended.get().cloned()
    }

    /// Whether the journal takes appends: it has not stopped, and its last write found room. After one
    /// that did not, each call tries with a small file whether there is room again.
    #[must_use]
    pub fn has_room(&self) -> bool {
        if self.shared.ended.get().is_some() {
            return false;
        }
        let Shared { shortage, reader, options, .. } = &*self.shared;
        if shortage.get().is_some() && reader.has_room(options.bytes_max) {
            self.shared.note_room(None);
        }
        shortage.get().is_none()
    }

    /// Follows whether there is room: what the last write needed where there was none. It changes when
    /// a write finds the journal full, and when one finds room again.
    #[must_use]
    pub fn watch_room(&self) -> Watcher<Option<Shortage>> {
        self.shared.shortage.watch()
    }
}

/// A batch on its way: resolves once its fate is known, with `Ok` only after the sync that covers it.
#[derive(Debug)]
#[must_use = "the batch is not known to be durable before this resolves"]
pub struct Pending(oneshot::Receiver<Answer>);

impl Future for Pending {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        let lost = || AppendError::Unknown { reason: "the committer ended without an answer".into() };
        Poll::Ready(answer.map_or_else(|_| Err(lost()), |answer| answer.fate))
    }
}
