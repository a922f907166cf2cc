//! The one who writes: drains the queue of batches, group by group.
//!
//! Invariant: whatever was taken from the queue is answered, and in the order in which it came.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::error::AppendError;
use super::handle::{Answer, Request};
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
            if self.serve(request, YIELDS_MAX).is_break() {
                return;
            }
        }
        self.writer.seal();
    }

    /// The same as a future, which blocks its thread while it writes: for simulation.
    pub async fn run(mut self) {
        while let Some(request) = self.queue.recv().await {
            if self.serve(request, 0).is_break() {
                return;
            }
        }
        self.writer.seal();
    }

    /// Commits a request together with those that come while the group is put together.
    fn serve(&mut self, first: Request, yields_max: u32) -> ControlFlow<()> {
        let close = self.gather(first, yields_max);
        if self.last_group > 0
            && let Err(error) = self.writer.commit()
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

    /// Stages what is in the queue, and lets those come back whom the last group has just answered:
    /// without it the first of them would get a sync of its own, all others would wait for that one,
    /// and every round would cost two. Each is staged as it comes, while the others are on their way.
    fn gather(&mut self, first: Request, yields_max: u32) -> Option<oneshot::Sender<()>> {
        let options = &self.writer.shared().options;
        let (events_max, bytes_max) = (options.group_events_max, options.group_bytes_max.bytes());
        let (mut batches, mut events, mut bytes, mut yields) = (0, 0_usize, 0_u64, 0);
        let mut next = Some(first);
        let close = loop {
            match next {
                Some(Request::Append(batch, reply)) => {
                    if batches == 0 {
                        self.writer.begin();
                    }
                    batches += 1;
                    events += batch.count as usize;
                    bytes += batch.frame_bytes() as u64;
                    self.writer.stage(batch, reply);
                    if events >= events_max || bytes >= bytes_max {
                        break None;
                    }
                    yields = 0;
                }
                Some(Request::Close(closed)) => break Some(closed),
                None if batches < self.last_group && yields < yields_max => {
                    std::thread::yield_now();
                    yields += 1;
                }
                None => break None,
            }
            next = self.queue.try_recv().ok();
        };
        self.last_group = batches;
        close
    }

    /// Refuses what waits and what may come.
    fn end(&mut self, reason: &Arc<str>) {
        // The first reason stands.
        let _ = self.writer.shared().ended.set(reason.clone());
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            if let Request::Append(_, reply) = request {
                let fate = Err(AppendError::Stopped { reason: reason.clone() });
                let _ = reply.send(Answer { fate, _spent: None });
            }
        }
    }
}
