//! The one who writes: drains the queue of batches, group by group.
//!
//! Invariant: whatever was taken from the queue is answered, and in the order in which it came.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::error::AppendError;
use super::handle::{Reply, Request};
use super::record::Prepared;
use super::writer::Writer;

/// How often the committer's thread gives way to writers, without any of them coming, before it goes
/// on with those that have come. On an idle machine that takes some 20 µs, a tenth of a sync.
const YIELDS_MAX: u32 = 64;

/// Writes what is submitted. It must run for appends to be answered: on a thread of its own or, in
/// simulation, as a task. It ends when the journal is closed, when every handle is dropped, or when
/// writing fails for good, which [`super::Journal::stopped`] then tells.
pub struct Committer {
    writer: Writer,
    queue: mpsc::Receiver<Request>,
    /// Batches in the last group.
    last_group: usize,
}

impl Committer {
    pub(super) fn new(writer: Writer, queue: mpsc::Receiver<Request>) -> Self {
        Self { writer, queue, last_group: 0 }
    }

    /// Runs on the calling thread, which must not be one of an async runtime.
    pub fn run_blocking(mut self) {
        while let Some(request) = self.queue.blocking_recv() {
            self.await_writers();
            if self.serve(request).is_break() {
                return;
            }
        }
        self.writer.seal();
    }

    /// The same as a future, which blocks its thread while it writes: for simulation.
    pub async fn run(mut self) {
        while let Some(request) = self.queue.recv().await {
            if self.serve(request).is_break() {
                return;
            }
        }
        self.writer.seal();
    }

    /// Lets those come back whom the last group has just answered. Without it the first of them would
    /// get a sync of its own, all others would wait for that one, and every round would cost two.
    fn await_writers(&self) {
        let (mut waiting, mut yields) = (self.queue.len(), 0);
        while waiting + 1 < self.last_group && yields < YIELDS_MAX {
            std::thread::yield_now();
            yields = if self.queue.len() > waiting { 0 } else { yields + 1 };
            waiting = self.queue.len();
        }
    }

    /// Commits a request together with those that wait behind it.
    fn serve(&mut self, first: Request) -> ControlFlow<()> {
        let (group, close) = self.gather(first);
        self.last_group = group.len();
        if !group.is_empty()
            && let Err(error) = self.writer.commit(group)
        {
            tracing::error!(%error, "the journal has stopped writing");
            self.end(&error.to_string().into());
            return ControlFlow::Break(());
        }
        let Some(closed) = close else { return ControlFlow::Continue(()) };
        self.writer.seal();
        self.end(&"it was closed".into());
        // Whoever closed it may have gone away.
        let _ = closed.send(());
        ControlFlow::Break(())
    }

    fn gather(&mut self, first: Request) -> (Vec<(Prepared, Reply)>, Option<oneshot::Sender<()>>) {
        let options = &self.writer.shared().options;
        let (events_max, bytes_max) = (options.group_events_max, options.group_bytes_max.bytes());
        let (mut group, mut events, mut bytes) = (Vec::new(), 0_usize, 0_u64);
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Append(batch, reply) => {
                    events += batch.count as usize;
                    bytes += batch.frame_bytes() as u64;
                    group.push((batch, reply));
                }
                Request::Close(closed) => return (group, Some(closed)),
            }
            let room = events < events_max && bytes < bytes_max;
            next = if room { self.queue.try_recv().ok() } else { None };
        }
        (group, None)
    }

    /// Refuses what waits and what may come.
    fn end(&mut self, reason: &Arc<str>) {
        // The first reason stands.
        let _ = self.writer.shared().ended.set(reason.clone());
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            if let Request::Append(_, reply) = request {
                let _ = reply.send(Err(AppendError::Stopped { reason: reason.clone() }));
            }
        }
    }
}
