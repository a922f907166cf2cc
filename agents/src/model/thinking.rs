//! How much a model is to think before it answers. Invariant: what people write of it is read in one place,
//! and a budget that is read is one that every provider takes.

use policies::document::{Mistakes, Section};
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

/// The least that can be thought where that is told in tokens, by Anthropic's rule.
pub const THINKING_TOKENS_MIN: u32 = 1024;
/// The most that may be thought where that is told in tokens.
pub const THINKING_TOKENS_MAX: u32 = 64_000;

/// How much a model is to think before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Not at all.
    Off,
    /// With this much effort.
    Effort(Effort),
    /// For this many tokens at most.
    Budget(Tokens),
}

/// An effort, by the words that providers have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are their meaning")]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    const ALL: [Self; 6] = [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

impl Thinking {
    /// The key by which it is written.
    pub const KEY: &'static str = "thinking";

    /// What is thought beside the answer, where that is told in tokens. An effort is no number, so what it
    /// leads to is a part of the answer's bound.
    #[must_use]
    pub const fn beside(self) -> Tokens {
        match self {
            Self::Budget(tokens) => tokens,
            Self::Off | Self::Effort(_) => Tokens(0),
        }
    }

    /// Reads what somebody wrote of it: a word, or so many tokens.
    pub fn read(section: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Spanned<Self>> {
        let value = section.get(Self::KEY)?;
        let thinking = match value.get_ref() {
            DeValue::String(_) => {
                let off = [("off", Self::Off)];
                let words = off.into_iter().chain(Effort::ALL.map(|effort| (effort.as_str(), Self::Effort(effort))));
                section.word(Self::KEY, &words.collect::<Vec<_>>(), mistakes)
            }
            DeValue::Integer(_) => {
                let tokens = section.whole(Self::KEY, THINKING_TOKENS_MIN..=THINKING_TOKENS_MAX, mistakes);
                tokens.map(|tokens| Self::Budget(Tokens(u64::from(tokens))))
            }
            _ => {
                let words = Effort::ALL.map(|effort| format!("`{}`", effort.as_str())).join(", ");
                let message = "`thinking` must be a word or a number of tokens";
                mistakes.add(value.span(), message, format!("write `off`, {words}, or such as {THINKING_TOKENS_MIN}"));
                None
            }
        };
        thinking.map(|thinking| Spanned::new(value.span(), thinking))
    }
}

#[cfg(test)]
mod tests {
    use policies::document::{self, Source};

    use super::*;

    fn read(text: &str) -> Result<Option<Thinking>, String> {
        let source = Source { file: "t.toml", text };
        let document = document::parse(source).unwrap();
        let mut mistakes = Mistakes::new(source);
        let mut section = Section::of("it", &document, &mut mistakes).unwrap();
        let read = Thinking::read(&mut section, &mut mistakes).map(Spanned::into_inner);
        mistakes.conclude(Some(read)).map_err(|found| document::lines(&found))
    }

    #[test]
    fn it_is_a_word_or_so_many_tokens() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("thinking = \"off\""), Ok(Some(Thinking::Off)));
        assert_eq!(read("thinking = \"xhigh\""), Ok(Some(Thinking::Effort(Effort::Xhigh))));
        assert_eq!(read("thinking = 2_048"), Ok(Some(Thinking::Budget(Tokens(2048)))));
        for (text, wanted) in [
            ("thinking = \"hihg\"", "t.toml:1:12: `thinking` cannot be `hihg`; did you mean `high`?"),
            ("thinking = 1000", "t.toml:1:12: `thinking` must be a whole number from 1024 to 64000"),
            ("thinking = true", "t.toml:1:12: `thinking` must be a word or a number of tokens; write `off`, `minimal`"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.starts_with(wanted), "{told}");
        }
    }
}
