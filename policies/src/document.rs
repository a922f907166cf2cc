//! Reading policy documents (TOML) with errors that a person can act on.
//!
//! Every error names the file, the line and the column, says what was wrong
//! there, and where it can, what was probably meant. Lines and columns count
//! from 1, columns in characters.

use std::{fmt, ops::Range};

use serde::de::DeserializeOwned;

/// The least likeness, from 0 to 1, at which a name is suggested for another.
const LIKENESS_MIN: f64 = 0.7;

/// A mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The document, as its reader knows it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty where the message says it all.
    pub help: String,
}

/// `file:line:column: message; help`
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "; {}", self.help) }
    }
}

impl std::error::Error for Error {}

/// A document while it is read: its name and its text, which place its errors.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The document, as its reader knows it.
    pub file: &'a str,
    /// All of it.
    pub text: &'a str,
}

impl Source<'_> {
    /// An error about the bytes `span` of the text.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Error {
        let (line, column) = position(self.text, span.start);
        Error { file: self.file.to_owned(), line, column, message: message.into(), help: help.into() }
    }
}

/// Reads a TOML document.
///
/// # Errors
/// The first mistake: of syntax, of shape, or of a value.
pub fn read<T: DeserializeOwned>(file_label: &str, text: &str) -> Result<T, Error> {
    let source = Source { file: file_label, text };
    toml::from_str(text).map_err(|error| explain(source, 0..0, &error))
}

/// The line and column, both from 1, of a byte of the text. An offset past the
/// end is at the end; one inside a character is at that character.
pub fn position(text: &str, byte_offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte_offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The name among `known` that `name` was probably meant to be.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or else all that `name` could have been.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) = closest(name, known.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let known: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
    if known.is_empty() { String::new() } else { format!("known here: {}", known.join(", ")) }
}

/// What the TOML reader says of the source, with help, at the place that it names; at the bytes `span`
/// where it names none.
pub fn explain(source: Source<'_>, span: Range<usize>, error: &toml::de::Error) -> Error {
    let lines: Vec<&str> = error.message().lines().map(str::trim).collect();
    let (message, help) = advice(&lines.join(", "));
    source.error(error.span().unwrap_or(span), message, help)
}

/// Splits serde's and toml's messages into what is wrong and what to do.
/// "unknown field `x`, expected one of `a`, `b`" names the known ones itself.
fn advice(message: &str) -> (String, String) {
    let names = quoted(message);
    let starts = |what: &str| message.starts_with(what);
    match (message.split_once(", expected "), names.split_first()) {
        (Some((what, _)), Some((name, known))) if starts("unknown field") || starts("unknown variant") => {
            (what.to_owned(), suggestion(name, known.iter().copied()))
        }
        (_, Some((name, _))) if starts("missing field") => (message.to_owned(), format!("add `{name} = …` here")),
        (_, _) if starts("duplicate key") => (message.to_owned(), "keep one of them".to_owned()),
        _ => (message.to_owned(), String::new()),
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{span::Span, strategy::Strategy as Restarts};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Sample {
        timeout: Span,
        #[serde(default)]
        strategy: Restarts,
        #[serde(default)]
        mailbox: u32,
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = read::<BTreeMap<String, Sample>>("guard.toml", text).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_typo_gets_a_suggestion() {
        check("[a]\ntimeout = \"5s\"\nmailbx = 3\n", "guard.toml:3:1: unknown field `mailbx`; did you mean `mailbox`?");
        check(
            "[a]\ntimeout = \"5s\"\nstrategy = \"one_for_none\"\n",
            "guard.toml:3:12: unknown variant `one_for_none`; did you mean `one_for_one`?",
        );
    }

    #[test]
    fn without_a_likely_name_all_are_listed() {
        check(
            "[a]\ntimeout = \"5s\"\nzzz = 3\n",
            "guard.toml:3:1: unknown field `zzz`; known here: `timeout`, `strategy`, `mailbox`",
        );
    }

    #[test]
    fn a_missing_field_is_named() {
        check("\n[a]\nmailbox = 3\n", "guard.toml:2:1: missing field `timeout`; add `timeout = …` here");
    }

    #[test]
    fn a_bad_value_says_what_a_good_one_is() {
        check(
            "[a]\ntimeout = 30\n",
            "guard.toml:2:11: invalid type: integer `30`, expected a length of time such as \"30s\"",
        );
        check(
            "[a]\ntimeout = \"30\"\n",
            "guard.toml:2:11: `30` is not a length of time; write a whole number and a unit (ms, s, m, h, d) such as \"30s\"",
        );
    }

    #[test]
    fn broken_syntax_is_placed() {
        let error = read::<BTreeMap<String, Sample>>("x.toml", "[a]\ntimeout = \"5s\nmailbox = 1\n").unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("x.toml", 2), "{error}");
        let error = read::<BTreeMap<String, Sample>>("x.toml", "[a]\ntimeout = \"5s\"\n[a]\n").unwrap_err();
        assert_eq!((error.line, error.help.as_str()), (3, "keep one of them"), "{error}");
    }

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("äb\ncd", 3), (1, 3));
        assert_eq!(position("äb\ncd", 1), (1, 1));
        assert_eq!(position("äb\ncd", 5), (2, 2));
        assert_eq!(position("äb\n", 99), (2, 1));
    }

    proptest! {
        #[test]
        fn every_offset_has_a_position(text: String, offset: usize) {
            let (line, column) = position(&text, offset);
            prop_assert!(line >= 1 && column >= 1);
            prop_assert!(line <= text.matches('\n').count() + 1);
        }

        #[test]
        fn no_text_makes_reading_panic(text in "[\\[\\]a-z=\"\n .`,{}]{0,60}") {
            let _ = read::<BTreeMap<String, Sample>>("x.toml", &text);
        }
    }
}
