//! What makes two requests equal. Invariant: requests of one key differ in nothing that a reply depends on
//! but the seed; how the reply is sent and what its provider keeps are none of it.

use crate::model::{CacheMarks, ModelId, ModelRequest};

/// Requests of one model that are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of a request; none for one that cannot be written.
    pub(super) fn of(model: &ModelId, request: &ModelRequest) -> Option<Self> {
        let plain = ModelRequest { seed: 0, stream: None, cache: CacheMarks::default(), ..request.clone() };
        let mut hasher = blake3::Hasher::new();
        hasher.update(model.0.as_bytes());
        hasher.update(&[0]);
        hasher.update(&serde_json::to_vec(&plain).ok()?);
        Some(Self(*hasher.finalize().as_bytes()))
    }

    /// As a shelf's key.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}
