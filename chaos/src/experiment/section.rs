//! One table of an experiment while it is read, and the mistakes found. Invariant: reading never stops
//! at a mistake, and a key that nobody asked for is one.

use std::ops::{Range, RangeInclusive};

use policies::document::{self, Error, Source};
use policies::span::Span;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// The longest time that an experiment may name: seven days.
const LENGTH_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// A value of the text with its place.
pub(super) type Located<'a> = &'a Spanned<DeValue<'a>>;

/// The mistakes of one experiment.
pub(super) struct Mistakes<'a> {
    source: Source<'a>,
    found: Vec<Error>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(self.source.error(span, message, help));
    }

    /// What the TOML reader found.
    pub(super) fn explain(&mut self, error: &toml::de::Error) {
        self.found.push(document::explain(self.source, 0..0, error));
    }

    /// A value that is not one of `noun`, or not of its form.
    fn refuse(&mut self, noun: &str, value: Located<'_>, error: &toml::de::Error) {
        let mut error = document::explain(self.source, value.span(), error);
        error.message = error.message.replacen("unknown variant", &format!("unknown {noun}"), 1);
        self.found.push(error);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<Error> {
        self.found.sort_by_key(|error| (error.line, error.column));
        self.found
    }
}

/// A table being read.
pub(super) struct Section<'a> {
    /// What it is to a person, such as "fault `crash`".
    pub(super) what: String,
    pub(super) span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(what: impl Into<String>, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self { what: what.into(), span, table, asked: Vec::new() }
    }

    /// The table under a key that may be absent, written `[key]`.
    pub(super) fn table(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            mistakes.add(value.span(), format!("`{key}` is no table"), format!("write it once, as [{key}]"));
        }
        Some(Self::new(format!("[{key}]"), value.span(), table?))
    }

    /// The table under a key that must be there.
    pub(super) fn need_table(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        if self.get(key).is_none() {
            mistakes.add(self.span.clone(), format!("{} has no [{key}]", self.what), format!("add the table [{key}]"));
        }
        self.table(key, mistakes)
    }

    /// The tables under a key, written `[[key]]`; one alone may be written `[key]`.
    pub(super) fn tables(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let values: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let mut tables = Vec::new();
        for value in values {
            match value.get_ref().as_table() {
                Some(table) => tables.push(Self::new(format!("[[{key}]]"), value.span(), table)),
                None => mistakes.add(value.span(), format!("`{key}` is no table"), format!("write each as [[{key}]]")),
            }
        }
        tables
    }

    /// The value of a key that may be absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Located<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    /// Reports a key that must be there and is not.
    pub(super) fn require(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) {
        if self.table.get(key).is_none() {
            mistakes.add(self.span.clone(), format!("{} has no `{key}`", self.what), format!("add `{key} = …`"));
        }
    }

    /// A value that may be absent; what is wrong with it is reported.
    pub(super) fn read<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Spanned<T>> {
        let value = self.get(key)?;
        typed(value)
            .map_err(|error| mistakes.refuse(key, value, &error))
            .ok()
            .map(|read| Spanned::new(value.span(), read))
    }

    /// A value that must be there.
    pub(super) fn need<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Spanned<T>> {
        self.require(key, mistakes);
        self.read(key, mistakes)
    }

    /// A value that is `T`'s default where it is absent.
    pub(super) fn or_default<T: DeserializeOwned + Default>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> T {
        self.read(key, mistakes).map(Spanned::into_inner).unwrap_or_default()
    }

    /// The values of a list, each called a `noun`; those that are wrong are reported and left out.
    pub(super) fn list<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        noun: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            mistakes.add(value.span(), format!("`{key}` must be a list"), format!("write `{key} = [\"…\"]`"));
            return Vec::new();
        };
        if items.is_empty() {
            mistakes.add(value.span(), format!("`{key}` is empty"), "name one at least, or take it away");
        }
        items.iter().filter_map(|item| typed(item).map_err(|error| mistakes.refuse(noun, item, &error)).ok()).collect()
    }

    /// A whole number within bounds.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u32>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<u32> {
        let value = self.get(key)?;
        let number = typed::<u32>(value).ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            let message = format!("`{key}` must be a whole number from {} to {}", bounds.start(), bounds.end());
            mistakes.add(value.span(), message, "");
        }
        number
    }

    /// A share: a number from 0 to 1.
    pub(super) fn share(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<f64> {
        let value = self.get(key)?;
        let share = typed::<f64>(value).ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            let help = "0.3 is three of ten";
            mistakes.add(value.span(), format!("`{key}` is a share, so it must be a number from 0 to 1"), help);
        }
        share
    }

    /// A length of time above zero, in milliseconds.
    pub(super) fn length(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Spanned<u64>> {
        let span = self.read::<Span>(key, mistakes)?;
        let place = span.span();
        let length_ms = millis(span.into_inner());
        if !(1..=LENGTH_MS_MAX).contains(&length_ms) {
            let max = Span::from_millis(LENGTH_MS_MAX);
            mistakes.add(place.clone(), format!("`{key}` must be above zero and at most {max}"), "");
            return None;
        }
        Some(Spanned::new(place, length_ms))
    }

    /// A length of time above zero that must be there, in milliseconds.
    pub(super) fn need_length(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Spanned<u64>> {
        self.require(key, mistakes);
        self.length(key, mistakes)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, mistakes: &mut Mistakes<'_>) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let help = document::suggestion(name, self.asked.iter().copied());
                mistakes.add(key.span(), format!("unknown key `{name}` in {}", self.what), help);
            }
        }
    }
}

/// In whole milliseconds.
pub(super) fn millis(span: Span) -> u64 {
    u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
}

fn typed<T: DeserializeOwned>(value: Located<'_>) -> Result<T, toml::de::Error> {
    T::deserialize(ValueDeserializer::from(value.clone()))
}
