//! The durable actor: one entity on ractor, its state the fold of its stream.
//!
//! Invariants. Nothing is answered and no effect starts before the sync that covers it, and both
//! happen in the order of the commands. A command is decided on the state that all commands before
//! it led to, synced or not: the handler is serial, so nothing changes that state between
//! [`Host::prepare`] and [`Entity::decide`]. What is not written leaves no trace in the state.

mod actor;
mod directory;
mod flight;
mod fold;
mod handle;
mod landings;
mod recent;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use policies::mailbox::MailboxPolicy;
use ractor::{Actor, ActorCell, SpawnErr};
use storage::journal::{Journal, StreamId};
use storage::snapshots::Snapshots;
use tokio_util::sync::CancellationToken;

pub use actor::Failure;
pub use directory::{Directory, Spawner, WakeError};
pub use fold::FoldError;
pub use handle::{AskError, Asked, Handle, Message, Origin};
pub use recent::Recent;

use crate::entity::Entity;
use crate::letters::Letters;
use crate::mailbox::{Bound, Credits};
use crate::telemetry::Metrics;
use crate::world::World;
use landings::Landings;

/// What every durable actor stands on; a cheap clone.
#[derive(Clone)]
pub struct Spine {
    /// Clock, chance and tasks.
    pub world: World,
    /// Where the events are.
    pub journal: Journal,
    /// Where folds are kept.
    pub snapshots: Arc<Snapshots>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// The commands that are out of circulation.
    pub letters: Letters,
    /// What was written moments ago.
    pub recent: Recent,
    landings: Landings,
}

impl Spine {
    /// One spine; the actors of one system share it.
    pub fn new(world: World, journal: Journal, snapshots: Arc<Snapshots>, metrics: Metrics) -> Self {
        let letters = Letters::new(world.clone(), journal.clone(), metrics.clone());
        Self { world, journal, snapshots, metrics, letters, recent: Recent::default(), landings: Landings::default() }
    }
}

/// Bounds of one durable actor.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most commands under way: waiting, being decided, or waiting for their sync; and what
    /// becomes of one more.
    pub mailbox: Bound,
    /// How long nothing must happen before the actor may rest; `None` for one that never does.
    pub rest_after: Option<Duration>,
    /// How many events there are from one snapshot to the next; 0 for none.
    pub snapshot_every: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mailbox: Bound::new(MailboxPolicy::of(256)),
            rest_after: Some(Duration::from_secs(60)),
            snapshot_every: 256,
        }
    }
}

/// What surrounds an entity: what its commands need from outside, and the effects of its events.
///
/// Its methods run inside the actor, which handles nothing else meanwhile: long work belongs in a
/// task ([`World::spawn`]) that ends with [`Context::ended`] and reports by [`Context::report`].
#[async_trait]
pub trait Host<E: Entity>: Send + Sync + 'static {
    /// Completes a command before it is decided: gathers grants, draws ids, reads the clock.
    /// `state` is the one that the command will be decided on. Asking another actor is fine as
    /// long as that one never asks back. What the command holds is dropped if it is refused.
    async fn prepare(&self, _state: &E::State, command: E::Command) -> E::Command {
        command
    }

    /// Events are durable, and `state` is the fold up to and with them: effects may start.
    async fn started(&self, _context: &Context<E>, _state: &E::State, _events: &[E::Event]) {}

    /// A command's events are not durable and never will be, so that the state is `state` again, the fold of what is:
    /// what [`Self::prepare`] gathered for them, and for all that was decided on top of them, is of no use.
    async fn undone(&self, _state: &E::State) {}

    /// The actor has started with this fold: effects that were intended and have no outcome are
    /// resumed here.
    async fn recovered(&self, _context: &Context<E>, _state: &E::State) {}

    /// Whether an actor in this state may rest; not while an effect is under way.
    fn idle(&self, _state: &E::State) -> bool {
        true
    }
}

/// A host without effects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl<E: Entity> Host<E> for Alone {}

/// What an effect knows of its actor; a cheap clone.
pub struct Context<E: Entity> {
    spine: Spine,
    handle: Handle<E>,
    id: Arc<str>,
    ended: CancellationToken,
}

impl<E: Entity> Clone for Context<E> {
    fn clone(&self) -> Self {
        Self {
            spine: self.spine.clone(),
            handle: self.handle.clone(),
            id: Arc::clone(&self.id),
            ended: self.ended.clone(),
        }
    }
}

impl<E: Entity> Context<E> {
    /// The entity's id, without its kind.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The entity's stream.
    pub fn stream(&self) -> &StreamId {
        self.handle.stream()
    }

    /// Clock, chance and tasks.
    pub fn world(&self) -> &World {
        &self.spine.world
    }

    /// What the actor stands on.
    pub fn spine(&self) -> &Spine {
        &self.spine
    }

    /// The actor, as others see it.
    pub fn handle(&self) -> &Handle<E> {
        &self.handle
    }

    /// Cancelled when this life of the actor ends, however it ends. The next life finds in its
    /// state what was under way.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Tells the actor an effect's outcome. It passes a full mailbox, since an outcome refused
    /// would be an outcome lost; the effects that the actor started bound their number.
    ///
    /// # Errors
    /// As [`Handle::ask`], but never busy.
    pub async fn report(&self, origin: Origin, command: E::Command) -> Asked<E> {
        self.handle.report(origin, command).await
    }
}

/// A durable actor did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its stream could not be folded; until that is repaired, starting again will not help.
    #[error("the entity's stream cannot be folded")]
    Fold(#[source] FoldError),
    /// It was stopped while it started, or its supervisor is shutting down.
    #[error("the actor did not start: {0}")]
    Stopped(String),
}

/// The ractor actor that runs one entity.
pub struct Durable<E: Entity> {
    host: Arc<dyn Host<E>>,
}

impl<E: Entity> Durable<E> {
    /// Starts the actor of entity `id`, linked to `supervisor` if there is one, and folds its
    /// stream. At most one actor may run one entity: a second one is found out by the journal,
    /// which refuses its writes, and fails.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(
        spine: &Spine,
        id: &str,
        host: Arc<dyn Host<E>>,
        options: Options,
        supervisor: Option<ActorCell>,
    ) -> Result<Handle<E>, StartError> {
        let credits = Credits::new(options.mailbox.clone());
        credits.count_as(spine.metrics.clone(), E::KIND);
        let start = actor::Start { spine: spine.clone(), id: id.into(), options, credits: credits.clone() };
        // Unnamed: ractor's registry is process-wide, and several systems may share a process.
        let spawned = match supervisor {
            Some(supervisor) => Self::spawn_linked(None, Self { host }, start, supervisor).await,
            None => Self::spawn(None, Self { host }, start).await,
        };
        match spawned {
            Ok((actor, _)) => Ok(Handle::new(actor, credits, id)),
            Err(SpawnErr::StartupFailed(error)) => Err(match error.downcast::<FoldError>() {
                Ok(error) => StartError::Fold(*error),
                Err(error) => StartError::Stopped(error.to_string()),
            }),
            Err(error) => Err(StartError::Stopped(error.to_string())),
        }
    }
}
