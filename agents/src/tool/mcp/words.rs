//! What a server is given: its environment, or what each request to it carries. Invariant: a secret among it is
//! read where it is given, so that it can be rotated, and is shown to nobody but the server.

use std::collections::BTreeMap;

use super::super::CLIP_CHARS_MAX;
use crate::key::{Key, KeyError};
use crate::secret::{Confided, Secret};

/// Words that a server is given.
#[derive(Clone)]
pub enum Word {
    /// As they are written.
    Plain(String),
    /// A secret.
    Key(Key),
}

impl Word {
    /// The words for what begins now.
    pub(super) async fn afresh(&self) -> Result<Secret, KeyError> {
        match self {
            Self::Plain(words) => Ok(Secret::new(words)),
            Self::Key(key) => key.afresh().await,
        }
    }

    /// The words for a request of what has begun.
    pub(super) async fn current(&self) -> Result<Secret, KeyError> {
        match self {
            Self::Plain(words) => Ok(Secret::new(words)),
            Self::Key(key) => key.current().await,
        }
    }

    /// Whether there are others by now than these, which were refused.
    pub(super) async fn has_other(&self, refused: &Secret) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Key(key) => key.instead_of(refused).await.is_some(),
        }
    }
}

/// Takes the secrets of a server out of what it says; a cheap clone.
#[derive(Clone)]
pub(super) struct Censor(std::sync::Arc<[Key]>);

impl Censor {
    pub(super) fn of(words: &BTreeMap<String, Word>) -> Self {
        let key = |word: &Word| if let Word::Key(key) = word { Some(key.clone()) } else { None };
        Self(words.values().filter_map(key).collect())
    }

    pub(super) fn confided(&self) -> Confided {
        Confided::all(self.0.iter().map(Key::confided))
    }

    /// The beginning of what it says.
    pub(super) fn clip(&self, words: &str) -> String {
        self.confided().excerpt(words, CLIP_CHARS_MAX)
    }
}
