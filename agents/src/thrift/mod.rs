//! Less money for the same work: a model whose replies are kept, and whose equal requests under way are one.
//!
//! What is given again costs nothing: its usage is empty, and its cost is told to be zero, whatever a
//! request costs by the price table.
//!
//! Invariant: a reply is given again only for an equal request of the same model, the seed apart; a reply
//! that was cut, refused or failed is given to nobody else.

mod flights;
mod key;
mod replies;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actors::world::World;
use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::money::Money;
use policies::price::Bounds;
use policies::thrift::CachePolicy;
use policies::tokens::{Tokens, Usage};

use self::flights::{Flights, Joined, Wait};
use self::key::Key;
pub use self::replies::{REPLIES_VERSION, Replies};
use crate::model::{Abilities, BatchCall, Finish, Model, ModelError, ModelId, ModelReply, ModelRequest, Progress};

/// How often a request joins another that then fails, before it is made on its own.
const JOINS_MAX: u32 = 3;
/// How often whoever waits looks whether the other's call still moves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is saved, and how.
#[derive(Clone)]
pub struct Thrift {
    /// Which replies are kept, and where.
    pub cache: Option<(CachePolicy, Arc<Replies>)>,
    /// Whether equal requests under way are one.
    pub coalesce: bool,
}

/// A model that is asked less often.
pub struct Thrifty {
    model: Arc<dyn Model>,
    thrift: Thrift,
    flights: Flights,
    world: World,
}

impl Thrifty {
    /// The model itself where nothing is to be saved.
    #[must_use]
    pub fn around(model: Arc<dyn Model>, thrift: Thrift, world: &World) -> Arc<dyn Model> {
        if thrift.cache.is_none() && !thrift.coalesce {
            return model;
        }
        Arc::new(Self { model, thrift, flights: Flights::default(), world: world.clone() })
    }

    fn kept(&self, key: &Key) -> Option<ModelReply> {
        let (policy, replies) = self.thrift.cache.as_ref()?;
        replies.get(key, self.world.now(), policy.ttl)
    }

    /// Calls, and keeps what may be given again.
    async fn fetch(&self, key: &Key, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        let outcome = self.model.call(request, progress).await;
        if let (Ok(reply), Some((policy, replies))) = (&outcome, &self.thrift.cache)
            && is_whole(reply)
        {
            replies.put(key, reply, self.world.now(), policy.bytes_max);
        }
        outcome
    }

    /// Waits for another's call; none when that came to nothing that could be shared.
    async fn wait(&self, mut wait: Wait, progress: &Progress) -> Result<Option<ModelReply>, ModelError> {
        let mut heard = wait.beats();
        loop {
            tokio::select! {
                biased;
                () = progress.on_cancelled() => return Err(ModelError::cancelled(&self.model.id())),
                reply = wait.reply() => return Ok(reply),
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let beats = wait.beats();
                    if beats != heard {
                        heard = beats;
                        progress.tick(0);
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Model for Thrifty {
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

    fn batches(&self) -> bool {
        self.model.batches()
    }

    async fn call_by_batch(&self, request: ModelRequest, call: BatchCall) -> Result<ModelReply, ModelError> {
        self.model.call_by_batch(request, call).await
    }

    fn takes_marks(&self) -> bool {
        self.model.takes_marks()
    }

    fn shows_life(&self) -> bool {
        self.model.shows_life()
    }

    fn count(&self, request: &ModelRequest) -> Tokens {
        self.model.count(request)
    }

    fn bounds(&self, request: &ModelRequest) -> Bounds {
        self.model.bounds(request)
    }

    fn bounds_once(&self, request: &ModelRequest) -> Bounds {
        self.model.bounds_once(request)
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        let is_repeatable =
            request.temperature <= 0.0 || self.thrift.cache.as_ref().is_some_and(|(policy, _)| policy.any_temperature);
        let Some(key) = is_repeatable.then(|| Key::of(&self.model.id(), &request)).flatten() else {
            return self.model.call(request, progress).await;
        };
        for _ in 0..JOINS_MAX {
            if let Some(reply) = self.kept(&key) {
                return Ok(given_again(reply));
            }
            if !self.thrift.coalesce {
                break;
            }
            match self.flights.join(&key, progress) {
                Joined::First(lead) => {
                    let outcome = self.fetch(&key, request, progress).await;
                    lead.land(outcome.as_ref().ok().filter(|reply| is_whole(reply)));
                    return outcome;
                }
                Joined::Behind(wait) => {
                    if let Some(reply) = self.wait(wait, progress).await? {
                        return Ok(given_again(reply));
                    }
                }
            }
        }
        if progress.cancelled() {
            return Err(ModelError::free(FailureClass::Shutdown, format!("{} was not asked", self.model.id())));
        }
        self.fetch(&key, request, progress).await
    }
}

/// Whether a reply says all that the model had to say.
fn is_whole(reply: &ModelReply) -> bool {
    matches!(reply.finish, Finish::Stop | Finish::ToolUse)
}

/// What was paid for already.
fn given_again(reply: ModelReply) -> ModelReply {
    ModelReply { usage: Usage { cost_told: Some(Money::ZERO), ..Usage::default() }, ..reply }
}
