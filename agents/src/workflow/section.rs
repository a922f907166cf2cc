//! One table of a workflow's text while it is read, and the mistakes found.
//!
//! Invariant: reading never stops at a mistake; each one is kept with the
//! place it was found at, and the keys that were asked for are the known ones.

use std::ops::Range;

use policies::document::{self, Source};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of the text with its place.
pub(super) type Located<'a> = &'a Spanned<DeValue<'a>>;

/// A string of the text with its place.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
}

impl<'a> Text<'a> {
    pub(super) fn of(value: Located<'a>) -> Option<Self> {
        value.get_ref().as_str().map(|text| Self { text, span: value.span() })
    }
}

/// The mistakes of one document, in the order they were found.
pub(super) struct Problems<'a> {
    source: Source<'a>,
    found: Vec<(usize, document::Error)>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let error = self.source.error(span.clone(), message, help);
        if !self.found.iter().any(|(_, known)| *known == error) {
            self.found.push((span.start, error));
        }
    }

    /// The place in the document of the byte `at` of a string's value.
    pub(super) fn place(&self, text: &Text<'_>, at: usize) -> Range<usize> {
        let literal = self.source.text.get(text.span.clone()).unwrap_or_default();
        let quotes = if literal.starts_with("\"\"\"") || literal.starts_with("'''") { 3 } else { 1 };
        let inner = literal.get(quotes..literal.len().saturating_sub(quotes)).unwrap_or_default();
        // The line break right after three opening quotes is no part of the value.
        let trimmed = if quotes == 3 { inner.strip_prefix("\r\n").or(inner.strip_prefix('\n')) } else { None };
        let body = trimmed.unwrap_or(inner);
        let start = text.span.start + quotes + (inner.len() - body.len());
        let at = if body == text.text {
            at
        } else {
            // Escapes shift the columns, so only the line is known.
            let lines = text.text.get(..at).unwrap_or_default().matches('\n').count();
            body.split_inclusive('\n').take(lines).map(str::len).sum()
        };
        let at = (start + at).min(text.span.end);
        at..at
    }

    /// The mistakes in the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<document::Error> {
        self.found.sort_by_key(|(offset, _)| *offset);
        self.found.into_iter().map(|(_, error)| error).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// A table being read.
pub(super) struct Section<'a> {
    /// What it is to a person, such as "step `write`".
    pub(super) what: String,
    pub(super) span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(what: impl Into<String>, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self { what: what.into(), span, table, asked: Vec::new() }
    }

    /// The section in `value`, or a mistake.
    pub(super) fn of(what: impl Into<String>, value: Located<'a>, problems: &mut Problems<'a>) -> Option<Self> {
        let what = what.into();
        let table = value.get_ref().as_table();
        if table.is_none() {
            problems.add(value.span(), format!("{what} must be a table"), "");
        }
        table.map(|table| Self::new(what, value.span(), table))
    }

    /// The value of a key that may be absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Located<'a>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&mut self, key: &'static str, problems: &mut Problems<'a>) -> Option<Located<'a>> {
        let value = self.get(key);
        if value.is_none() {
            problems.add(self.span.clone(), format!("{} has no `{key}`", self.what), format!("add `{key} = …`"));
        }
        value
    }

    pub(super) fn text(&mut self, key: &'static str, problems: &mut Problems<'a>) -> Option<Text<'a>> {
        let value = self.get(key)?;
        shaped(key, value, "a text in quotes", Text::of(value), problems)
    }

    pub(super) fn need_text(&mut self, key: &'static str, problems: &mut Problems<'a>) -> Option<Text<'a>> {
        let value = self.need(key, problems)?;
        shaped(key, value, "a text in quotes", Text::of(value), problems)
    }

    /// One of a few words; the first one when the key is absent.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        problems: &mut Problems<'a>,
    ) -> Option<T> {
        let Some(text) = self.text(key, problems) else {
            return words.first().map(|(_, value)| *value);
        };
        let found = words.iter().find(|(word, _)| *word == text.text).map(|(_, value)| *value);
        if found.is_none() {
            let help = document::suggestion(text.text, words.iter().map(|(word, _)| *word));
            problems.add(text.span, format!("`{key}` cannot be `{}`", text.text), help);
        }
        found
    }

    /// A whole number within bounds.
    pub(super) fn need_count(
        &mut self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<u32>,
        problems: &mut Problems<'a>,
    ) -> Option<u32> {
        let value = self.need(key, problems)?;
        let count = integer(value.get_ref()).and_then(|n| u32::try_from(n).ok()).filter(|n| bounds.contains(n));
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        shaped(key, value, &expected, count, problems)
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<f64>,
        problems: &mut Problems<'a>,
    ) -> Option<f64> {
        let value = self.get(key)?;
        let number = json(value.get_ref()).as_f64().filter(|n| bounds.contains(n));
        let expected = format!("a number from {} to {}", bounds.start(), bounds.end());
        shaped(key, value, &expected, number, problems)
    }

    pub(super) fn boolean(&mut self, key: &'static str, problems: &mut Problems<'a>) -> Option<bool> {
        let value = self.get(key)?;
        shaped(key, value, "true or false", value.get_ref().as_bool(), problems)
    }

    pub(super) fn texts(&mut self, key: &'static str, problems: &mut Problems<'a>) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let texts = value.get_ref().as_array().and_then(|items| {
            items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        shaped(key, value, "a list of texts", texts, problems).unwrap_or_default()
    }

    /// The entries of a table whose keys are free, in the order of the keys.
    pub(super) fn entries(&mut self, key: &'static str, problems: &mut Problems<'a>) -> Vec<(Text<'a>, Located<'a>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let table = shaped(key, value, "a table", value.get_ref().as_table(), problems);
        table.map(entries).unwrap_or_default()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems<'a>) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let help = document::suggestion(name, self.asked.iter().copied());
                problems.add(key.span(), format!("unknown key `{name}` in {}", self.what), help);
            }
        }
    }
}

/// The entries of a table with the places of their keys.
pub(super) fn entries<'a>(table: &'a DeTable<'a>) -> Vec<(Text<'a>, Located<'a>)> {
    table.iter().map(|(key, value)| (Text { text: key.get_ref(), span: key.span() }, value)).collect()
}

/// A value as JSON; dates become texts.
pub(super) fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(_) => integer(value).into(),
        DeValue::Float(float) => float.as_str().parse::<f64>().ok().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().clone().into_owned(), json(value.get_ref()))).collect()
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn shaped<'a, T>(
    key: &str,
    value: Located<'a>,
    expected: &str,
    read: Option<T>,
    problems: &mut Problems<'a>,
) -> Option<T> {
    if read.is_none() {
        problems.add(value.span(), format!("`{key}` must be {expected}"), "");
    }
    read
}
