//! A context index behind a key that may be rotated. Invariant: a call that the key was refused for is made once
//! more where the key is another by then, and nothing that the server says is passed on with a key in it.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use agents::key::Key;
use agents::secret::Secret;
use async_trait::async_trait;
use futures::future::BoxFuture;
use storage::index::{ContextIndex, Filter, Hit, IndexError, Point};
use storage::journal::Seq;
use storage_qdrant::{Options, ServerIndex};
use tokio::sync::Mutex;

/// What a server's words may take of a message.
const WORDS_CHARS_MAX: usize = 300;

/// Makes the index anew, by this key.
type Maker = Box<dyn Fn(Secret) -> BoxFuture<'static, Result<Arc<dyn ContextIndex>, IndexError>> + Send + Sync>;

/// An index, and the key that it was opened with.
pub(super) struct Keyed {
    key: Key,
    dimension: usize,
    open: Mutex<(Secret, Arc<dyn ContextIndex>)>,
    maker: Maker,
}

impl Keyed {
    /// The index by the key of now.
    ///
    /// # Errors
    /// Those of opening it, and that the key cannot be read.
    pub(super) async fn open(key: Key, maker: Maker) -> anyhow::Result<Self> {
        let secret = key.current().await?;
        let index = maker(secret.clone()).await.map_err(|error| told(&key, error))?;
        Ok(Self { key, dimension: index.dimension(), open: Mutex::new((secret, index)), maker })
    }

    /// The index on a Qdrant server. What it lacks there is made when it is opened, and not when its key is another.
    ///
    /// # Errors
    /// As [`Keyed::open`].
    pub(super) async fn on_server(key: Key, options: Options) -> anyhow::Result<Self> {
        let opened: Arc<OnceLock<ServerIndex>> = Arc::default();
        let maker = move |secret: Secret| {
            let (opened, options) = (Arc::clone(&opened), options.clone());
            let api_key = secret.expose().to_owned();
            let make = async move {
                let index = match opened.get() {
                    Some(first) => first.rekeyed(api_key).await?,
                    None => {
                        let first = ServerIndex::open(Options { api_key: Some(api_key.clone()), ..options }).await?;
                        opened.get_or_init(|| first).rekeyed(api_key).await?
                    }
                };
                Ok(Arc::new(index) as Arc<dyn ContextIndex>)
            };
            Box::pin(make) as BoxFuture<'static, _>
        };
        Self::open(key, Box::new(maker)).await
    }

    /// The index by this key; another one than before is opened anew.
    async fn by(&self, secret: &Secret) -> Result<Arc<dyn ContextIndex>, IndexError> {
        let mut open = self.open.lock().await;
        if open.0 != *secret {
            *open = (secret.clone(), (self.maker)(secret.clone()).await?);
        }
        Ok(Arc::clone(&open.1))
    }

    async fn with<T, F>(&self, call: impl Fn(Arc<dyn ContextIndex>) -> F + Send + Sync) -> Result<T, IndexError>
    where
        F: Future<Output = Result<T, IndexError>> + Send,
    {
        let once = async {
            let unread =
                |error: agents::key::KeyError| IndexError::Key { action: "connect", reason: error.to_string() };
            let secret = self.key.current().await.map_err(unread)?;
            match call(self.by(&secret).await?).await {
                Err(error @ IndexError::Key { .. }) => match self.key.instead_of(&secret).await {
                    Some(other) => call(self.by(&other).await?).await,
                    None => Err(error),
                },
                outcome => outcome,
            }
        };
        once.await.map_err(|error| told(&self.key, error))
    }
}

/// An error without the keys that the server was sent.
fn told(key: &Key, error: IndexError) -> IndexError {
    let words = |reason: String| key.confided().excerpt(&reason, WORDS_CHARS_MAX);
    match error {
        IndexError::Engine { action, reason } => IndexError::Engine { action, reason: words(reason) },
        IndexError::Key { action, reason } => IndexError::Key { action, reason: words(reason) },
        IndexError::Unavailable { action, reason } => IndexError::Unavailable { action, reason: words(reason) },
        own => own,
    }
}

#[async_trait]
impl ContextIndex for Keyed {
    fn dimension(&self) -> usize {
        self.dimension
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        self.with(|index| {
            let points = points.clone();
            async move { index.upsert(points).await }
        })
        .await
    }

    async fn delete(&self, ids: Vec<u128>) -> Result<(), IndexError> {
        self.with(|index| {
            let ids = ids.clone();
            async move { index.delete(ids).await }
        })
        .await
    }

    async fn search(&self, vector: Vec<f32>, filter: Filter, limit: usize) -> Result<Vec<Hit>, IndexError> {
        self.with(|index| {
            let (vector, filter) = (vector.clone(), filter.clone());
            async move { index.search(vector, filter, limit).await }
        })
        .await
    }

    async fn count(&self) -> Result<u64, IndexError> {
        self.with(|index| async move { index.count().await }).await
    }

    async fn sequence(&self) -> Result<Option<Seq>, IndexError> {
        self.with(|index| async move { index.sequence().await }).await
    }

    async fn commit(&self, seq: Seq) -> Result<(), IndexError> {
        self.with(|index| async move { index.commit(seq).await }).await
    }

    async fn reset(&self) -> Result<(), IndexError> {
        self.with(|index| async move { index.reset().await }).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as Lock};
    use std::time::Duration;

    use actors::transport;
    use actors::world::World;

    use super::*;

    /// Words that a test changes: those of the key, and those that the server takes.
    #[derive(Clone, Default)]
    struct Place(Arc<Lock<(&'static str, &'static str)>>);

    #[async_trait]
    impl agents::key::SecretSource for Place {
        async fn read(&self) -> Result<Secret, String> {
            Ok(Secret::new(self.0.lock().unwrap().0))
        }
    }

    /// A server that says again what key it was shown.
    struct Parrot {
        place: Place,
        shown: Secret,
    }

    #[async_trait]
    impl ContextIndex for Parrot {
        fn dimension(&self) -> usize {
            4
        }

        async fn upsert(&self, _: Vec<Point>) -> Result<(), IndexError> {
            Err(IndexError::Engine { action: "remember", reason: format!("{} has no room", self.shown.expose()) })
        }

        async fn delete(&self, _: Vec<u128>) -> Result<(), IndexError> {
            Err(IndexError::Unavailable { action: "forget", reason: format!("busy: {}", self.shown.expose()) })
        }

        async fn search(&self, _: Vec<f32>, _: Filter, _: usize) -> Result<Vec<Hit>, IndexError> {
            Ok(Vec::new())
        }

        async fn count(&self) -> Result<u64, IndexError> {
            let is_taken = self.shown.expose() == self.place.0.lock().unwrap().1;
            let refused = || IndexError::Key { action: "count", reason: format!("{} is no key", self.shown.expose()) };
            is_taken.then_some(7).ok_or_else(refused)
        }

        async fn sequence(&self) -> Result<Option<Seq>, IndexError> {
            Ok(None)
        }

        async fn commit(&self, _: Seq) -> Result<(), IndexError> {
            Ok(())
        }

        async fn reset(&self) -> Result<(), IndexError> {
            Ok(())
        }
    }

    async fn keyed(place: &Place) -> Keyed {
        let world = World::simulated(1, transport::unplugged());
        let key = Key::read_from(place.clone(), world, Duration::from_secs(60));
        let place = place.clone();
        let made = move |shown| -> Result<Arc<dyn ContextIndex>, IndexError> {
            Ok(Arc::new(Parrot { place: place.clone(), shown }))
        };
        Keyed::open(key, Box::new(move |secret| Box::pin(std::future::ready(made(secret))))).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_rotated_is_read_again_when_the_old_one_is_refused() {
        let place = Place(Arc::new(Lock::new(("the-old-key", "the-old-key"))));
        let index = keyed(&place).await;
        assert_eq!(index.count().await.unwrap(), 7);
        *place.0.lock().unwrap() = ("the-old-key", "the-new-key");
        assert!(matches!(index.count().await, Err(IndexError::Key { .. })));
        *place.0.lock().unwrap() = ("the-new-key", "the-new-key");
        assert_eq!(index.count().await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_says_is_told_without_the_key() {
        let index = keyed(&Place(Arc::new(Lock::new(("the-old-key", "another"))))).await;
        let errors = [
            index.count().await.unwrap_err(),
            index.upsert(Vec::new()).await.unwrap_err(),
            index.delete(Vec::new()).await.unwrap_err(),
        ];
        for error in errors {
            let told = format!("{error} {error:?}");
            assert!(told.contains("[redacted]") && !told.contains("the-old-key"), "{told}");
        }
    }
}
