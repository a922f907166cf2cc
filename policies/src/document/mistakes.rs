//! The mistakes of one document, while it is read. Invariant: reading never stops at a mistake; each is
//! kept once, with its place, up to a bound, and they come out in the order of the text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Error, Source, Text, advice};

/// The most mistakes that are told of one document at a time.
pub const MISTAKES_MAX: usize = 50;

/// The mistakes of one document.
#[derive(Debug)]
pub struct Mistakes<'a> {
    source: Source<'a>,
    /// Each with the byte where it is.
    found: Vec<(usize, Error)>,
    /// Whether some were not kept.
    more: bool,
}

impl<'a> Mistakes<'a> {
    /// None yet.
    pub fn new(source: Source<'a>) -> Self {
        Self { source, found: Vec::new(), more: false }
    }

    /// One about the bytes `span` of the text.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let error = self.source.error(span.clone(), message, help);
        if self.found.iter().any(|(_, known)| *known == error) {
            return;
        }
        if self.found.len() >= MISTAKES_MAX {
            self.more = true;
        } else {
            self.found.push((span.start, error));
        }
    }

    /// What the TOML reader says, at the place that it names; at `span` where it names none. What it calls
    /// a variant is called a `noun`.
    pub(super) fn explain(&mut self, noun: &str, span: Range<usize>, error: &toml::de::Error) {
        let lines: Vec<&str> = error.message().lines().map(str::trim).collect();
        let (message, help) = advice(&lines.join(", "));
        let message = message.replacen("unknown variant", &format!("unknown {noun}"), 1);
        self.add(error.span().unwrap_or(span), message, help);
    }

    /// The place in the document of the byte `at` of a string's value.
    pub fn place(&self, text: &Text<'_>, at: usize) -> Range<usize> {
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there were more than are kept.
    pub(super) fn overflows(&self) -> bool {
        self.more
    }

    /// What was read, if nothing is wrong with it.
    ///
    /// # Errors
    /// All mistakes, in the order of the text.
    pub fn conclude<T>(self, read: Option<T>) -> Result<T, Vec<Error>> {
        match read {
            Some(read) if self.is_empty() => Ok(read),
            _ => Err(self.into_errors()),
        }
    }

    /// In the order of the text.
    pub fn into_errors(mut self) -> Vec<Error> {
        self.found.sort_by_key(|(offset, _)| *offset);
        let mut errors: Vec<Error> = self.found.into_iter().map(|(_, error)| error).collect();
        if self.more {
            let message = format!("there are more than {MISTAKES_MAX} mistakes");
            errors.push(Error::whole(self.source.file, message, "mend these first"));
        }
        errors
    }
}

/// A document's syntax: its values with their places.
///
/// # Errors
/// All mistakes of syntax. What follows one is guesswork, so nothing else is told then.
pub fn parse<'a>(source: Source<'a>) -> Result<Spanned<DeValue<'a>>, Vec<Error>> {
    let (table, unreadable) = DeTable::parse_recoverable(source.text);
    let mut mistakes = Mistakes::new(source);
    for error in &unreadable {
        mistakes.explain("variant", 0..0, error);
    }
    // What is wrong with the whole is said at its beginning.
    mistakes.conclude(Some(Spanned::new(0..0, DeValue::Table(table.into_inner()))))
}
