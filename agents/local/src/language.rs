//! A small language model on the CPU. Invariant: the same request on the same
//! file gives the same text; no call reads more than the context holds or
//! writes more than it may; and between any two tokens it can be stopped.
//!
//! Everything here blocks: run it on a thread of its own, see [`crate::pool`].
//! Candle spreads each matrix product over all cores and spins where they meet,
//! so on a busy machine two threads write a tenth of what one writes. Only the
//! environment can tell it otherwise: see [`THREADS_VARIABLE`].

mod convert;
mod prompt;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use agents::model::{Message, ModelRequest};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use candle_transformers::utils::apply_repeat_penalty;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use crate::cache::CacheError;
use prompt::Frame;

/// Set to 1 it gives each request one thread, which is steady and leaves the
/// other cores to other requests. Candle reads it once, before its first use.
pub const THREADS_VARIABLE: &str = "CANDLE_NUM_THREADS";
/// How many prompt tokens are read between two looks at the caller: it bounds
/// both the memory of a long prompt and the wait for a cancellation.
const READ_CHUNK_TOKENS: usize = 128;
const REPEAT_PENALTY: f32 = 1.1;
/// How far back a word counts as repeated. The prompt is not looked at: a
/// text on the brief has to use the brief's words.
const REPEAT_WINDOW_TOKENS: usize = 64;
const SAMPLE_TOP_K: usize = 40;
const SAMPLE_TOP_P: f64 = 0.9;
/// What a byte-level decoder writes for a character that is not complete yet.
const INCOMPLETE: char = '\u{fffd}';

/// How a model file is opened.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The folder for the converted file; beside the source when `None`.
    pub converted: Option<PathBuf>,
    /// Prompt and reply together, in tokens.
    pub context_max: u32,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { converted: None, context_max: 2048 }
    }
}

/// Why a model cannot be loaded or cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum LanguageError {
    /// The file, or the folder for its conversion.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// It is no GGUF file, or a damaged one.
    #[error("{path} is not a model file that can be read ({error}); remove it and start again")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: candle_core::Error,
    },
    /// It is a GGUF file of another family.
    #[error("the model has not {missing}; only Llama-like chat models with ChatML turns can be used")]
    NotThisKind {
        /// What was looked for.
        missing: String,
    },
    /// The prompt does not fit.
    #[error(
        "the prompt has {tokens} tokens and the reply may have {output_max}, together more than the {context_max} that fit; shorten the prompt"
    )]
    TooLong {
        /// Of the prompt with the reply's opening.
        tokens: usize,
        /// As asked for.
        output_max: u64,
        /// Of this model.
        context_max: u32,
    },
    /// The request asks for no sampling that exists.
    #[error("the temperature {0} is not a number from 0 to 2")]
    Temperature(f32),
    /// The text could not be cut into tokens, or put together from them.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// The computation failed.
    #[error("the model failed: {0}")]
    Compute(candle_core::Error),
}

impl From<candle_core::Error> for LanguageError {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error)
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The prefill and what the model added to it.
    pub text: String,
    /// Of the prompt, with the prefill.
    pub input_tokens: u64,
    /// Written by the model, the one that ended the reply included.
    pub output_tokens: u64,
    /// Why it ended.
    pub stopped_by: StoppedBy,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// The model ended its turn.
    End,
    /// A stop string of the request.
    StopString,
    /// `output_max`.
    Bound,
    /// The caller.
    Cancelled,
}

/// A loaded model. Requests share it; each works on a cheap copy of its own.
#[derive(Debug)]
pub struct LanguageModel {
    weights: ModelWeights,
    tokenizer: Tokenizer,
    frame: Frame,
    ends: Vec<u32>,
    context_max: u32,
}

impl LanguageModel {
    /// Loads a GGUF file, converting it first where that makes it quicker.
    /// Takes a second, and a few more the first time.
    ///
    /// # Errors
    /// [`LanguageError`] when the file is missing, damaged or of another kind.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LanguageError> {
        if std::env::var_os(THREADS_VARIABLE).is_none() {
            tracing::warn!("set {THREADS_VARIABLE}=1: without it the local model is slow on a busy machine");
        }
        let beside = path.parent().unwrap_or(Path::new("."));
        let path = convert::quick_file(path, options.converted.as_deref().unwrap_or(beside))?;
        let broken = |error| LanguageError::File { path: path.clone(), error };
        let content = convert::read_content(&path)?;
        let mut tokenizer = Tokenizer::from_gguf(&content).map_err(broken)?;
        // The GGUF names a pre-tokenizer that candle takes for GPT-2's; the
        // model was trained with each digit on its own.
        let digits = PreTokenizerWrapper::Digits(Digits::new(true));
        let bytes = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true));
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![digits, bytes])));
        tokenizer.set_encode_special_tokens(true);

        let frame = Frame::of(&tokenizer)?;
        let mut ends = vec![frame.end];
        ends.extend(content.metadata.get("tokenizer.ggml.eos_token_id").and_then(|id| id.to_u32().ok()));
        let mut reader = BufReader::new(File::open(&path).map_err(crate::cache::failed("read", &path))?);
        let weights = ModelWeights::from_gguf(content, &mut reader, &Device::Cpu).map_err(broken)?;
        let positions = u32::try_from(MAX_SEQ_LEN).unwrap_or(u32::MAX);
        Ok(Self { weights, tokenizer, frame, ends, context_max: options.context_max.min(positions) })
    }

    /// How many tokens a plain text has.
    ///
    /// # Errors
    /// [`LanguageError::Tokenizer`].
    pub fn count_tokens(&self, text: &str) -> Result<u64, LanguageError> {
        Ok(prompt::encode(&self.tokenizer, text)?.len() as u64)
    }

    /// How many input tokens [`generate`](Self::generate) will report.
    ///
    /// # Errors
    /// [`LanguageError::Tokenizer`].
    pub fn count_prompt(&self, request: &ModelRequest) -> Result<u64, LanguageError> {
        self.count_opening(&request.messages, request.prefill.as_deref().unwrap_or_default().trim_end())
    }

    pub(crate) fn count_opening(&self, messages: &[Message], opening: &str) -> Result<u64, LanguageError> {
        Ok(self.frame.encode(&self.tokenizer, messages, opening)?.len() as u64)
    }

    /// Answers, calling `step` with the number of tokens written so far after
    /// every token and every piece of the prompt; a `Break` ends the reply there.
    ///
    /// # Errors
    /// [`LanguageError`]; a cancelled reply is no error.
    pub fn generate(
        &self,
        request: &ModelRequest,
        step: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Generated, LanguageError> {
        let prefill = request.prefill.as_deref().unwrap_or_default();
        // A space at the end of the prompt would be a token of its own, after
        // which the model expects no word.
        let opening = prefill.trim_end();
        let input = self.prompt(&request.messages, opening, request.output_max.0)?;
        let mut sampler = sampler(request)?;
        let mut reply = Reply::new(prefill, &request.stop);
        let mut recent = prompt::encode(&self.tokenizer, opening)?;
        let opening_tokens = recent.len();
        let mut run = Run { model: self, weights: self.weights.clone(), position: 0 };

        let stopped_by = 'reply: {
            let Some(mut logits) = run.read(&input, step)? else { break 'reply StoppedBy::Cancelled };
            for written in 1..=request.output_max.0 {
                let window = recent.get(recent.len().saturating_sub(REPEAT_WINDOW_TOKENS)..).unwrap_or_default();
                let token = sampler.sample(&apply_repeat_penalty(&logits, REPEAT_PENALTY, window)?)?;
                recent.push(token);
                if self.ends.contains(&token) {
                    break 'reply StoppedBy::End;
                }
                reply.update(&self.decode(recent.get(opening_tokens..).unwrap_or_default())?);
                if reply.stopped {
                    break 'reply StoppedBy::StopString;
                }
                if step(written).is_break() {
                    break 'reply StoppedBy::Cancelled;
                }
                if written < request.output_max.0 {
                    logits = run.forward(&[token])?;
                }
            }
            StoppedBy::Bound
        };
        Ok(Generated {
            text: reply.text,
            input_tokens: input.len() as u64,
            output_tokens: (recent.len() - opening_tokens) as u64,
            stopped_by,
        })
    }

    /// What the model would say next if it could only say one digit from 1 to
    /// 9: the mean of the digits, weighted with their likelihood. `opening` is
    /// the start of its reply, say "Score: ".
    ///
    /// # Errors
    /// [`LanguageError`].
    pub fn expected_digit(&self, messages: &[Message], opening: &str) -> Result<f32, LanguageError> {
        let input = self.prompt(messages, opening, 1)?;
        let mut run = Run { model: self, weights: self.weights.clone(), position: 0 };
        let Some(logits) = run.read(&input, &mut |_| ControlFlow::Continue(()))? else { return Ok(0.0) };
        let logits = logits.to_vec1::<f32>()?;
        let mut scores = Vec::with_capacity(9);
        for digit in 1..=9_u8 {
            let token = prompt::encode(&self.tokenizer, &digit.to_string())?;
            let logit = token.first().and_then(|&id| logits.get(id as usize)).copied();
            scores.push((f32::from(digit), logit.unwrap_or(f32::NEG_INFINITY)));
        }
        let top = scores.iter().map(|&(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (digit, logit) in scores {
            let weight = (logit - top).exp();
            sum += digit * weight;
            weights += weight;
        }
        Ok(sum / weights)
    }

    fn prompt(&self, messages: &[Message], opening: &str, output_max: u64) -> Result<Vec<u32>, LanguageError> {
        let input = self.frame.encode(&self.tokenizer, messages, opening)?;
        let (tokens, context_max) = (input.len(), self.context_max);
        if (tokens as u64).saturating_add(output_max) > u64::from(context_max) {
            return Err(LanguageError::TooLong { tokens, output_max, context_max });
        }
        Ok(input)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, LanguageError> {
        self.tokenizer.decode(tokens, true).map_err(|error| LanguageError::Tokenizer(error.to_string()))
    }
}

/// One pass through a text. The weights are a copy, because they remember what
/// they have read (and keep a mask for every length of prompt, for ever).
struct Run<'a> {
    model: &'a LanguageModel,
    weights: ModelWeights,
    position: usize,
}

impl Run<'_> {
    /// Reads the prompt; `None` when the caller broke off.
    fn read(
        &mut self,
        input: &[u32],
        step: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Tensor>, LanguageError> {
        let mut last = None;
        for piece in input.chunks(READ_CHUNK_TOKENS) {
            if step(0).is_break() {
                return Ok(None);
            }
            last = Some(self.forward(piece)?);
        }
        Ok(last)
    }

    /// The likelihoods of the token after these.
    fn forward(&mut self, tokens: &[u32]) -> Result<Tensor, LanguageError> {
        debug_assert!(self.position + tokens.len() <= self.model.context_max as usize);
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = self.weights.forward(&input, self.position)?.squeeze(0)?;
        self.position += tokens.len();
        Ok(logits)
    }
}

fn sampler(request: &ModelRequest) -> Result<LogitsProcessor, LanguageError> {
    let sampling = match request.temperature {
        0.0 => Sampling::ArgMax,
        warm if warm > 0.0 && warm <= 2.0 => {
            Sampling::TopKThenTopP { k: SAMPLE_TOP_K, p: SAMPLE_TOP_P, temperature: f64::from(warm) }
        }
        other => return Err(LanguageError::Temperature(other)),
    };
    Ok(LogitsProcessor::from_sampling(request.seed, sampling))
}

/// The text so far.
struct Reply<'a> {
    prefill: &'a str,
    stops: &'a [String],
    text: String,
    stopped: bool,
}

impl<'a> Reply<'a> {
    fn new(prefill: &'a str, stops: &'a [String]) -> Self {
        Self { prefill, stops, text: prefill.into(), stopped: false }
    }

    /// Takes all that was written so far, up to the first stop string.
    fn update(&mut self, written: &str) {
        let written = written.trim_end_matches(INCOMPLETE);
        let stops = self.stops.iter().filter(|stop| !stop.is_empty());
        let stop = stops.filter_map(|stop| written.find(stop.as_str())).min();
        let mut kept = stop.and_then(|at| written.get(..at)).unwrap_or(written);
        if self.prefill.ends_with(char::is_whitespace) {
            kept = kept.trim_start_matches(' ');
        }
        self.text.truncate(self.prefill.len());
        self.text.push_str(kept);
        self.stopped = stop.is_some();
    }
}
