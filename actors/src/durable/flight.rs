//! What has been decided and is not yet answered, in the order of the commands. Invariant: an
//! answer leaves only after everything before it has landed.

use std::collections::VecDeque;
use std::time::Duration;

use storage::journal::{AppendError, Appended};
use tokio::sync::oneshot;

use super::handle::{AskError, Asked};
use crate::entity::Entity;
use crate::mailbox::Credit;

/// How an append ended.
pub(super) enum Landed {
    Synced(Appended),
    Failed(AppendError),
    /// Whoever waited for it is gone.
    Vanished,
}

/// What befell a flight whose predecessor could not be recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doom {
    /// It was the lack of room, so this one has none either.
    Full,
    /// It was something about the predecessor alone.
    Undone,
}

impl Doom {
    /// What whoever asked is told.
    pub(super) fn answer<R>(self) -> AskError<R> {
        match self {
            Self::Full => AskError::Full,
            Self::Undone => AskError::Undone,
        }
    }
}

/// What came of a flight that has landed.
pub(super) enum Came<E: Entity> {
    /// It is answered, and nothing follows.
    Nothing,
    /// These events are durable; whoever asked is to be answered.
    Of(Vec<E::Event>, Flight<E>),
    /// Its events are not, and the state is what it was before them.
    Undone,
}

/// One decided command.
pub(super) struct Flight<E: Entity> {
    /// What happened; empty for a question or a refusal.
    pub(super) events: Vec<E::Event>,
    /// The answer once it has landed.
    pub(super) outcome: Asked<E>,
    /// What to answer instead, if it was built on something that did not happen.
    pub(super) doom: Option<Doom>,
    pub(super) answer: Option<oneshot::Sender<Asked<E>>>,
    /// Held until the answer is out, so that the mailbox counts what is in flight.
    pub(super) credit: Credit,
    pub(super) landing: Landing,
}

/// When a flight has landed.
pub(super) enum Landing {
    /// As soon as the one before it has: there is nothing to write.
    Here,
    /// When its append has ended.
    Append {
        ended: oneshot::Receiver<Landed>,
        /// When it was submitted, on the monotonic clock.
        submitted: Duration,
    },
}

impl<E: Entity> Flight<E> {
    /// Answers with the outcome that was decided, or with what came instead.
    pub(super) fn settle(mut self, instead: Option<AskError<E::Refusal>>) {
        let outcome: Asked<E> = std::mem::replace(&mut self.outcome, Err(AskError::Undone));
        self.answer(instead.map_or(outcome, Err));
    }

    /// Answers. Nobody may be listening any more, which is theirs to choose.
    pub(super) fn answer(self, outcome: Asked<E>) {
        match self.answer {
            Some(answer) => drop(answer.send(outcome)),
            None => {
                if let Err(refused) = outcome {
                    tracing::warn!(entity = E::KIND, %refused, "a command nobody waits for had no effect");
                }
            }
        }
        drop(self.credit);
    }
}

/// The flights in their order; the mailbox's credits bound their number.
pub(super) struct Flights<E: Entity>(VecDeque<Flight<E>>);

/// The first flight, once it has landed: how its append ended, if there was one.
pub(super) type First<E> = (Flight<E>, Option<(Landed, Duration)>);

impl<E: Entity> Flights<E> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn push(&mut self, flight: Flight<E>) {
        self.0.push_back(flight);
    }

    /// The first, if it has landed.
    pub(super) fn next_landed(&mut self) -> Option<First<E>> {
        let landed = match &mut self.0.front_mut()?.landing {
            Landing::Here => None,
            Landing::Append { ended, submitted } => match ended.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return None,
                ended => Some((ended.unwrap_or(Landed::Vanished), *submitted)),
            },
        };
        self.0.pop_front().map(|flight| (flight, landed))
    }

    /// The first, as soon as it has landed; `None` when there is none.
    pub(super) async fn landed(&mut self) -> Option<First<E>> {
        let landed = match &mut self.0.front_mut()?.landing {
            Landing::Here => None,
            Landing::Append { ended, submitted } => Some((ended.await.unwrap_or(Landed::Vanished), *submitted)),
        };
        self.0.pop_front().map(|flight| (flight, landed))
    }

    /// Everything in flight was built on what did not happen.
    pub(super) fn doom(&mut self, doom: Doom) {
        for flight in &mut self.0 {
            flight.doom.get_or_insert(doom);
        }
    }

    /// Answers everything in flight: nobody knows how it ends.
    pub(super) fn lose(&mut self, reason: &str) {
        for flight in self.0.drain(..) {
            flight.answer(Err(AskError::Lost { reason: reason.to_owned() }));
        }
    }
}
