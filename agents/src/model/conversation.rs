//! A conversation in no provider's words: turns made of blocks. Invariant: a turn of nothing but one
//! text is written as it always was, `{"role", "text"}`, and both forms are read.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Image;
use crate::secret::Confided;

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The instructions that frame the conversation.
    System,
    /// The one who asks. What tools found is said by this role too.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Block>,
}

/// A piece of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture, in a turn of the user.
    Image(Image),
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool that the model asked for has answered, in a turn of the user.
    ToolResult(ToolResult),
    /// What the model thought before it spoke, as far as its provider shows it.
    Thinking {
        /// The words shown; a provider may show none.
        text: String,
        /// What the provider wants back with them. A thought without it is never sent again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Signature>,
    },
    /// A thought that its provider shows to nobody, and wants back.
    Redacted(Signature),
}

/// Opaque data by which a provider knows its own words again. It means nothing to another provider,
/// so whoever translates a conversation for one leaves the signatures of the others out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The family of providers that made it, such as `anthropic`.
    pub by: String,
    /// The data.
    pub data: String,
    /// The provider's id of what is signed, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

/// A tool that the model wants used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of this call, which its result repeats.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments: what the model wrote as JSON, or as a text where that was no JSON.
    pub arguments: Value,
    /// What the provider wants back with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// What a tool has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// The answer.
    pub content: Vec<Part>,
    /// Whether the answer tells what went wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// A piece of a tool's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture.
    Image(Image),
}

impl Message {
    /// A turn of the system.
    pub fn system(text: impl Into<String>) -> Self {
        Self::of(Role::System, vec![Block::text(text)])
    }

    /// A turn of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::of(Role::User, vec![Block::text(text)])
    }

    /// A turn of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::of(Role::Assistant, vec![Block::text(text)])
    }

    /// The turn that answers calls of tools.
    pub fn results(results: impl IntoIterator<Item = ToolResult>) -> Self {
        Self::of(Role::User, results.into_iter().map(Block::ToolResult).collect())
    }

    /// A turn of these blocks.
    #[must_use]
    pub fn of(role: Role, content: Vec<Block>) -> Self {
        Self { role, content }
    }

    /// All its words, without what was thought and what tools answered.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        text_of(&self.content)
    }
}

/// The words among these blocks, joined.
pub(super) fn text_of(content: &[Block]) -> Cow<'_, str> {
    let mut texts = content.iter().filter_map(Block::as_text);
    match (texts.next(), texts.next()) {
        (None, _) => Cow::Borrowed(""),
        (Some(only), None) => Cow::Borrowed(only),
        (Some(first), Some(second)) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
    }
}

impl Block {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Its words, if it is a text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text { text } = self { Some(text) } else { None }
    }

    /// Blots out what whoever says it was sent in confidence. A thought that is another then is none that its
    /// provider takes back.
    pub(crate) fn blot(&mut self, confided: &Confided) {
        match self {
            Self::Text { text } => confided.blot_text(text),
            Self::ToolCall(call) => {
                confided.blot_text(&mut call.id);
                confided.blot_text(&mut call.name);
                confided.blot(&mut call.arguments);
            }
            Self::Thinking { text, signature } => {
                if let Cow::Owned(blotted) = confided.blotted(text) {
                    (*text, *signature) = (blotted, None);
                }
            }
            Self::Image(_) | Self::ToolResult(_) | Self::Redacted(_) => {}
        }
    }
}

impl ToolResult {
    /// An answer in words.
    pub fn text(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), content: vec![Part::Text { text: text.into() }], is_error: false }
    }

    /// What went wrong, in words.
    pub fn error(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(id, text) }
    }

    /// All its words.
    #[must_use]
    pub fn words(&self) -> String {
        let words = self.content.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            Part::Image(_) => None,
        });
        words.collect()
    }

    /// Its pictures.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.content.iter().filter_map(|part| if let Part::Image(image) = part { Some(image) } else { None })
    }
}

/// Content as it is written: one text, or blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text { text: String },
    Blocks { content: Vec<Block> },
}

impl From<Content> for Vec<Block> {
    fn from(content: Content) -> Self {
        match content {
            Content::Text { text } => vec![Block::Text { text }],
            Content::Blocks { content } => content,
        }
    }
}

impl From<Vec<Block>> for Content {
    fn from(mut content: Vec<Block>) -> Self {
        match content.as_mut_slice() {
            [Block::Text { text }] => Self::Text { text: std::mem::take(text) },
            _ => Self::Blocks { content },
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    role: Role,
    #[serde(flatten)]
    content: Content,
}

impl From<Written> for Message {
    fn from(written: Written) -> Self {
        Self { role: written.role, content: written.content.into() }
    }
}

impl From<Message> for Written {
    fn from(message: Message) -> Self {
        Self { role: message.role, content: message.content.into() }
    }
}
