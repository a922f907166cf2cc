//! Names of runs and of their effects.
//!
//! Invariant: an effect's key is made of the run, the place and the content,
//! never of the attempt; so two attempts at one thing carry one key, and the
//! other side can tell.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::workflow::canonical;
use crate::workflow::{Action, StepPath};

/// How much of a content hash a key holds, in hexadecimal digits.
const KEY_DIGITS: usize = 32;

/// The name of a run: what stands after `run/` in its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// The run of that name.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an effect is known by, to us and to the other side:
/// `<run>/<path>:<hash of what is asked>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectKey(Arc<str>);

impl EffectKey {
    /// The key of an action at a place of a run.
    #[must_use]
    pub fn of(run: &RunId, path: &StepPath, action: &Action) -> Self {
        Self::hashed(run, path, &canonical::hash(action).to_hex())
    }

    /// The same, where the hash of the action is known.
    pub(super) fn hashed(run: &RunId, path: &StepPath, hash: &str) -> Self {
        let hash = hash.get(..KEY_DIGITS).unwrap_or(hash);
        Self([run.as_str(), "/", path.as_str(), ":", hash].concat().into())
    }

    /// Whether it is the key of an action at this place whose hash is this.
    pub(super) fn is_of(&self, path: &StepPath, hash: &str) -> bool {
        let hash = hash.get(..KEY_DIGITS).unwrap_or(hash);
        self.0
            .strip_suffix(hash)
            .and_then(|rest| rest.strip_suffix(':'))
            .is_some_and(|rest| rest.strip_suffix(path.as_str()).is_some_and(|run| run.ends_with('/')))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as text that is shared with it.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
