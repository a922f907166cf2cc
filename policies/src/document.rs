//! Reading documents in TOML (policies, configuration, workflows, experiments) with errors that a person
//! can act on.
//!
//! Every error names the file, the line and the column, says what was wrong
//! there, and where it can, what was probably meant; and all mistakes of a
//! document are told at once, up to a bound. Lines and columns count from 1,
//! columns in characters.
//!
//! A document is read as one type that serde knows ([`read`]), or key by key
//! ([`parse`], [`Section`]) where what a key means depends on another.

mod inherit;
mod mistakes;
mod section;
mod typed;

use std::{fmt, ops::Range};

use serde::de::DeserializeOwned;

pub use inherit::inherit;
pub use mistakes::{MISTAKES_MAX, Mistakes, parse};
pub use section::{Located, Section, Text, entries};

/// The least likeness, from 0 to 1, at which a name is suggested for another.
const LIKENESS_MIN: f64 = 0.7;

/// A mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The document, as its reader knows it.
    pub file: String,
    /// The line, from 1; 0 where the whole document is meant.
    pub line: usize,
    /// The character in the line, from 1; 0 where the whole document is meant.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty where the message says it all.
    pub help: String,
}

impl Error {
    /// An error about a document as a whole, which has no line.
    pub fn whole(file: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, message: message.into(), help: help.into() }
    }
}

/// `file:line:column: message; help`
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
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

    /// Where a key stands, named by the keys that lead to it: its value, or the key itself where that is
    /// a table. A list is gone into by the place of an item, from 0. Of a way that the text does not go
    /// to its end, the last that it has.
    pub fn place(&self, way: &[&str]) -> Option<Range<usize>> {
        self.follow(way).1
    }

    /// Whether the text has the key that these keys lead to.
    pub fn has(&self, way: &[&str]) -> bool {
        self.follow(way).0 == way.len()
    }

    /// How many of these keys lead on, and the place of the last of them.
    fn follow(&self, way: &[&str]) -> (usize, Option<Range<usize>>) {
        let Ok(document) = parse(*self) else { return (0, None) };
        let mut at = document.get_ref();
        let (mut steps, mut place) = (0, None);
        for name in way {
            let item = || at.as_array()?.get(name.parse::<usize>().ok()?).map(|value| (None, value));
            let entry = at.as_table().and_then(|table| table.get_key_value(*name));
            let Some((key, value)) = entry.map(|(key, value)| (Some(key.span()), value)).or_else(item) else { break };
            at = value.get_ref();
            place = key.filter(|_| at.as_table().is_some()).or_else(|| Some(value.span()));
            steps += 1;
        }
        (steps, place)
    }
}

/// Reads a TOML document as one value.
///
/// # Errors
/// Every mistake: of syntax, or else of shape and of values.
pub fn read<T: DeserializeOwned>(file_label: &str, text: &str) -> Result<T, Vec<Error>> {
    let source = Source { file: file_label, text };
    let document = parse(source)?;
    let mut mistakes = Mistakes::new(source);
    let read = mistakes.typed("variant", &document);
    mistakes.conclude(read)
}

/// Errors as a person reads them, a line each.
pub fn lines(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
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
        let errors = read::<BTreeMap<String, Sample>>("guard.toml", text).unwrap_err();
        assert_eq!(lines(&errors), expected);
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
        let first = |text: &str| read::<BTreeMap<String, Sample>>("x.toml", text).unwrap_err().remove(0);
        let error = first("[a]\ntimeout = \"5s\nmailbox = 1\n");
        assert_eq!((error.file.as_str(), error.line), ("x.toml", 2), "{error}");
        let error = first("[a]\ntimeout = \"5s\"\n[a]\n");
        assert_eq!((error.line, error.help.as_str()), (3, "keep one of them"), "{error}");
    }

    #[test]
    fn all_mistakes_are_told_each_where_it_stands() {
        check(
            "[a]\ntimeout = 30\nmailbx = 3\nstrategy = \"one_for_none\"\n[b]\nmailbox = \"many\"\n[c]\ntimeout = \"1\"\nmailbox = -1\n",
            "guard.toml:2:11: invalid type: integer `30`, expected a length of time such as \"30s\"\n\
             guard.toml:3:1: unknown field `mailbx`; did you mean `mailbox`?\n\
             guard.toml:4:12: unknown variant `one_for_none`; did you mean `one_for_one`?\n\
             guard.toml:5:1: missing field `timeout`; add `timeout = …` here\n\
             guard.toml:6:11: invalid type: string \"many\", expected u32\n\
             guard.toml:8:11: `1` is not a length of time; write a whole number and a unit (ms, s, m, h, d) such as \"30s\"\n\
             guard.toml:9:11: invalid value: integer `-1`, expected u32",
        );
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Wanting {
        strategy: Restarts,
        timeout: Span,
        name: String,
        samples: Vec<Sample>,
    }

    #[test]
    fn all_that_is_missing_is_told_and_nothing_that_is_there() {
        let told = |text: &str| lines(&read::<Wanting>("x.toml", text).unwrap_err());
        assert_eq!(told("timeout = \"1s\"\n"), "x.toml:1:1: missing field `strategy`; add `strategy = …` here");
        assert_eq!(
            told("strategy = \"one_for_one\"\n"),
            "x.toml:1:1: missing field `timeout`; add `timeout = …` here\n\
             x.toml:1:1: missing field `name`; add `name = …` here\n\
             x.toml:1:1: missing field `samples`; add `samples = …` here"
        );
        assert_eq!(
            told(
                "strategy = \"sometimes\"\ntimeout = \"1s\"\nname = 5\nsamples = [{ mailbox = 1 }, 7, { timeout = 1 }]\n"
            ),
            "x.toml:1:12: unknown variant `sometimes`; known here: `one_for_one`, `one_for_all`, `rest_for_one`\n\
             x.toml:3:8: invalid type: integer `5`, expected a string\n\
             x.toml:4:12: missing field `timeout`; add `timeout = …` here\n\
             x.toml:4:29: invalid type: integer `7`, expected struct Sample\n\
             x.toml:4:44: invalid type: integer `1`, expected a length of time such as \"30s\""
        );
    }

    #[test]
    fn a_text_full_of_mistakes_has_its_first_told() {
        let text: String = (0..=MISTAKES_MAX).map(|number| format!("[a{number:03}]\n")).collect();
        let errors = read::<BTreeMap<String, Sample>>("x.toml", &text).unwrap_err();
        assert_eq!((errors.len(), errors[0].line), (MISTAKES_MAX + 1, 1));
        assert_eq!(errors[MISTAKES_MAX].to_string(), "x.toml: there are more than 50 mistakes; mend these first");
        let known: String = (1..=MISTAKES_MAX).map(|number| format!("[a{number:03}]\n")).collect();
        assert_eq!(read::<BTreeMap<String, Sample>>("x.toml", &known).unwrap_err().len(), MISTAKES_MAX);
    }

    #[test]
    fn a_key_is_found_however_it_is_written() {
        for (text, way, expected) in [
            ("[a.b]\nc = 1\n", &["a", "b", "c"][..], Some((2, 5))),
            ("[a]\nb = { c = 1 }\n", &["a", "b", "c"], Some((2, 11))),
            ("a.b.c = 1\n", &["a", "b", "c"], Some((1, 9))),
            ("\n[a.\"b\"]\nc = 1\n", &["a", "b"], Some((2, 4))),
            ("\n[a.b]\nc = 1\n", &["a", "b", "d"], Some((2, 4))),
            ("\n[a.b]\nc = 1\n", &["x"], None),
            ("a = ", &["a"], None),
        ] {
            let place = Source { file: "x.toml", text }.place(way);
            assert_eq!(place.map(|place| position(text, place.start)), expected, "{text}");
        }
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
