//! A key that may be rotated while the system runs. Invariant: its words are read again when a provider
//! refuses them and when they are old, and a source that cannot be read then leaves them as they were. What
//! words it has given to be sent is known, so that they can be blotted out of the answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use actors::world::World;
use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::secret::{Confided, Secret};

/// How many of the words that a key had are remembered, the newest: an answer may be to older ones.
const GIVEN_MAX: usize = 4;

/// Where a secret is read.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Reads it as it is now.
    ///
    /// # Errors
    /// A sentence that names the source, never its content.
    async fn read(&self) -> Result<Secret, String>;
}

/// A key as it is now; clones share it.
#[derive(Clone)]
pub struct Key(Arc<Kind>);

enum Kind {
    Fixed(Secret),
    Read(Reader),
}

struct Reader {
    source: Box<dyn SecretSource>,
    world: World,
    age_max: Duration,
    held: Mutex<Option<Held>>,
    /// The words that may have been sent.
    given: Lock<VecDeque<Secret>>,
}

struct Held {
    secret: Secret,
    /// On the world's monotonic clock.
    read_at: Duration,
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{0}")]
    Unread(String),
    /// No header can carry it.
    #[error("the key holds a line break or another character that cannot be sent; check how it was copied")]
    Unsendable,
}

impl Key {
    /// A key that never changes.
    #[must_use]
    pub fn fixed(secret: Secret) -> Self {
        Self(Arc::new(Kind::Fixed(secret)))
    }

    /// A key that is read from `source` when it is first used, and again once it is older than `age_max`.
    #[must_use]
    pub fn read_from(source: impl SecretSource + 'static, world: World, age_max: Duration) -> Self {
        let (source, held) = (Box::new(source), Mutex::new(None));
        let reader = Reader { source, world, age_max, held, given: Lock::default() };
        Self(Arc::new(Kind::Read(reader)))
    }

    /// The key as it is now.
    ///
    /// # Errors
    /// [`KeyError`] when there is none that can be sent.
    pub async fn current(&self) -> Result<Secret, KeyError> {
        match &*self.0 {
            Kind::Fixed(secret) => sendable(secret.clone()),
            Kind::Read(reader) => reader.current().await,
        }
    }

    /// The key as it is now, read now however young it is: for what is given once, at the beginning.
    ///
    /// # Errors
    /// As [`Key::current`].
    pub async fn afresh(&self) -> Result<Secret, KeyError> {
        match &*self.0 {
            Kind::Fixed(secret) => sendable(secret.clone()),
            Kind::Read(reader) => reader.within(None).await,
        }
    }

    /// Another key than this one that was refused, if there is one by now.
    pub async fn instead_of(&self, refused: &Secret) -> Option<Secret> {
        let Kind::Read(reader) = &*self.0 else { return None };
        let mut held = reader.held.lock().await;
        let known = held.as_ref().map(|held| &held.secret).filter(|known| *known != refused);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let found = reader.read().await.inspect_err(|error| tracing::warn!(%error, "a refused key stays as it is"));
        let found = found.ok().filter(|found| found != refused)?;
        *held = Some(Held { secret: found.clone(), read_at: reader.world.elapsed() });
        tracing::info!("a key that was refused has been rotated");
        Some(found)
    }

    /// What whoever was sent this key must not say again: the words of now, and some of those before.
    #[must_use]
    pub fn confided(&self) -> Confided {
        match &*self.0 {
            Kind::Fixed(secret) => Confided::of([secret.clone()]),
            Kind::Read(reader) => Confided::of(reader.given().iter().cloned()),
        }
    }
}

impl Reader {
    async fn current(&self) -> Result<Secret, KeyError> {
        self.within(Some(self.age_max)).await
    }

    /// The key as it was read no longer ago than that.
    async fn within(&self, age_max: Option<Duration>) -> Result<Secret, KeyError> {
        let mut held = self.held.lock().await;
        let now = self.world.elapsed();
        let known = held.as_ref().map(|held| (held.secret.clone(), now.saturating_sub(held.read_at)));
        match known {
            Some((secret, age)) if age_max.is_some_and(|age_max| age <= age_max) => Ok(secret),
            known => {
                let secret = match (self.read().await, known) {
                    (Ok(found), _) => found,
                    (Err(error), Some((old, _))) => {
                        tracing::warn!(%error, "an old key is used on");
                        old
                    }
                    (Err(error), None) => return Err(error),
                };
                *held = Some(Held { secret: secret.clone(), read_at: now });
                Ok(secret)
            }
        }
    }

    async fn read(&self) -> Result<Secret, KeyError> {
        let found = sendable(self.source.read().await.map_err(KeyError::Unread)?)?;
        let mut given = self.given();
        if !given.contains(&found) {
            given.push_back(found.clone());
            let old = given.len().saturating_sub(GIVEN_MAX);
            given.drain(..old);
        }
        Ok(found)
    }

    fn given(&self) -> std::sync::MutexGuard<'_, VecDeque<Secret>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sendable(secret: Secret) -> Result<Secret, KeyError> {
    match secret.bearer() {
        Ok(_) => Ok(secret),
        Err(_) => Err(KeyError::Unsendable),
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use actors::transport;

    use super::*;

    /// A source whose words a test changes, and that counts how often it is read.
    #[derive(Clone, Default)]
    struct Place(Arc<Lock<(Option<&'static str>, u32)>>);

    #[async_trait]
    impl SecretSource for Place {
        async fn read(&self) -> Result<Secret, String> {
            let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            place.1 += 1;
            place.0.map(Secret::new).ok_or_else(|| "the file is gone".to_owned())
        }
    }

    impl Place {
        fn put(&self, words: Option<&'static str>) {
            self.0.lock().unwrap().0 = words;
        }

        fn reads(&self) -> u32 {
            self.0.lock().unwrap().1
        }
    }

    fn key(place: &Place) -> Key {
        let world = World::simulated(1, transport::unplugged());
        Key::read_from(place.clone(), world, Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn is_read_again_when_it_is_old_and_not_before() {
        let place = Place::default();
        place.put(Some("one"));
        let key = key(&place);
        assert_eq!(key.current().await.unwrap().expose(), "one");
        place.put(Some("two"));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((key.current().await.unwrap().expose(), place.reads()), ("one", 1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((key.current().await.unwrap().expose(), place.reads()), ("two", 2));
        place.put(None);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(key.current().await.unwrap().expose(), "two", "what cannot be read leaves it as it was");
    }

    #[tokio::test(start_paused = true)]
    async fn is_read_again_when_it_was_refused_once_for_all_who_hold_it() {
        let place = Place::default();
        place.put(Some("one"));
        let key = key(&place);
        let one = key.current().await.unwrap();
        assert_eq!(key.instead_of(&one).await, None, "there is no other");
        place.put(Some("two"));
        assert_eq!(key.instead_of(&one).await.unwrap().expose(), "two");
        let reads = place.reads();
        assert_eq!(key.clone().instead_of(&one).await.unwrap().expose(), "two");
        assert_eq!(place.reads(), reads);
        assert_eq!(Key::fixed(one.clone()).instead_of(&one).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_is_blotted_out_of_answers_also_when_it_was_rotated() {
        let place = Place::default();
        place.put(Some("first-secret"));
        let key = key(&place);
        key.current().await.unwrap();
        place.put(Some("second-secret"));
        assert_eq!(key.current().await.unwrap().expose(), "first-secret");
        assert_eq!(key.afresh().await.unwrap().expose(), "second-secret", "however young the old one is");
        assert_eq!(key.confided().blotted("first-secret, second-secret"), "[redacted], [redacted]");
        for words in ["third-word", "fourth-word", "fifth-word"] {
            place.put(Some(words));
            key.afresh().await.unwrap();
        }
        assert_eq!(key.confided().blotted("first-secret, fifth-word"), "first-secret, [redacted]");
        place.put(None);
        assert_eq!(key.afresh().await.unwrap().expose(), "fifth-word", "what cannot be read leaves it as it was");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_or_sent_is_told_without_its_words() {
        let place = Place::default();
        assert_eq!(key(&place).current().await.unwrap_err().to_string(), "the file is gone");
        place.put(Some("s3cr3t\nx"));
        let error = key(&place).current().await.unwrap_err();
        assert_eq!(error, KeyError::Unsendable);
        assert!(!format!("{error} {:?}", key(&place)).contains("s3cr3t"));
    }
}
