//! A publisher that tells somebody when a post goes out and when it is there: a place for crash
//! points. Invariant: it does what the publisher beneath does; a post is told before anything of it
//! is done, and as made only when the platform has said so.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Capabilities, Post, PublishError, Published, Publisher};

/// A moment in the life of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PostPoint {
    /// Before it goes to the platform.
    PostBefore,
    /// After the platform has it, before anybody here knows.
    PostAfter,
}

/// Who is told; called in the middle of the publisher's work, which waits for it.
pub type PostHook = Arc<dyn Fn(PostPoint) + Send + Sync>;

/// This publisher, with somebody who is told of each post. Questions are no posts.
pub fn watched(publisher: Arc<dyn Publisher>, hook: PostHook) -> Arc<dyn Publisher> {
    Arc::new(Watched { publisher, hook })
}

struct Watched {
    publisher: Arc<dyn Publisher>,
    hook: PostHook,
}

#[async_trait]
impl Publisher for Watched {
    async fn publish(&self, post: Post) -> Result<Published, PublishError> {
        (self.hook)(PostPoint::PostBefore);
        let published = self.publisher.publish(post).await?;
        (self.hook)(PostPoint::PostAfter);
        Ok(published)
    }

    async fn find(&self, key: &str) -> Result<Option<Published>, PublishError> {
        self.publisher.find(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.publisher.capabilities()
    }
}
