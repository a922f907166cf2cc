//! Words that must not be shown. Invariant: neither `Debug` nor `Display` nor
//! serialization ever gives the words; only [`Secret::expose`] does. Whoever was sent them may
//! say them again, so what it says is shown only when they are blotted out of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use serde::Deserialize;
use serde_json::Value;

/// Of a secret, so many bytes in a row are blotted out where they are said again; less than that gives nothing
/// away. A secret that is shorter is blotted out where all of it is said.
const PART_BYTES_MIN: usize = 8;
/// What is shorter, a secret or a part of one, is looked for in errors only: some servers are given `ollama` or
/// `EMPTY` for a key, some an address that begins with `https://`, and those may well be words of a reply. A part of
/// this length is one number of 128 bits.
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
#[derive(Clone, Default)]
pub struct Confided {
    secrets: Vec<Secret>,
    /// What is looked for: by its length, all parts of that length, in order.
    parts: BTreeMap<usize, Vec<u128>>,
}

impl Confided {
    /// These.
    pub fn of(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self::in_parts(secrets.into_iter().collect(), PART_BYTES_MIN)
    }

    /// All of these together, also in errors.
    pub fn all(several: impl IntoIterator<Item = Self>) -> Self {
        Self::of(several.into_iter().flat_map(|confided| confided.secrets))
    }

    /// Those that are long enough to be no common word, in parts that are none either; for what is more than an error.
    #[must_use]
    pub fn keys(mut self) -> Self {
        self.secrets.retain(|secret| secret.0.len() >= KEY_BYTES_MIN);
        Self::in_parts(self.secrets, KEY_BYTES_MIN)
    }

    /// Makes the parts ready, which have at most so many bytes.
    fn in_parts(secrets: Vec<Secret>, bytes_max: usize) -> Self {
        let mut parts: BTreeMap<usize, Vec<u128>> = BTreeMap::new();
        for secret in secrets.iter().map(|secret| secret.0.as_bytes()).filter(|secret| !secret.is_empty()) {
            let length = secret.len().min(bytes_max);
            parts.entry(length).or_default().extend(windows(secret, length).map(|(_, part)| part));
        }
        for parts in parts.values_mut() {
            parts.sort_unstable();
            parts.dedup();
        }
        Self { secrets, parts }
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

    /// Where they are said, in order and apart from each other. It takes one walk for each length of a part.
    fn said(&self, words: &str) -> Vec<(usize, usize)> {
        let mut said: Vec<(usize, usize)> = Vec::new();
        for (length, parts) in &self.parts {
            let is_first = said.is_empty();
            for (start, _) in windows(words.as_bytes(), *length).filter(|(_, part)| parts.binary_search(part).is_ok()) {
                match said.last_mut().filter(|last| last.0 <= start && start <= last.1) {
                    Some(last) => last.1 = last.1.max(start + length),
                    None => said.push((start, start + length)),
                }
            }
            if !is_first {
                joined(&mut said);
            }
        }
        said
    }
}

/// All parts of so many bytes, each with its place, as a number that has the bytes for its digits.
fn windows(bytes: &[u8], length: usize) -> impl Iterator<Item = (usize, u128)> {
    let drop = u128::BITS as usize - 8 * length.clamp(1, KEY_BYTES_MIN);
    let mut part = 0;
    let parts = bytes.iter().enumerate().map(move |(at, byte)| {
        part = part << 8 | u128::from(*byte);
        ((at + 1).saturating_sub(length), part << drop >> drop)
    });
    // The first few are not whole.
    parts.skip(length.saturating_sub(1))
}

/// Puts places in order and makes one of those that touch.
fn joined(said: &mut Vec<(usize, usize)>) {
    said.sort_unstable();
    said.dedup_by(|next, last| {
        let is_one = next.0 <= last.1;
        if is_one {
            last.1 = last.1.max(next.1);
        }
        is_one
    });
}

impl fmt::Debug for Confided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Confided").field(&self.secrets).finish()
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
    fn the_beginning_that_many_secrets_have_is_a_common_word() {
        let secrets = ["https://user:pa55word@db.example/", "sk-proj-0123456789abcdef"];
        let keys = Confided::of(secrets.map(Secret::new)).keys();
        for (said, shown) in [
            ("see https://shop.example", "see https://shop.example"),
            ("keys begin with sk-proj-", "keys begin with sk-proj-"),
            ("it is https://user:pa55word@db.example/.", "it is [redacted]."),
            ("…j-0123456789abcdef", "…[redacted]"),
            ("…0123456789abcde", "…0123456789abcde"),
        ] {
            assert_eq!(keys.blotted(said), shown);
        }
        assert_eq!(
            Confided::of(secrets.map(Secret::new)).blotted("keys begin with sk-proj-"),
            "keys begin with [redacted]"
        );
    }

    #[test]
    fn what_is_said_of_several_is_in_order_and_a_long_answer_is_one_place() {
        let confided = Confided::of(["0123456789", "pin", "ab"].map(Secret::new));
        assert_eq!(confided.said("ab 01234567 pin ab89012345 pi"), [(0, 2), (3, 11), (12, 15), (16, 18)]);
        assert_eq!(confided.said("pinab, 12345678pin"), [(0, 5), (7, 18)]);
        assert_eq!(confided.said(&"ab".repeat(1 << 20)), [(0, 2 << 20)]);
        assert!(!format!("{confided:?}").contains("pin"));
        assert_eq!(confided.said("a"), []);
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
