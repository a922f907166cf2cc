//! How others speak to a durable actor. Invariant: every message holds a credit until it is
//! answered, and a command that was not taken is given back.

use std::fmt;

use policies::instant::Timestamp;
use ractor::{ActorCell, ActorRef, MessagingErr};
use storage::journal::{NewEvent, Seq, StreamId, TraceId, Version, Write};
use tokio::sync::oneshot;

use crate::entity::{Beside, Entity};
use crate::letters::LetterId;
use crate::mailbox::{Credit, Credits, Fill};

/// On whose behalf a command is given; it is recorded with its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who: a key's name, or `callboard` for the system itself.
    pub principal: String,
    /// The trace that the command belongs to.
    pub trace: TraceId,
    /// The event that caused it.
    pub cause: Option<Seq>,
}

impl Origin {
    /// The system itself, outside any trace.
    pub fn system() -> Self {
        Self { principal: "callboard".to_owned(), trace: TraceId(0), cause: None }
    }
}

/// What the one who asked gets.
pub type Asked<E> = Result<<E as Entity>::Reply, AskError<<E as Entity>::Refusal>>;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError<Refusal> {
    /// The entity refuses the command in its present state.
    #[error("{0}")]
    Refused(Refusal),
    /// The journal has no room. Nothing happened; ask again when there is.
    #[error("the journal is full, so nothing new can be recorded; free space and ask again")]
    Full,
    /// The mailbox is full. Nothing happened; ask again later.
    #[error("too many commands are under way; ask again later")]
    Busy,
    /// A stream that the decision depended on has moved on. Nothing happened; ask again.
    #[error("`{stream}` changed meanwhile (from version {expected} to {actual}); ask again")]
    Stale {
        /// The stream that moved.
        stream: StreamId,
        /// The version that the decision depended on.
        expected: Version,
        /// The version that it has.
        actual: Version,
    },
    /// What the command leads to is too large to record. Nothing happened.
    #[error("what this leads to is too large to be recorded: {0}")]
    TooLarge(String),
    /// The write failed and was taken back, of this command or of one before it. Nothing happened;
    /// ask again.
    #[error("it could not be recorded, so nothing happened; ask again")]
    Undone,
    /// The command killed the actor in this state too often. Nothing happened; the letter says what to do.
    #[error(
        "this killed whoever handled it too often and is the dead letter {0}; look at it, then replay or discard it"
    )]
    Dead(LetterId),
    /// The actor is not there, and has not seen the command; ask again once it is.
    #[error("the actor is not running and has not seen the command; ask again")]
    Gone,
    /// The actor could not be started.
    #[error("the actor cannot be started: {0}")]
    NotStarted(String),
    /// The actor ended before it answered: the command may or may not have happened.
    #[error("no answer, so it may or may not have happened: {reason}")]
    Lost {
        /// Why there is none.
        reason: String,
    },
}

/// A durable actor as others see it; a cheap clone, good for one life of the actor.
pub struct Handle<E: Entity> {
    actor: ActorRef<Message<E>>,
    credits: Credits,
    stream: StreamId,
}

/// A message of a durable actor; only its handle makes one.
pub struct Message<E: Entity>(pub(super) Inner<E>);

pub(super) enum Inner<E: Entity> {
    Command(Box<Envelope<E>>),
    Note(Note),
}

/// What the actor's own tasks tell it.
pub(super) enum Note {
    /// An append has ended, well or not.
    Landed,
    /// A snapshot is written, or has failed.
    Snapshotted,
    /// It may be time to rest.
    Rest,
}

pub(super) struct Envelope<E: Entity> {
    pub(super) command: E::Command,
    pub(super) origin: Origin,
    /// Nobody waits for the answer to what was told.
    pub(super) answer: Option<oneshot::Sender<Asked<E>>>,
    pub(super) credit: Credit,
}

/// A command that the actor did not take.
pub(super) enum NotTaken<E: Entity> {
    Busy,
    Gone(E::Command),
}

impl<E: Entity> NotTaken<E> {
    pub(super) fn error(&self) -> AskError<E::Refusal> {
        match self {
            Self::Busy => AskError::Busy,
            Self::Gone(_) => AskError::Gone,
        }
    }
}

/// An answer on its way.
pub(super) struct Awaited<E: Entity>(oneshot::Receiver<Asked<E>>);

impl<E: Entity> Awaited<E> {
    pub(super) async fn answer(self) -> Asked<E> {
        self.0.await.unwrap_or_else(|_| {
            let reason = "the actor ended before it could answer".to_owned();
            Err(AskError::Lost { reason })
        })
    }
}

impl<E: Entity> Clone for Handle<E> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), credits: self.credits.clone(), stream: self.stream.clone() }
    }
}

impl<E: Entity> fmt::Debug for Handle<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("stream", &self.stream.as_str()).finish_non_exhaustive()
    }
}

impl<E: Entity> Handle<E> {
    pub(super) fn new(actor: ActorRef<Message<E>>, credits: Credits, id: &str) -> Self {
        Self { actor, credits, stream: stream_of::<E>(id) }
    }

    /// Asks on the system's behalf, and waits until the answer is durable. Dropping the future
    /// takes back the wait, not the command.
    ///
    /// # Errors
    /// [`AskError`]; each variant says whether anything happened.
    pub async fn ask(&self, command: E::Command) -> Asked<E> {
        self.ask_as(Origin::system(), command).await
    }

    /// Asks on somebody's behalf.
    ///
    /// # Errors
    /// As [`Handle::ask`].
    pub async fn ask_as(&self, origin: Origin, command: E::Command) -> Asked<E> {
        match self.offer(origin, command).await {
            Ok(awaited) => awaited.answer().await,
            Err(refused) => Err(refused.error()),
        }
    }

    /// Gives a command whose answer nobody waits for; a refusal of it is only logged.
    ///
    /// # Errors
    /// [`AskError::Busy`] or [`AskError::Gone`].
    pub fn tell(&self, origin: Origin, command: E::Command) -> Result<(), AskError<E::Refusal>> {
        let credit = self.credits.try_take();
        self.send(credit, origin, command, None).map_err(|refused| refused.error())
    }

    pub(super) async fn report(&self, origin: Origin, command: E::Command) -> Asked<E> {
        let (answer, awaited) = oneshot::channel();
        let credit = self.credits.take_reserved();
        match self.send(credit, origin, command, Some(answer)) {
            Ok(()) => Awaited::<E>(awaited).answer().await,
            Err(refused) => Err(refused.error()),
        }
    }

    /// Hands the command over, or gives it back.
    pub(super) async fn offer(&self, origin: Origin, command: E::Command) -> Result<Awaited<E>, NotTaken<E>> {
        let (answer, awaited) = oneshot::channel();
        let credit = self.credits.take().await;
        self.send(credit, origin, command, Some(answer)).map(|()| Awaited(awaited))
    }

    fn send(
        &self,
        credit: Option<Credit>,
        origin: Origin,
        command: E::Command,
        answer: Option<oneshot::Sender<Asked<E>>>,
    ) -> Result<(), NotTaken<E>> {
        let Some(credit) = credit else {
            // Closing is for ever: if it is closed now, a new life will take the command.
            if self.credits.is_closed() {
                return Err(NotTaken::Gone(command));
            }
            return Err(NotTaken::Busy);
        };
        let envelope = Envelope { command, origin, answer, credit };
        match self.actor.send_message(Message(Inner::Command(Box::new(envelope)))) {
            Err(MessagingErr::SendErr(Message(Inner::Command(envelope)))) => Err(NotTaken::Gone(envelope.command)),
            // The types match, and any other failure drops the answer: the one who asked learns
            // that it is lost.
            _ => Ok(()),
        }
    }

    /// The entity's stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// The ractor cell, for a supervisor.
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// How its mailbox stands.
    pub fn fill(&self) -> Fill {
        self.credits.fill()
    }

    /// How many commands are under way.
    pub fn depth(&self) -> usize {
        self.credits.depth()
    }

    /// Waits until this life of the actor has ended.
    pub async fn stopped(&self) {
        // Without a time-out there is nothing that could fail.
        let _ = self.actor.wait(None).await;
    }
}

/// The stream of entity `id`.
pub(super) fn stream_of<E: Entity>(id: &str) -> StreamId {
    StreamId::from(format!("{}/{id}", E::KIND))
}

impl Origin {
    /// An event for another stream as the journal takes it.
    pub(super) fn beside(&self, beside: &Beside, time: Timestamp) -> Result<Write, serde_json::Error> {
        let event = NewEvent {
            kind: beside.kind.to_owned(),
            schema: 1,
            time,
            principal: self.principal.clone(),
            trace: self.trace,
            cause: self.cause,
            subject: None,
            payload: serde_json::to_vec(&beside.payload)?,
        };
        Ok(Write { stream: beside.stream.clone(), expected: None, events: vec![event] })
    }

    /// An event as the journal takes it.
    pub(super) fn event<E: Entity>(&self, event: &E::Event, time: Timestamp) -> Result<NewEvent, serde_json::Error> {
        Ok(NewEvent {
            kind: E::kind(event).to_owned(),
            schema: E::SCHEMA,
            time,
            principal: self.principal.clone(),
            trace: self.trace,
            cause: self.cause,
            subject: E::subject(event),
            payload: serde_json::to_vec(event)?,
        })
    }
}
