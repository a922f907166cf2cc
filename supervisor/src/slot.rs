//! Where the users of a worker find its current generation.
//!
//! Invariant: a slot outlives every generation of its actor, and [`Slot::current`] never
//! hands out a reference to an actor that has begun to end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::latest::Latest;
use ractor::{ActorRef, ActorStatus, Message};

use crate::gate::{Gate, UnderWay};

/// The worker did not come up in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the worker was not up within {waited:?}: it is restarting or was stopped; try again later")]
pub struct NotUp {
    /// How long was waited.
    pub waited: Duration,
}

/// A typed place that a worker's factory fills at each start. Cheap to clone.
pub struct Slot<M: Message> {
    generations: Arc<Latest<Option<ActorRef<M>>>>,
    /// Known from the first start on.
    gate: Arc<OnceLock<Gate>>,
}

impl<M: Message> Slot<M> {
    /// An empty slot.
    pub fn new() -> Self {
        Self { generations: Arc::new(Latest::new(None)), gate: Arc::default() }
    }

    /// Puts the worker's gate in front of the slot; the first one stays.
    pub fn attach(&self, gate: &Gate) {
        let _ = self.gate.set(gate.clone());
    }

    /// The worker's gate, once it was started.
    pub fn gate(&self) -> Option<&Gate> {
        self.gate.get()
    }

    /// Notes that the worker was given this work; it is done when what this returns is dropped.
    pub fn begin(&self, what: impl Into<String>) -> Option<UnderWay> {
        self.gate.get().map(|gate| gate.begin(what))
    }

    /// Makes this the current generation.
    pub fn publish(&self, actor: ActorRef<M>) {
        self.generations.set(Some(actor));
    }

    /// The current generation, if it takes messages now.
    pub fn current(&self) -> Option<ActorRef<M>> {
        self.generations.get().filter(takes_messages)
    }

    /// The current generation, waiting for the next one while there is none.
    ///
    /// # Errors
    /// [`NotUp`] when none came within the time given.
    pub async fn await_up(&self, within: Duration) -> Result<ActorRef<M>, NotUp> {
        let mut generations = self.generations.watch();
        let up = generations.wait_for(|actor| actor.as_ref().is_some_and(takes_messages));
        match tokio::time::timeout(within, up).await {
            // It is ours, so it cannot be closed while we wait.
            Ok(Ok(actor)) => actor.ok_or(NotUp { waited: within }),
            Ok(Err(_)) | Err(_) => Err(NotUp { waited: within }),
        }
    }
}

fn takes_messages<M: Message>(actor: &ActorRef<M>) -> bool {
    actor.get_status() < ActorStatus::Draining
}

impl<M: Message> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { generations: Arc::clone(&self.generations), gate: Arc::clone(&self.gate) }
    }
}

impl<M: Message> Default for Slot<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.current()).finish()
    }
}
