//! The conversation as the model was trained to read it (ChatML). Invariant:
//! only this module writes control tokens; a text that spells one out is read
//! as plain letters, so nobody's words can end a turn.

use agents::model::{Message, Role};
use tokenizers::Tokenizer;

use super::LanguageError;

/// The two tokens that frame each turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    start: u32,
    pub(super) end: u32,
}

impl Frame {
    pub(super) fn of(tokenizer: &Tokenizer) -> Result<Self, LanguageError> {
        let id = |token: &str| {
            tokenizer
                .token_to_id(token)
                .ok_or_else(|| LanguageError::NotThisKind { missing: format!("the token {token}") })
        };
        Ok(Self { start: id("<|im_start|>")?, end: id("<|im_end|>")? })
    }

    /// The tokens of the whole prompt, up to and including the opening of the reply.
    pub(super) fn encode(
        self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        opening: &str,
    ) -> Result<Vec<u32>, LanguageError> {
        let mut ids = Vec::new();
        for message in messages {
            ids.push(self.start);
            ids.extend(encode(tokenizer, &format!("{}\n{}", name(message.role), message.text()))?);
            ids.push(self.end);
            ids.extend(encode(tokenizer, "\n")?);
        }
        ids.push(self.start);
        ids.extend(encode(tokenizer, &format!("assistant\n{opening}"))?);
        Ok(ids)
    }
}

/// The tokens of a plain text.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, LanguageError> {
    let encoding = tokenizer.encode(text, false).map_err(|error| LanguageError::Tokenizer(error.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}

fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
