//! What turns text into vectors. Invariant: every vector of one embedder has
//! its dimension and length one, so a dot product is a cosine.

/// Why texts could not be embedded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The text itself cannot be embedded, and never will be.
    #[error("the text cannot be embedded: {0}")]
    Text(String),
    /// The embedder failed; the same text may pass later.
    #[error("the embedder failed: {0}")]
    Failed(String),
}

/// Turns texts into vectors. Blocking: call it through `World::blocking`.
pub trait Embedder: Send + Sync {
    /// The length of each vector.
    fn dimension(&self) -> usize;

    /// Names the model and its version: vectors of two ids do not compare.
    fn id(&self) -> &str;

    /// One vector for each text, in their order, each normalised.
    ///
    /// # Errors
    /// [`EmbedError`]; then no vector is returned.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError>;
}
