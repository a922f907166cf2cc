//! Texts to vectors without a server. Invariant: every vector has length one;
//! a text that gives none is refused, never answered with zeros.

mod minilm;
#[cfg(test)]
mod tests;
mod wordllama;

use std::path::{Path, PathBuf};

use agents::embed::EmbedError;

pub use minilm::MiniLm;
pub use wordllama::WordLlama;

/// The longest text that is embedded; callers cut their notes far below it.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Why an embedder cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used for embeddings: {reason}; remove it and start again")]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

fn unusable<E: ToString>(path: &Path) -> impl Fn(E) -> LoadError {
    move |error| LoadError { path: path.into(), reason: error.to_string() }
}

fn check_length(text: &str) -> Result<(), EmbedError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(EmbedError::Text(format!("it has {} bytes, more than {TEXT_BYTES_MAX}", text.len())));
    }
    Ok(())
}

/// Scales to length one.
fn normalise(mut vector: Vec<f32>) -> Result<Vec<f32>, EmbedError> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if !length.is_normal() {
        return Err(EmbedError::Text("it holds no words".into()));
    }
    vector.iter_mut().for_each(|x| *x /= length);
    Ok(vector)
}
