//! Publishers: where posts go. Invariant: a post is named by its effect's key, so
//! that after any doubt one can ask whether it is there, and a failure always
//! says whether the post may have landed all the same.

mod actor;
mod archive;
mod document;
mod feed;
pub mod watched;
mod webhook;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};

pub use actor::{PostError, PublisherActor, PublisherHandle, PublisherMsg};
pub use feed::{FeedOptions, FeedPublisher};
pub use webhook::{WebhookOptions, WebhookOptionsError, WebhookPublisher};

/// One post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// The effect's key: two posts with one key are one post.
    pub key: String,
    /// Its title.
    pub title: String,
    /// Its text, plain; a blank line parts paragraphs.
    pub text: String,
    /// The address it points to.
    pub link: Option<String>,
    /// When it is published.
    pub published: Timestamp,
}

/// A post that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The platform's name for it.
    pub remote_id: String,
    /// Where it can be seen, if it has an address.
    pub url: Option<String>,
}

/// Whether a post whose publishing failed may be out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landed {
    /// Certainly not.
    No,
    /// It may be: ask, or leave it to a person.
    Unknown,
}

/// A post could not be published, or the question not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PublishError {
    /// How it is to be handled.
    pub class: FailureClass,
    /// Whether the post may be out.
    pub landed: Landed,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// What a platform can do about doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A second post with the same key is no second post.
    pub deduplicates: bool,
    /// It can say whether a key was posted.
    pub can_be_asked: bool,
    /// A request may still land after the process that made it has died, so one
    /// waits for that before one asks.
    pub lands_late: bool,
}

/// A platform.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes the post, once.
    ///
    /// # Errors
    /// [`PublishError`], which says whether the post may be out.
    async fn publish(&self, post: Post) -> Result<Published, PublishError>;

    /// The post of that key, if it is out.
    ///
    /// # Errors
    /// [`PublishError`] when the platform cannot tell now.
    async fn find(&self, key: &str) -> Result<Option<Published>, PublishError>;

    /// What it can do about doubt.
    fn capabilities(&self) -> Capabilities;
}
