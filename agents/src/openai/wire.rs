//! The JSON of chat completions, as far as it is used. Invariant: unknown fields
//! are ignored and absent ones tolerated, since every server adds and omits some.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Dialect, Options, Prefill};
use crate::model::{ModelRequest, Role};

/// OpenAI takes no more stop words than this; the rest are cut on our side.
const STOP_WORDS_MAX: usize = 4;
/// Bytes that asking for a prefill adds to the prefill itself.
pub(super) const ASK_BYTES: usize = ASK.len();
const ASK: &str = "\n\nBegin your reply with exactly these words, then go on: ";

#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    temperature: f32,
    seed: i64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: Role,
    content: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(options: &'a Options, request: &'a ModelRequest) -> Self {
        let output_max = Some(request.output_max.0);
        let (max_tokens, max_completion_tokens) = match options.dialect {
            Dialect::Compatible => (output_max, None),
            Dialect::OpenAi => (None, output_max),
        };
        Self {
            model: &options.model,
            messages: turns(options.prefill, request),
            max_tokens,
            max_completion_tokens,
            temperature: request.temperature,
            // Seeds are signed on the wire; the sign is of no use to anyone.
            seed: (request.seed >> 1) as i64,
            stop: &request.stop[..request.stop.len().min(STOP_WORDS_MAX)],
            stream: options.stream,
            stream_options: options.stream.then_some(StreamOptions { include_usage: true }),
        }
    }
}

fn turns(style: Prefill, request: &ModelRequest) -> Vec<Turn<'_>> {
    let mut turns: Vec<_> =
        request.messages.iter().map(|message| Turn { role: message.role, content: message.text() }).collect();
    if let Some(prefill) = &request.prefill {
        match (style, turns.last_mut()) {
            (Prefill::Ask, Some(last)) => {
                last.content.to_mut().push_str(ASK);
                last.content.to_mut().push_str(prefill);
            }
            (Prefill::Continue, _) | (_, None) => {
                turns.push(Turn { role: Role::Assistant, content: prefill.as_str().into() });
            }
        }
    }
    turns
}

/// A whole reply, or one chunk of a streamed one.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    #[serde(default)]
    pub(super) error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    /// In a whole reply.
    #[serde(default)]
    pub(super) message: Option<Words>,
    /// In a chunk.
    #[serde(default)]
    pub(super) delta: Option<Words>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Words {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
    #[serde(default)]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) cached_tokens: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) cache_write_tokens: u64,
}

/// An error: OpenAI's object, or Ollama's bare string.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Fault {
    Told {
        #[serde(default, deserialize_with = "null_is_default")]
        message: String,
        #[serde(default, rename = "type")]
        kind: Option<String>,
        /// A word, a number (vLLM, llama.cpp) or null.
        #[serde(default)]
        code: Option<serde_json::Value>,
    },
    Plain(String),
}

impl Fault {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Told { message, .. } => message,
            Self::Plain(message) => message,
        }
    }

    /// Whether its type or its code is one of `names`.
    pub(super) fn is(&self, names: &[&str]) -> bool {
        let Self::Told { kind, code, .. } = self else { return false };
        let code = code.as_ref().and_then(serde_json::Value::as_str);
        [kind.as_deref(), code].into_iter().flatten().any(|name| names.contains(&name))
    }

    /// A code that is an HTTP status.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Told { code: Some(code), .. } => code.as_u64().and_then(|code| code.try_into().ok()),
            _ => None,
        }
    }
}

/// The body of an error reply.
#[derive(Debug, Deserialize)]
pub(super) struct FaultBody {
    pub(super) error: Fault,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
