//! Words that must not be shown. Invariant: neither `Debug` nor `Display` nor
//! serialization ever gives the words; only [`Secret::expose`] does. Whoever was sent them may
//! say them again, so what it says is shown only when they are blotted out of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use serde::Deserialize;
use serde_json::Value;

/// Of a secret, so many bytes in a row are blotted out where they are said again; less than that gives nothing
/// away. A secret that is shorter is blotted out where all of it is said.
const PART_BYTES_MIN: usize = 8;
/// A shorter word is looked for in errors only: some servers are given `ollama` or `EMPTY` for a key, and that may
/// well be a word of a reply.
const KEY_BYTES_MIN: usize = 16;
/// What stands for what was blotted out.
const BLOT: &str = "[redacted]";

/// A key or password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `words`.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// The words themselves, for the one place that sends them.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The words as an `Authorization` header's value, which no log shows either.
    ///
    /// # Errors
    /// When they hold a line break or another character that no header can carry.
    pub fn bearer(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        sensitive(&format!("Bearer {}", self.0))
    }

    /// The bare words as a header's value, which no log shows either.
    ///
    /// # Errors
    /// As [`Secret::bearer`].
    pub fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        sensitive(&self.0)
    }
}

fn sensitive(words: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(words)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What somebody was sent in confidence.
#[derive(Clone, Debug, Default)]
pub struct Confided(Vec<Secret>);

impl Confided {
    /// These.
    pub fn of(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self(secrets.into_iter().collect())
    }

    /// All of these together.
    pub fn all(several: impl IntoIterator<Item = Self>) -> Self {
        Self(several.into_iter().flat_map(|confided| confided.0).collect())
    }

    /// Those that are long enough to be no common word; for what is more than an error.
    #[must_use]
    pub fn keys(mut self) -> Self {
        self.0.retain(|secret| secret.0.len() >= KEY_BYTES_MIN);
        self
    }

    /// What whoever was sent them says, without them.
    #[must_use]
    pub fn blotted<'a>(&self, words: &'a str) -> Cow<'a, str> {
        let said = self.said(words);
        if said.is_empty() {
            return Cow::Borrowed(words);
        }
        let (mut kept, mut from) = (String::with_capacity(words.len()), 0);
        for (start, end) in said {
            // What is said of a secret need not begin and end with a whole character.
            kept.push_str(words.get(from..words.floor_char_boundary(start)).unwrap_or_default());
            kept.push_str(BLOT);
            from = words.ceil_char_boundary(end);
        }
        kept.push_str(words.get(from..).unwrap_or_default());
        Cow::Owned(kept)
    }

    /// The beginning of what it says. It is cut last: of a secret at the cut not even the beginning is left.
    #[must_use]
    pub fn excerpt(&self, words: &str, chars_max: usize) -> String {
        let words = self.blotted(words);
        match words.char_indices().nth(chars_max) {
            None => words.into_owned(),
            Some((end, _)) => format!("{}…", &words[..end]),
        }
    }

    /// Blots them out of all texts of a value.
    pub fn blot(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.blot_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.blot(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.blot(field));
                if fields.keys().any(|name| !self.said(name).is_empty()) {
                    let all = std::mem::take(fields);
                    fields.extend(all.into_iter().map(|(name, field)| (self.blotted(&name).into_owned(), field)));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Blots them out of a text.
    pub fn blot_text(&self, text: &mut String) {
        if let Cow::Owned(blotted) = self.blotted(text) {
            *text = blotted;
        }
    }

    /// Where they are said, in order and apart from each other.
    fn said(&self, words: &str) -> Vec<(usize, usize)> {
        let mut said = Vec::new();
        for secret in self.0.iter().map(|secret| secret.0.as_bytes()).filter(|secret| !secret.is_empty()) {
            let part = secret.len().min(PART_BYTES_MIN);
            let parts: BTreeSet<&[u8]> = secret.windows(part).collect();
            let windows = words.as_bytes().windows(part).enumerate();
            said.extend(windows.filter(|(_, window)| parts.contains(window)).map(|(at, _)| (at, at + part)));
        }
        said.sort_unstable();
        said.dedup_by(|next, last| {
            let is_one = next.0 <= last.1;
            if is_one {
                last.1 = last.1.max(next.1);
            }
            is_one
        });
        said
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Confided, Secret};

    #[test]
    fn a_header_carries_the_words_and_shows_nothing_of_them() {
        let value = Secret::new("sk-123").bearer().unwrap();
        assert_eq!(value.as_bytes(), b"Bearer sk-123");
        assert!(!format!("{value:?}").contains("sk-123"));
        assert!(Secret::new("a\nb").bearer().is_err());
    }

    #[test]
    fn debug_shows_nothing_of_the_words() {
        assert_eq!(format!("{:?}", Some(Secret::new("sk-123"))), "Some(Secret(redacted))");
    }
    #[test]
    fn what_was_sent_in_confidence_is_blotted_out_of_what_is_said() {
        let confided = Confided::of(["sk-0123456789abcdef", "häßlich!", "pin", ""].map(Secret::new));
        for (said, shown) in [
            ("no such model", "no such model"),
            ("the key sk-0123456789abcdef is wrong", "the key [redacted] is wrong"),
            ("Bearer sk-0123456789abcdef", "Bearer [redacted]"),
            ("sk-01234…89abcdef and sk-0…cdef", "[redacted]…[redacted] and sk-0…cdef"),
            ("\"sk-0123456789abcdefsk-0123456789abcdef\"", "\"[redacted]\""),
            ("so häßlich! mich", "so [redacted] mich"),
            ("a pin, twice: pin", "a [redacted], twice: [redacted]"),
        ] {
            assert_eq!(confided.blotted(said), shown);
        }
        let mut value = json!({ "a": ["sk-0123456789abcdef", 7], "sk-0123456789abcdef": null });
        confided.clone().keys().blot(&mut value);
        assert_eq!(value, json!({ "a": ["[redacted]", 7], "[redacted]": null }));
        assert_eq!(confided.keys().blotted("a pin, häßlich!"), "a pin, häßlich!");
    }

    #[test]
    fn nothing_is_left_of_a_secret_at_the_cut() {
        let confided = Confided::of([Secret::new("sk-0123456789abcdef")]);
        for cut in 0..30 {
            let shown = confided.excerpt("it is sk-0123456789abcdef", cut);
            assert!(!shown.contains("sk"), "{shown}");
        }
        assert_eq!(confided.excerpt("wörtlich", 2), "wö…");
    }
}
