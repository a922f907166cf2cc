//! A finished reply. Invariant: it says why it ended; a reply of one text is written as it always was.

use std::borrow::Cow;

use policies::tokens::Usage;
use serde::{Deserialize, Serialize};

use super::conversation::{Content, text_of};
use super::{Block, Message, Role, ToolCall};

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model was done, or met a stop word.
    Stop,
    /// It reached `output_max`.
    Length,
    /// It waits for the tools that it asked for.
    ToolUse,
    /// It will not answer this.
    Refusal,
    /// The provider paused a long turn; sent back as it is, it goes on.
    Pause,
    /// Prompt and reply filled all the room that the model has.
    ContextFull,
    /// The provider held the reply, or a part of it, back.
    ContentFilter,
}

impl Finish {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolUse => "tool_use",
            Self::Refusal => "refusal",
            Self::Pause => "pause",
            Self::ContextFull => "context_full",
            Self::ContentFilter => "content_filter",
        }
    }

    /// Whether the reply is one in form only: the model or its provider would not answer.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Refusal | Self::ContentFilter)
    }
}

/// A finished reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct ModelReply {
    /// What the model said, in order, the prefill included.
    pub content: Vec<Block>,
    /// What was used, as the provider counts it.
    pub usage: Usage,
    /// Why it ended.
    pub finish: Finish,
    /// The provider's name for this call.
    pub remote_id: Option<String>,
    /// The provider's name for the model that answered, which may be more exact than what was asked.
    pub model: Option<String>,
}

impl ModelReply {
    /// A reply of one text, by a model of no other name.
    pub fn saying(text: impl Into<String>, usage: Usage, finish: Finish) -> Self {
        Self { content: vec![Block::text(text)], usage, finish, remote_id: None, model: None }
    }

    /// All its words, without what was thought.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        text_of(&self.content)
    }

    /// The tools that it asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|block| if let Block::ToolCall(call) = block { Some(call) } else { None })
    }

    /// It as a turn of the conversation that goes on.
    #[must_use]
    pub fn into_message(self) -> Message {
        Message::of(Role::Assistant, self.content)
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    content: Content,
    usage: Usage,
    finish: Finish,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

impl From<Written> for ModelReply {
    fn from(written: Written) -> Self {
        let Written { content, usage, finish, remote_id, model } = written;
        Self { content: content.into(), usage, finish, remote_id, model }
    }
}

impl From<ModelReply> for Written {
    fn from(reply: ModelReply) -> Self {
        let ModelReply { content, usage, finish, remote_id, model } = reply;
        Self { content: content.into(), usage, finish, remote_id, model }
    }
}
