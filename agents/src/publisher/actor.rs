//! The publisher's actor: one post at a time, in the order they came. Invariant:
//! a post runs in no task of its own, so a publisher that ends has nothing under
//! way but what the platform itself may still do.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actors::guard::{CallOutcome, Permit};
use actors::mailbox::Credit;
use actors::world::{World, message_of};
use futures::FutureExt;
use policies::failure::FailureClass;
use policies::liveness::Doing;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Capabilities, Landed, Post, PublishError, Published, Publisher};
use crate::front::{Front, FrontError, Reply};

/// What a publisher is told.
pub enum PublisherMsg {
    /// Publish this.
    Publish {
        /// The post.
        post: Post,
        /// The guard's permission, given back with the outcome.
        permit: Permit,
        /// Where the outcome goes.
        reply: Reply<Result<Published, PublishError>>,
    },
    /// Is this out?
    Find {
        /// The post's key.
        key: String,
        /// The guard's permission, given back with the outcome.
        permit: Permit,
        /// Where the answer goes.
        reply: Reply<Result<Option<Published>, PublishError>>,
    },
}

impl PublisherMsg {
    /// Whether it is to be handled still.
    fn begins(&self) -> bool {
        match self {
            Self::Publish { reply, .. } => reply.begin(),
            Self::Find { reply, .. } => reply.begin(),
        }
    }
}

/// The actor; its arguments are the platform.
pub struct PublisherActor {
    world: World,
    name: String,
    timeout: Duration,
}

impl PublisherActor {
    /// A publisher's actor in this world, by its name in the tree, which gives each call that long.
    #[must_use]
    pub fn new(world: World, name: &str, timeout: Duration) -> Self {
        Self { world, name: name.to_owned(), timeout }
    }

    async fn guarded<T>(
        &self,
        permit: Permit,
        call: impl Future<Output = Result<T, PublishError>>,
    ) -> Result<T, PublishError> {
        let started = self.world.elapsed();
        let outcome = tokio::time::timeout(self.timeout, call).await.unwrap_or_else(|_| Err(timed_out(self.timeout)));
        permit.finish(CallOutcome {
            class: outcome.as_ref().err().map(|error| error.class),
            took: self.world.elapsed().saturating_sub(started),
        });
        outcome
    }
}

impl Actor for PublisherActor {
    type Msg = PublisherMsg;
    type State = Arc<dyn Publisher>;
    type Arguments = Arc<dyn Publisher>;

    async fn pre_start(
        &self,
        _: ActorRef<PublisherMsg>,
        platform: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(platform)
    }

    async fn handle(
        &self,
        _: ActorRef<PublisherMsg>,
        message: PublisherMsg,
        platform: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if !message.begins() {
            return Ok(());
        }
        let turn = self.world.turn(&self.name).await?;
        match message {
            PublisherMsg::Publish { post, permit, reply } => {
                let call = turn.during(Doing::Calling, self.guarded(permit, platform.publish(post)));
                answered(reply, call).await;
            }
            PublisherMsg::Find { key, permit, reply } => {
                let call = turn.during(Doing::Calling, self.guarded(permit, platform.find(&key)));
                answered(reply, call).await;
            }
        }
        Ok(())
    }
}

/// Answers with what comes of the call. Its panic is laid at the question's door, and goes on.
async fn answered<T>(reply: Reply<T>, call: impl Future<Output = T>) {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(outcome) => reply.send(outcome),
        Err(panic) => {
            reply.killed(FailureClass::Bug, format!("its platform's adapter {}", message_of(panic.as_ref())));
            std::panic::resume_unwind(panic);
        }
    }
}

/// A publisher, whichever of its generations is up.
#[derive(Clone)]
pub struct PublisherHandle {
    capabilities: Capabilities,
    front: Front<PublisherMsg>,
}

impl PublisherHandle {
    /// The handle of a publisher that is yet to be started.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self { capabilities, front: Front::new() }
    }

    /// What its platform can do about doubt.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Where its factory publishes each generation.
    #[must_use]
    pub fn front(&self) -> &Front<PublisherMsg> {
        &self.front
    }

    /// Publishes the post, in a place of its mailbox.
    ///
    /// # Errors
    /// [`PostError`]; a publisher that went away may have posted.
    pub async fn publish(&self, post: Post, permit: Permit, place: Credit) -> Result<Published, PostError> {
        let _under_way = self.front.slot().begin(format!("post {}", post.key));
        Ok(self.front.ask_in(place, |reply| PublisherMsg::Publish { post, permit, reply }).await??)
    }

    /// The post of that key, if it is out.
    ///
    /// # Errors
    /// [`PostError`] when nobody can tell now.
    pub async fn find(&self, key: String, permit: Permit) -> Result<Option<Published>, PostError> {
        Ok(self.front.ask(|reply| PublisherMsg::Find { key, permit, reply }).await??)
    }
}

/// Why a publisher did not publish, or did not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The platform failed.
    #[error(transparent)]
    Platform(#[from] PublishError),
    /// The publisher gave no answer.
    #[error(transparent)]
    Unanswered(#[from] FrontError),
}

impl PostError {
    /// Whether the post may be out.
    #[must_use]
    pub fn landed(&self) -> Landed {
        match self {
            Self::Platform(error) => error.landed,
            Self::Unanswered(error) if error.may_have_acted() => Landed::Unknown,
            Self::Unanswered(_) => Landed::No,
        }
    }
}

fn timed_out(timeout: Duration) -> PublishError {
    PublishError {
        class: FailureClass::Hung,
        landed: Landed::Unknown,
        message: format!("the platform did not answer within {timeout:?}"),
    }
}
