//! Models whose agents lack something. Invariant: what is called and what is answered stay as they are.

use std::sync::Arc;
use std::time::Duration;

use actors::world::World;
use agents::model::{Abilities, BatchCall, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress};
use async_trait::async_trait;
use policies::price::Bounds;
use policies::tokens::Tokens;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// What a call with this model lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacks {
    /// A worst case: nothing is reserved for it, and it is counted when it is paid.
    Worst,
    /// An end of the actor that it has started.
    ActorsEnd,
    /// An end of the task that it has started.
    TasksEnd,
    /// Respect for its guard's breaker: after a failure it calls again by itself, and asks nobody.
    Respect,
}

/// Between two calls of one that asks nobody: longer than a call that was let through may be on its way.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// So many calls of it, at most.
const CALLS_AGAIN_MAX: usize = 4;

/// A model, and what its calls lack.
pub(super) struct Lacking {
    pub(super) model: Arc<dyn Model>,
    pub(super) world: World,
    pub(super) lacks: Lacks,
}

#[async_trait]
impl Model for Lacking {
    fn id(&self) -> ModelId {
        self.model.id()
    }

    fn provider(&self) -> &'static str {
        self.model.provider()
    }

    fn price_key(&self) -> &str {
        self.model.price_key()
    }

    fn abilities(&self) -> Abilities {
        self.model.abilities()
    }

    fn shows_life(&self) -> bool {
        self.model.shows_life()
    }

    fn takes_marks(&self) -> bool {
        self.model.takes_marks()
    }

    fn count(&self, request: &ModelRequest) -> Tokens {
        self.model.count(request)
    }

    fn bounds(&self, request: &ModelRequest) -> Bounds {
        match self.lacks {
            Lacks::Worst => Bounds::default(),
            Lacks::ActorsEnd | Lacks::TasksEnd | Lacks::Respect => self.model.bounds(request),
        }
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        match self.lacks {
            Lacks::Worst => {}
            Lacks::Respect => {
                let reply = self.model.call(request.clone(), progress).await;
                if reply.is_err() {
                    drop(self.world.spawn("chaos/again", again(Arc::clone(&self.model), request)));
                }
                return reply;
            }
            // One that does not start leaves nothing behind either.
            Lacks::ActorsEnd => drop(Actor::spawn(None, Stray, ()).await),
            Lacks::TasksEnd => drop(self.world.spawn("chaos/stray", std::future::pending::<()>())),
        }
        self.model.call(request, progress).await
    }

    fn batches(&self) -> bool {
        self.model.batches()
    }

    async fn call_by_batch(&self, request: ModelRequest, call: BatchCall) -> Result<ModelReply, ModelError> {
        self.model.call_by_batch(request, call).await
    }
}

/// Calls again until it is answered, and nobody hears the answer.
async fn again(model: Arc<dyn Model>, request: ModelRequest) {
    for _ in 0..CALLS_AGAIN_MAX {
        tokio::time::sleep(AGAIN_AFTER).await;
        if model.call(request.clone(), &Progress::default()).await.is_ok() {
            return;
        }
    }
}

/// An actor that belongs to no supervisor, and that nobody ends.
struct Stray;

impl Actor for Stray {
    type Msg = ();
    type State = ActorRef<()>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        Ok(myself)
    }
}
