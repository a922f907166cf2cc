//! The front of a supervised worker: whoever holds it can ask, whichever
//! generation is up. Invariant: questions unanswered never pass the capacity,
//! and each is answered, refused or reported lost, never left waiting for an
//! actor that is gone.

use std::time::Duration;

use actors::mailbox::{Credit, Credits};
use ractor::Message;
use supervisor::{NotUp, Slot};
use tokio::sync::oneshot;

/// How long a question waits for a worker that is restarting.
const UP_WAIT_MAX: Duration = Duration::from_secs(30);

/// A worker's slot and the bound on what it has yet to answer. Clones share both.
#[derive(Debug)]
pub struct Front<M: Message> {
    slot: Slot<M>,
    credits: Credits,
}

/// Where a worker answers one question. Dropped unanswered, it tells the one
/// who asked that the question is lost.
#[derive(Debug)]
pub struct Reply<T> {
    sender: oneshot::Sender<T>,
    _credit: Credit,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontError {
    /// Too many questions are unanswered.
    #[error("{capacity} requests wait already; try again later")]
    Full {
        /// How many may wait.
        capacity: usize,
    },
    /// There is no worker to ask; it never had the question.
    #[error(transparent)]
    NotUp(#[from] NotUp),
    /// The worker went away with the question.
    #[error("the worker ended before it answered; whether it did anything is not known")]
    Lost,
}

impl<M: Message> Front<M> {
    /// A front with an empty slot, for at most `capacity` unanswered questions.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { slot: Slot::new(), credits: Credits::new(capacity) }
    }

    /// Where the worker's factory publishes each generation.
    #[must_use]
    pub fn slot(&self) -> &Slot<M> {
        &self.slot
    }

    /// The mailbox's bound and depth, for the operator.
    #[must_use]
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// Sends the message made with a place for its answer, and waits for that.
    ///
    /// # Errors
    /// [`FrontError`]; only after `Lost` may the worker have acted.
    pub async fn ask<T: Send + 'static>(&self, message: impl FnOnce(Reply<T>) -> M) -> Result<T, FrontError> {
        let full = || FrontError::Full { capacity: self.credits.capacity() };
        let credit = self.credits.try_take().ok_or_else(full)?;
        let worker = self.slot.await_up(UP_WAIT_MAX).await?;
        let (sender, answer) = oneshot::channel();
        // A worker that ends now drops the message and with it the sender.
        let _ = worker.cast(message(Reply { sender, _credit: credit }));
        answer.await.map_err(|_| FrontError::Lost)
    }
}

impl<M: Message> Clone for Front<M> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), credits: self.credits.clone() }
    }
}

impl<T> Reply<T> {
    /// Answers. Whoever asked may have stopped waiting, which is theirs to do.
    pub fn send(self, answer: T) {
        let _ = self.sender.send(answer);
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
}
