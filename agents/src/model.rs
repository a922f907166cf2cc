//! What a language model is to the rest of the system: one counted, bounded
//! call that may be cancelled. Invariant: no provider's wire type passes here,
//! and every error says how it is to be handled and whether it may have cost
//! money.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::price::Bounds;
use policies::tokens::{Tokens, Usage};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The name of a model, as its provider calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(pub String);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The instructions that frame the conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
}

impl Message {
    /// A turn of the system.
    pub fn system(text: impl Into<String>) -> Self {
        Self { role: Role::System, text: text.into() }
    }

    /// A turn of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, text: text.into() }
    }

    /// A turn of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, text: text.into() }
    }
}

/// One call, complete: what it may cost follows from this and a price table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRequest {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The words with which the reply shall begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<String>,
    /// The reply ends before the first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The most that the model may write, the prefill not counted.
    pub output_max: Tokens,
    /// 0 takes the likeliest token each time.
    pub temperature: f32,
    /// Same request and seed, same reply, where the model can promise it.
    pub seed: u64,
    /// The reply is to be a grade. A model that can weigh the digits from 1 to 9 against each other
    /// then says their mean after the prefill, which is finer than the digit it would write.
    #[serde(default)]
    pub graded: bool,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model was done, or met a stop word.
    Stop,
    /// It reached `output_max`.
    Length,
}

/// A finished reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReply {
    /// The whole text, the prefill included.
    pub text: String,
    /// What was used, as the provider counts it.
    pub usage: Usage,
    /// Why it ended.
    pub finish: Finish,
    /// The provider's name for this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
}

/// Whether a failed call may have cost money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billed {
    /// Certainly not: the provider refused it or never had it.
    No,
    /// It may: settle at the reserved worst case.
    Unknown,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// How it is to be handled.
    pub class: FailureClass,
    /// What went wrong and what to do, in one sentence for a person.
    pub message: String,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Duration>,
    /// Whether it may have cost money.
    pub billed: Billed,
}

/// A language model.
#[async_trait]
pub trait Model: Send + Sync {
    /// The model's name at its provider.
    fn id(&self) -> ModelId;

    /// The model's key in the price table.
    fn price_key(&self) -> &str;

    /// How many input tokens the request holds, never less than what the
    /// provider will bill.
    fn count(&self, request: &ModelRequest) -> Tokens;

    /// The most that the call may use, but for processor time, which its time-out
    /// bounds. One that searches, or that writes to the one-hour cache, says so
    /// here: what is left out is not reserved for.
    fn bounds(&self, request: &ModelRequest) -> Bounds {
        Bounds { input: self.count(request), output: request.output_max, ..Bounds::default() }
    }

    /// Makes the call. Ends soon after `progress` is cancelled, with
    /// [`FailureClass::Shutdown`].
    ///
    /// # Errors
    /// [`ModelError`], classified.
    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError>;
}

/// The line between a call and whoever watches it: a heartbeat one way,
/// cancellation the other. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tokens: AtomicU64,
    beats: AtomicU64,
    sent: AtomicBool,
    cancel: CancellationToken,
}

impl Progress {
    /// Says that the call lives and wrote `tokens` more (0 is a bare heartbeat).
    pub fn tick(&self, tokens: u64) {
        self.0.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Tokens written so far.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens(self.0.tokens.load(Ordering::Relaxed))
    }

    /// How often the call has shown life; a liveness check compares two readings.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// Says that from here on the request may have reached the provider. A
    /// model calls it just before its first byte leaves.
    pub fn sent(&self) {
        self.0.sent.store(true, Ordering::SeqCst);
    }

    /// Whether the request may have reached the provider.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Asks the call to end.
    pub fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// Whether the call was asked to end.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Resolves when the call is asked to end.
    pub async fn on_cancelled(&self) {
        self.0.cancel.cancelled().await;
    }
}
