//! The front of a supervised worker: whoever holds it can ask, whichever
//! generation is up. Invariant: questions unanswered never pass the mailbox's
//! bound, and each is answered, refused or reported with what became of it,
//! never left waiting for an actor that is gone.

use std::sync::Arc;
use std::time::Duration;

use actors::latest::Latest;
use actors::mailbox::{Bound, Cause, Credit, Credits, Ticket};
use actors::telemetry::Metrics;
use policies::failure::FailureClass;
use policies::poison::PoisonPolicy;
use policies::tree::WorkerPolicy;
use ractor::Message;
use supervisor::{NotUp, Slot};
use tokio::sync::oneshot;

/// How long a question waits for a worker that is restarting.
pub(crate) const UP_WAIT_MAX: Duration = Duration::from_secs(30);

/// A worker's slot, the bound on what it has yet to answer, and when a message is poison to it. Clones
/// share them.
#[derive(Debug)]
pub struct Front<M: Message> {
    slot: Slot<M>,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug)]
struct Mailbox {
    credits: Credits,
    poison: Latest<PoisonPolicy>,
}

/// The way into a worker's mailbox.
#[derive(Clone, Debug)]
pub struct Entrance(Credits);

impl Default for Entrance {
    fn default() -> Self {
        Self(Credits::new(Bound::default()))
    }
}

impl Entrance {
    /// A place in the mailbox, if there is one now.
    ///
    /// # Errors
    /// [`FrontError::Full`].
    pub fn try_enter(&self) -> Result<Credit, FrontError> {
        self.0.try_take().ok_or_else(|| self.full())
    }

    /// A place in the mailbox; it is waited for as the policy says.
    ///
    /// # Errors
    /// [`FrontError::Full`].
    pub async fn enter(&self) -> Result<Credit, FrontError> {
        self.0.take().await.ok_or_else(|| self.full())
    }

    fn full(&self) -> FrontError {
        FrontError::Full { capacity: self.0.capacity() }
    }
}

/// Where a worker answers one question. Dropped unanswered, it tells the one
/// who asked what became of the question.
#[derive(Debug)]
pub struct Reply<T> {
    sender: Option<oneshot::Sender<T>>,
    credit: Credit,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontError {
    /// Too many questions are unanswered.
    #[error("its mailbox is full: {capacity} requests wait already; try again later")]
    Full {
        /// How many may wait.
        capacity: usize,
    },
    /// It made room for a later one.
    #[error("its mailbox is full, and a later request took the place of this one; try again later")]
    Dropped,
    /// There is no worker to ask; it never had the question.
    #[error(transparent)]
    NotUp(#[from] NotUp),
    /// The worker went away before it came to the question.
    #[error("the worker ended before it came to this; nothing was done")]
    Untaken,
    /// The worker went away with the question, for a reason of its own.
    #[error("the worker ended before it answered; whether it did anything is not known")]
    Lost,
    /// The question killed the worker.
    #[error("the worker died of this ({}): {}; whether it did anything is not known", .0.class, .0.message)]
    Killed(Cause),
}

impl FrontError {
    /// Whether the worker may have acted.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        matches!(self, Self::Lost | Self::Killed(_))
    }
}

impl<M: Message> Default for Front<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> Front<M> {
    /// A front with an empty slot, under the default policy until it is [governed](Self::govern).
    #[must_use]
    pub fn new() -> Self {
        let (credits, poison) = (Credits::new(Bound::default()), Latest::new(PoisonPolicy::default()));
        Self { slot: Slot::new(), mailbox: Arc::new(Mailbox { credits, poison }) }
    }

    /// Holds the mailbox to the worker's policy from now on.
    pub fn govern(&self, policy: &WorkerPolicy) {
        self.mailbox.credits.bound().govern(policy.mailbox);
        self.mailbox.poison.set(policy.poison);
    }

    /// Counts what happens in the mailbox as that of `worker`.
    pub fn count_as(&self, metrics: &Metrics, worker: &str) {
        self.mailbox.credits.count_as(metrics.clone(), worker);
    }

    /// Where the worker's factory publishes each generation.
    #[must_use]
    pub fn slot(&self) -> &Slot<M> {
        &self.slot
    }

    /// The mailbox's bound and depth, for the operator.
    #[must_use]
    pub fn credits(&self) -> &Credits {
        &self.mailbox.credits
    }

    /// The way into the mailbox, whatever the worker is told there.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        Entrance(self.mailbox.credits.clone())
    }

    /// When a message is poison to the worker, as it is in force.
    #[must_use]
    pub fn poison(&self) -> PoisonPolicy {
        self.mailbox.poison.get()
    }

    /// A place in the mailbox; it is waited for as the policy says.
    ///
    /// # Errors
    /// [`FrontError::Full`].
    pub async fn enter(&self) -> Result<Credit, FrontError> {
        self.entrance().enter().await
    }

    /// Sends the message made with a place for its answer, and waits for that.
    ///
    /// # Errors
    /// [`FrontError`]; it says whether the worker may have acted.
    pub async fn ask<T: Send + 'static>(&self, message: impl FnOnce(Reply<T>) -> M) -> Result<T, FrontError> {
        let place = self.enter().await?;
        self.ask_in(place, message).await
    }

    /// The same in a place of the mailbox that was entered before.
    ///
    /// # Errors
    /// [`FrontError`], but never that it is full.
    pub async fn ask_in<T: Send + 'static>(
        &self,
        place: Credit,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, FrontError> {
        let worker = self.slot.await_up(UP_WAIT_MAX).await?;
        let (sender, answer) = oneshot::channel();
        let ticket = Arc::clone(place.ticket());
        // A worker that ends now drops the message and with it the sender.
        let _ = worker.cast(message(Reply { sender: Some(sender), credit: place }));
        tokio::select! {
            biased;
            answered = answer => answered.map_err(|_| fate(&ticket)),
            () = ticket.dropped() => Err(FrontError::Dropped),
        }
    }
}

/// What became of a message that has no answer.
fn fate(ticket: &Ticket) -> FrontError {
    match ticket.death() {
        Some(cause) => FrontError::Killed(cause.clone()),
        None if ticket.is_taken() => FrontError::Lost,
        None if ticket.is_dropped() => FrontError::Dropped,
        None => FrontError::Untaken,
    }
}

impl<M: Message> Clone for Front<M> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<T> Reply<T> {
    /// The worker begins with the question; or leaves it, when nobody waits for its answer any more. Said
    /// first of all: a question that was not begun is one that nothing was done for, and that killed nobody.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| !sender.is_closed()) && self.credit.begin()
    }

    /// Answers. Whoever asked may have stopped waiting, which is theirs to do.
    pub fn send(mut self, answer: T) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(answer);
        }
    }

    /// The worker dies of this question.
    pub fn killed(self, class: FailureClass, message: impl Into<String>) {
        self.credit.ticket().blame(Cause { class, message: message.into() });
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // A handler that panics drops the message that it is at while it unwinds, and with it those that wait,
        // which were not begun.
        let unanswered = self.sender.is_some() && self.credit.ticket().is_taken();
        if unanswered && std::thread::panicking() {
            let message = "its handler panicked while it was at this".to_owned();
            self.credit.ticket().blame(Cause { class: FailureClass::Bug, message });
        }
    }
}

#[cfg(test)]
mod tests;
