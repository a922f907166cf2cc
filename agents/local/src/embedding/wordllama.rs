//! Static embeddings: the mean of its tokens' vectors stands for a text.
//! Invariant: one table look-up a token and no thread but the caller's.

use std::fmt;
use std::path::Path;

use agents::embed::{EmbedError, Embedder};
use candle_core::{DType, Device, safetensors};
use tokenizers::Tokenizer;

use super::{LoadError, check_length, normalise, unusable};

const TENSOR: &str = "embedding.weight";

/// WordLlama, 256 dimensions, some 25,000 short notes a second.
pub struct WordLlama {
    tokenizer: Tokenizer,
    /// Row after row.
    table: Vec<f32>,
    dimension: usize,
}

impl fmt::Debug for WordLlama {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordLlama").field("dimension", &self.dimension).finish_non_exhaustive()
    }
}

impl WordLlama {
    /// Loads the table and its tokenizer, in a few hundred milliseconds.
    ///
    /// # Errors
    /// [`LoadError`] when a file is missing, damaged or of another kind.
    pub fn load(weights: &Path, tokenizer: &Path) -> Result<Self, LoadError> {
        let mut tensors = safetensors::load(weights, &Device::Cpu).map_err(unusable(weights))?;
        let tensor = tensors.remove(TENSOR).ok_or_else(|| unusable(weights)(format!("it holds no tensor {TENSOR}")))?;
        let (_, dimension) = tensor.dims2().map_err(unusable(weights))?;
        let table = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1())
            .map_err(unusable(weights))?;
        let tokenizer = Tokenizer::from_file(tokenizer).map_err(unusable(tokenizer))?;
        Ok(Self { tokenizer, table, dimension })
    }

    fn row(&self, token: u32) -> Option<&[f32]> {
        let start = (token as usize).checked_mul(self.dimension)?;
        self.table.get(start..start.checked_add(self.dimension)?)
    }

    fn embed_one(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        check_length(text)?;
        let tokens =
            self.tokenizer.encode_fast(text.trim(), false).map_err(|error| EmbedError::Text(error.to_string()))?;
        let mut sum = vec![0.0; self.dimension];
        for row in tokens.get_ids().iter().filter_map(|&token| self.row(token)) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        // The mean and the sum have the same direction.
        normalise(sum)
    }
}

impl Embedder for WordLlama {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn id(&self) -> &str {
        "wordllama-l2-supercat-256"
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        texts.iter().map(|text| self.embed_one(text)).collect()
    }
}
