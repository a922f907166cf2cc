//! What a language model is to the rest of the system: one counted, bounded
//! call that may be cancelled. Invariant: no provider's wire type passes here,
//! and every error says how it is to be handled and whether it may have cost
//! money.

mod batch;
mod conversation;
mod error;
mod image;
mod progress;
mod rate;
mod reply;
mod request;
mod thinking;

#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use policies::failure::FailureClass;
use policies::price::Bounds;
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};

pub use batch::BatchCall;
pub use conversation::{Block, Message, Part, Role, Signature, ToolCall, ToolResult};
pub use error::{Billed, ModelError};
pub use image::{Image, MEDIA_TYPES};
pub use progress::Progress;
pub use rate::{RateNews, Window};
pub use reply::{Finish, ModelReply};
pub(crate) use request::tokens_about;
pub use request::{Abilities, Ability, CacheMarks, CacheTtl, ModelRequest, OutputSchema, ToolChoice, ToolSpec};
pub use thinking::{Effort, THINKING_TOKENS_MAX, THINKING_TOKENS_MIN, Thinking};

/// The name of a model, as its provider calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(pub String);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A language model.
#[async_trait]
pub trait Model: Send + Sync {
    /// The model's name at its provider.
    fn id(&self) -> ModelId;

    /// Whose model it is, in the words of OpenTelemetry's conventions where they have one.
    fn provider(&self) -> &'static str {
        "local"
    }

    /// The model's key in the price table.
    fn price_key(&self) -> &str;

    /// What it can do beyond answering a text with a text, which is nothing unless it says so.
    fn abilities(&self) -> Abilities {
        Abilities::TEXT
    }

    /// Whether it shows signs of life while it works. Then a call may take longer than its time-out
    /// for as long as it shows them; see [`crate::agent::Voice`].
    fn shows_life(&self) -> bool {
        false
    }

    /// Whether its provider keeps beginnings of requests only where they are marked.
    fn takes_marks(&self) -> bool {
        false
    }

    /// The most input tokens that the request can be billed for: exactly, where the model's tokenizer is here.
    /// An estimate will not do, however good: nothing holds the provider to it. Where one call may lead to
    /// several requests: of all of them.
    fn count(&self, request: &ModelRequest) -> Tokens;

    /// The most that the call may use, but for processor time, which its time-out
    /// bounds. One that searches, or that writes to the one-hour cache, says so
    /// here: what is left out is not reserved for.
    fn bounds(&self, request: &ModelRequest) -> Bounds {
        Bounds { input: self.count(request), output: request.output_max, ..Bounds::default() }
    }

    /// The same for the first request of the call, where one may lead to several; a batch is answered once.
    fn bounds_once(&self, request: &ModelRequest) -> Bounds {
        self.bounds(request)
    }

    /// Makes the call. Ends soon after `progress` is cancelled, with
    /// [`FailureClass::Shutdown`](policies::failure::FailureClass::Shutdown).
    ///
    /// # Errors
    /// [`ModelError`], classified. A request that asks for what the model cannot do is refused, and
    /// nothing is sent.
    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError>;

    /// Whether it can be asked by batch too: for less, and answered within a day.
    fn batches(&self) -> bool {
        false
    }

    /// Makes the call by a batch, and waits for its end. A batch outlives whoever waits for it, so nothing is
    /// cancelled; see [`BatchCall::may_be_there`].
    ///
    /// # Errors
    /// As [`Model::call`]; certainly free where the batch did not come to this call.
    async fn call_by_batch(&self, _: ModelRequest, _: BatchCall) -> Result<ModelReply, ModelError> {
        Err(ModelError::free(FailureClass::Rejected, format!("{} takes no batches", self.id())))
    }
}
