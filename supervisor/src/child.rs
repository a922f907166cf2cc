//! How a child is made: the factory its owner gives, and what the factory is told.
//!
//! Invariant: no actor is registered under a name; users find a worker through its slot.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, SpawnErr};

use crate::failure::Failure;
use crate::gate::Gate;
use crate::slot::Slot;
use crate::snapshot::Depth;

/// Starts one generation of a child, linked to [`StartContext::supervisor`], and returns
/// once it is up. It is dropped half-way when the child is no longer wanted; what it has
/// linked by then is killed.
pub type Factory = Arc<dyn Fn(StartContext) -> BoxFuture<'static, Result<ActorCell, StartError>> + Send + Sync>;

/// Reads how full a child's mailbox is; must not block, nor ask the tree anything.
pub type Gauge = Arc<dyn Fn() -> Depth + Send + Sync>;

/// What a factory is told.
#[derive(Clone)]
pub struct StartContext {
    /// The child's name in the tree.
    pub name: String,
    /// Which of its lives this is, from 1.
    pub generation: u64,
    /// Its supervisor; spawn linked to it.
    pub supervisor: ActorCell,
    gauge: Arc<OnceLock<Gauge>>,
    gate: Gate,
}

impl StartContext {
    /// A context for a child of this supervisor.
    pub fn new(name: impl Into<String>, generation: u64, supervisor: ActorCell) -> Self {
        Self { name: name.into(), generation, supervisor, gauge: Arc::default(), gate: Gate::default() }
    }

    /// The same, behind the gate of the child.
    pub(crate) fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// The child's gate, the same for every generation: whoever gives it work asks there first.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Lets the tree's picture show this generation's mailbox. The first gauge given stays.
    pub fn show_mailbox(&self, gauge: Gauge) {
        // A second gauge is a factory's slip that costs nothing.
        let _ = self.gauge.set(gauge);
    }

    pub(crate) fn gauge(&self) -> Arc<OnceLock<Gauge>> {
        Arc::clone(&self.gauge)
    }
}

/// Why a child did not start. It counts as a failure of that class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the child did not start: {}", .0.message)]
pub struct StartError(pub Failure);

impl StartError {
    /// Classified by what the error's chain says.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        Self(Failure::classify(error))
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<SpawnErr> for StartError {
    fn from(error: SpawnErr) -> Self {
        match error {
            // Its own words only wrap the cause's.
            SpawnErr::StartupFailed(cause) => Self::of(cause.as_ref()),
            other => Self::of(&other),
        }
    }
}

/// The factory of a worker whose actor is made by `make` and published in `slot`.
pub fn worker<A, F>(slot: Slot<A::Msg>, make: F) -> Factory
where
    A: Actor,
    F: Fn(&StartContext) -> (A, A::Arguments) + Send + Sync + 'static,
{
    Arc::new(move |context| {
        let slot = slot.clone();
        slot.attach(context.gate());
        let (actor, arguments) = make(&context);
        Box::pin(async move {
            let (actor, _) = Actor::spawn_linked(None, actor, arguments, context.supervisor).await?;
            slot.publish(actor.clone());
            Ok(actor.get_cell())
        })
    })
}
