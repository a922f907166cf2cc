//! A platform, with the faults that are in force. Invariant: without a fault it does what the publisher
//! beneath does; a failure that was made says no less about a post's fate than a real one would.

use std::sync::Arc;

use agents::publisher::{Capabilities, Landed, Post, PublishError, Published, Publisher};
use async_trait::async_trait;
use http::StatusCode;
use policies::failure::FailureClass;

use super::Live;
use super::board::Hit;
use super::fault::PlatformEffect;

pub(super) struct Faulty {
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) live: Live,
    pub(super) name: String,
}

#[async_trait]
impl Publisher for Faulty {
    async fn publish(&self, post: Post) -> Result<Published, PublishError> {
        let Some(hit) = self.live.platform(&self.name) else { return self.publisher.publish(post).await };
        if hit.effect == PlatformEffect::Lost {
            self.publisher.publish(post).await?;
            return Err(broken());
        }
        before(&hit).await?;
        self.publisher.publish(post).await
    }

    async fn find(&self, key: &str) -> Result<Option<Published>, PublishError> {
        let Some(hit) = self.live.platform(&self.name) else { return self.publisher.find(key).await };
        if hit.effect == PlatformEffect::Lost {
            return Err(broken());
        }
        // Nothing that a platform says of itself tells whether it has the post.
        before(&hit).await.map_err(|error| PublishError { landed: Landed::Unknown, ..error })?;
        self.publisher.find(key).await
    }

    fn capabilities(&self) -> Capabilities {
        self.publisher.capabilities()
    }
}

/// What happens before the platform hears anything.
async fn before(hit: &Hit<PlatformEffect>) -> Result<(), PublishError> {
    match hit.effect {
        PlatformEffect::Status(status) => Err(refused(status)),
        PlatformEffect::Reset | PlatformEffect::Lost => Err(broken()),
        PlatformEffect::Slow(by) => {
            let _ = tokio::time::timeout(by, hit.gone.cancelled()).await;
            Ok(())
        }
    }
}

/// As a webhook takes a status: only a plain refusal proves that the post is not out.
fn refused(status: StatusCode) -> PublishError {
    let (class, landed) = match status.as_u16() {
        429 => (FailureClass::RateLimited, Landed::No),
        408 | 425 | 500.. => (FailureClass::ProviderDown, Landed::Unknown),
        _ => (FailureClass::Rejected, Landed::No),
    };
    PublishError { class, landed, message: format!("the platform answered {status}, on purpose") }
}

fn broken() -> PublishError {
    PublishError {
        class: FailureClass::ProviderDown,
        landed: Landed::Unknown,
        message: "the connection to the platform was broken on purpose".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use policies::instant::Timestamp;

    use super::super::tests::play;
    use super::*;

    /// Takes every post.
    #[derive(Default)]
    struct Wall(Mutex<Vec<String>>);

    #[async_trait]
    impl Publisher for Wall {
        async fn publish(&self, post: Post) -> Result<Published, PublishError> {
            self.0.lock().unwrap().push(post.key.clone());
            Ok(Published { remote_id: post.key, url: None })
        }

        async fn find(&self, key: &str) -> Result<Option<Published>, PublishError> {
            let there = self.0.lock().unwrap().iter().any(|posted| posted == key);
            Ok(there.then(|| Published { remote_id: key.to_owned(), url: None }))
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { deduplicates: true, can_be_asked: true, lands_late: false }
        }
    }

    fn post(key: &str) -> Post {
        let (key, title, text) = (key.to_owned(), "T".to_owned(), "t".to_owned());
        Post { key, title, text, link: None, published: Timestamp::from_micros(0) }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_says_whether_the_post_may_be_out() {
        for (fault, class, landed, out) in [
            (r#""kind": "platform_status", "status": 429"#, FailureClass::RateLimited, Landed::No, 0),
            (r#""kind": "platform_status", "status": 403"#, FailureClass::Rejected, Landed::No, 0),
            (r#""kind": "platform_status", "status": 503"#, FailureClass::ProviderDown, Landed::Unknown, 0),
            (r#""kind": "platform_reset""#, FailureClass::ProviderDown, Landed::Unknown, 0),
            (r#""kind": "platform_lost""#, FailureClass::ProviderDown, Landed::Unknown, 1),
        ] {
            let (play, wall) = (play(), Arc::new(Wall::default()));
            let platform = play.live.publisher("feed", Arc::clone(&wall) as Arc<dyn Publisher>);
            play.start(&format!("{{ {fault}, \"hits_max\": 2 }}")).unwrap();
            let error = platform.publish(post("k")).await.unwrap_err();
            assert_eq!((error.class, error.landed, wall.0.lock().unwrap().len()), (class, landed, out), "{fault}");
            let error = platform.find("k").await.unwrap_err();
            assert_eq!(error.landed, Landed::Unknown, "{fault}");
            assert_eq!(platform.find("k").await.unwrap().is_some(), out == 1, "{fault}");
            platform.publish(post("l")).await.unwrap();
        }
    }
}
