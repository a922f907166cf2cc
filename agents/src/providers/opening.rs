//! How a reply is made to begin with given words and to end before others. Invariant: what comes back
//! begins and ends as the request says, whatever the provider can do itself.

use std::borrow::Cow;

use serde::Deserialize;

use crate::model::{Block, Message, ModelRequest, Role};

/// Bytes that asking for a prefill adds to the prefill itself.
pub(super) const ASK_BYTES: u64 = ASK.len() as u64;
const ASK: &str = "\n\nBegin your reply with exactly these words, then go on: ";

/// How a reply is made to begin with given words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefill {
    /// The model is asked to; works everywhere, binds nobody.
    #[default]
    Ask,
    /// The conversation ends in an assistant turn that the server goes on with
    /// (llama.cpp, Ollama).
    Continue,
}

/// The conversation, with what makes the reply begin as it shall.
pub(super) fn opened(style: Prefill, request: &ModelRequest) -> Cow<'_, [Message]> {
    let Some(prefill) = &request.prefill else { return Cow::Borrowed(&request.messages) };
    let mut messages = request.messages.clone();
    match (style, messages.last_mut()) {
        (Prefill::Ask, Some(last)) if last.role != Role::Assistant => {
            last.content.push(Block::text(format!("{ASK}{prefill}")));
        }
        (Prefill::Ask, _) => messages.push(Message::user(format!("{}{prefill}", ASK.trim_start()))),
        (Prefill::Continue, _) => messages.push(Message::assistant(prefill)),
    }
    Cow::Owned(messages)
}

/// The words of a reply as they shall be: they begin with the prefill, which a server that goes on from it
/// leaves out and a model that was asked for it does not, and end before the first stop word, for
/// providers that take fewer of them than we have, or none. Says whether a stop word was met.
pub(super) fn trimmed(content: &mut Vec<Block>, request: &ModelRequest) -> bool {
    let mut spared = 0;
    if let Some(prefill) = request.prefill.as_deref() {
        let at = content.iter().position(|block| block.as_text().is_some());
        match at.and_then(|at| content.get_mut(at)) {
            Some(Block::Text { text }) => {
                let trimmed = text.trim_start();
                let has = trimmed.starts_with(prefill.trim());
                *text = if has { trimmed.to_owned() } else { format!("{prefill}{text}") };
            }
            _ => content.push(Block::text(prefill)),
        }
        spared = prefill.len();
    }
    for at in 0..content.len() {
        if let Some(Block::Text { text }) = content.get_mut(at) {
            if cut_at_stop(text, spared, &request.stop) {
                content.truncate(at + 1);
                return true;
            }
            spared = 0;
        }
    }
    false
}

/// Cuts at the first stop word after the first `spared` bytes.
fn cut_at_stop(text: &mut String, spared: usize, stop: &[String]) -> bool {
    let spared = text.floor_char_boundary(spared);
    let first = stop.iter().filter(|word| !word.is_empty()).filter_map(|word| text[spared..].find(word)).min();
    if let Some(at) = first {
        text.truncate(spared + at);
    }
    first.is_some()
}
