//! Sentence embeddings by a small transformer: better than static ones at
//! telling meanings apart, and some hundred times slower. Invariant: a text is
//! read alone, so its vector does not depend on its neighbours.

use std::fmt;
use std::fs;
use std::path::Path;

use agents::embed::{EmbedError, Embedder};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{Tokenizer, TruncationParams};

use super::{LoadError, check_length, normalise, unusable};

/// The model was trained on texts up to this length; the rest is not read.
const TOKENS_MAX: usize = 256;

/// all-MiniLM-L6-v2, 384 dimensions.
pub struct MiniLm {
    tokenizer: Tokenizer,
    bert: BertModel,
    dimension: usize,
}

impl fmt::Debug for MiniLm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiniLm").field("dimension", &self.dimension).finish_non_exhaustive()
    }
}

impl MiniLm {
    /// Loads weights, tokenizer and configuration.
    ///
    /// # Errors
    /// [`LoadError`] when a file is missing, damaged or of another kind.
    pub fn load(weights: &Path, tokenizer: &Path, config: &Path) -> Result<Self, LoadError> {
        let json = fs::read_to_string(config).map_err(unusable(config))?;
        let config: Config = serde_json::from_str(&json).map_err(unusable(config))?;
        let bytes = fs::read(weights).map_err(unusable(weights))?;
        let bert = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)
            .and_then(|tensors| BertModel::load(tensors, &config))
            .map_err(unusable(weights))?;
        let path = tokenizer;
        let mut tokenizer = Tokenizer::from_file(path).map_err(unusable(path))?;
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: TOKENS_MAX, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(unusable(path))?;
        Ok(Self { tokenizer, bert, dimension: config.hidden_size })
    }

    fn embed_one(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        check_length(text)?;
        if text.trim().is_empty() {
            // The frame tokens alone would give it a vector.
            return Err(EmbedError::Text("it holds no words".into()));
        }
        let tokens = self.tokenizer.encode_fast(text, true).map_err(|error| EmbedError::Text(error.to_string()))?;
        normalise(self.mean(tokens.get_ids()).map_err(|error| EmbedError::Failed(error.to_string()))?)
    }

    fn mean(&self, tokens: &[u32]) -> candle_core::Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let output = self.bert.forward(&input, &input.zeros_like()?, None)?;
        output.squeeze(0)?.mean(0)?.to_vec1()
    }
}

impl Embedder for MiniLm {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn id(&self) -> &str {
        "all-MiniLM-L6-v2"
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        texts.iter().map(|text| self.embed_one(text)).collect()
    }
}
