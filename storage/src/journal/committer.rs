//! The one who writes.
use tokio::sync::{mpsc, watch};

use super::event::Seq;
use super::handle::Request;

pub(super) struct Writer(watch::Sender<Seq>);

impl Writer {
    pub(super) fn watch_head(&self) -> watch::Receiver<Seq> {
        self.0.subscribe()
    }
}

/// Writes what is submitted. It must run for appends to be answered, on a thread of its own or, in simulation, as a task.
pub struct Committer {
    _writer: Writer,
    queue: mpsc::Receiver<Request>,
}

impl Committer {
    pub(super) fn new(_writer: Writer, queue: mpsc::Receiver<Request>) -> Self {
        Self { _writer, queue }
    }

    /// Runs on the calling thread until the journal is closed, or every handle dropped, or the writing fails for good.
    pub fn run_blocking(mut self) {
        while self.queue.blocking_recv().is_some() {}
    }

    /// The same as a future, which blocks its thread while it writes: for simulation.
    pub async fn run(mut self) {
        while self.queue.recv().await.is_some() {}
    }
}
