//! One table of a document while it is read key by key. Invariant: the keys that were asked for are the
//! known ones, and a key that nobody asked for is a mistake.

use std::ops::{Range, RangeInclusive};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::typed::decode;
use super::{Mistakes, suggestion};

/// A value of the text with its place.
pub type Located<'a> = &'a Spanned<DeValue<'a>>;

/// A string of the text with its place.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    /// Its value.
    pub text: &'a str,
    /// Where it stands, quotes included.
    pub span: Range<usize>,
}

impl<'a> Text<'a> {
    /// The string in `value`, if it is one.
    pub fn of(value: Located<'a>) -> Option<Self> {
        value.get_ref().as_str().map(|text| Self { text, span: value.span() })
    }
}

/// A table being read.
#[derive(Debug)]
pub struct Section<'a> {
    /// What it is to a person, such as "step `write`".
    pub what: String,
    /// Where it stands.
    pub span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// A table that is read from now on.
    pub fn new(what: impl Into<String>, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self { what: what.into(), span, table, asked: Vec::new() }
    }

    /// The section in `value`, or a mistake.
    pub fn of(what: impl Into<String>, value: Located<'a>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let what = what.into();
        let table = value.get_ref().as_table();
        if table.is_none() {
            mistakes.add(value.span(), format!("{what} must be a table"), "");
        }
        table.map(|table| Self::new(what, value.span(), table))
    }

    /// The table under a key that may be absent, written `[key]`.
    pub fn table(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            mistakes.add(value.span(), format!("`{key}` is no table"), format!("write it once, as [{key}]"));
        }
        Some(Self::new(format!("[{key}]"), value.span(), table?))
    }

    /// The table under a key that must be there.
    pub fn need_table(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        if self.get(key).is_none() {
            mistakes.add(self.span.clone(), format!("{} has no [{key}]", self.what), format!("add the table [{key}]"));
        }
        self.table(key, mistakes)
    }

    /// The tables under a key, written `[[key]]`; one alone may be written `[key]`.
    pub fn tables(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<Self> {
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
    pub fn get(&mut self, key: &'static str) -> Option<Located<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    /// Reports a key that must be there and is not.
    pub fn require(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) {
        if self.get(key).is_none() {
            mistakes.add(self.span.clone(), format!("{} has no `{key}`", self.what), format!("add `{key} = …`"));
        }
    }

    /// The value of a key that must be there.
    pub fn need_value(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Located<'a>> {
        self.require(key, mistakes);
        self.get(key)
    }

    /// A value of a type that may be absent; all that is wrong with it is reported.
    pub fn read<T: DeserializeOwned>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Spanned<T>> {
        let value = self.get(key)?;
        mistakes.typed(key, value).map(|read| Spanned::new(value.span(), read))
    }

    /// The same without its place.
    pub fn value<T: DeserializeOwned>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<T> {
        self.read(key, mistakes).map(Spanned::into_inner)
    }

    /// A value of a type that must be there.
    pub fn need<T: DeserializeOwned>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Spanned<T>> {
        self.require(key, mistakes);
        self.read(key, mistakes)
    }

    /// A value that is `T`'s default where it is absent.
    pub fn or_default<T: DeserializeOwned + Default>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> T {
        self.value(key, mistakes).unwrap_or_default()
    }

    /// The values of a list, each called a `noun`; those that are wrong are reported and left out.
    pub fn list<T: DeserializeOwned>(&mut self, key: &'static str, noun: &str, mistakes: &mut Mistakes<'_>) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            mistakes.add(value.span(), format!("`{key}` must be a list"), format!("write `{key} = [\"…\"]`"));
            return Vec::new();
        };
        if items.is_empty() {
            mistakes.add(value.span(), format!("`{key}` is empty"), "name one at least, or take it away");
        }
        items.iter().filter_map(|item| mistakes.typed(noun, item)).collect()
    }

    /// A text that may be absent.
    pub fn text(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Text<'a>> {
        let value = self.get(key)?;
        shaped(key, value, "a text in quotes", Text::of(value), mistakes)
    }

    /// A text that must be there.
    pub fn need_text(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Text<'a>> {
        self.require(key, mistakes);
        self.text(key, mistakes)
    }

    /// A list of texts; empty where it is absent.
    pub fn texts(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        shaped(key, value, "a list of texts", decode(value).ok(), mistakes).unwrap_or_default()
    }

    /// One of a few words; the first one when the key is absent.
    pub fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        mistakes: &mut Mistakes<'_>,
    ) -> Option<T> {
        let Some(text) = self.text(key, mistakes) else {
            return words.first().map(|(_, value)| *value);
        };
        let found = words.iter().find(|(word, _)| *word == text.text).map(|(_, value)| *value);
        if found.is_none() {
            let help = suggestion(text.text, words.iter().map(|(word, _)| *word));
            mistakes.add(text.span, format!("`{key}` cannot be `{}`", text.text), help);
        }
        found
    }

    /// A whole number within bounds, which may be absent.
    pub fn whole(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u32>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<u32> {
        let value = self.get(key)?;
        let number = decode(value).ok().filter(|number| bounds.contains(number));
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        shaped(key, value, &expected, number, mistakes)
    }

    /// A number within bounds, which may be absent.
    pub fn number(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<f64>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<f64> {
        let value = self.get(key)?;
        let number = decode(value).ok().filter(|number| bounds.contains(number));
        let expected = format!("a number from {} to {}", bounds.start(), bounds.end());
        shaped(key, value, &expected, number, mistakes)
    }

    /// True or false, which may be absent.
    pub fn boolean(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<bool> {
        let value = self.get(key)?;
        shaped(key, value, "true or false", value.get_ref().as_bool(), mistakes)
    }

    /// The entries of a table whose keys are free, in the order of the keys.
    pub fn entries(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<(Text<'a>, Located<'a>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let table = shaped(key, value, "a table", value.get_ref().as_table(), mistakes);
        table.map(entries).unwrap_or_default()
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, mistakes: &mut Mistakes<'_>) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let help = suggestion(name, self.asked.iter().copied());
                mistakes.add(key.span(), format!("unknown key `{name}` in {}", self.what), help);
            }
        }
    }
}

/// The entries of a table with the places of their keys.
pub fn entries<'a>(table: &'a DeTable<'a>) -> Vec<(Text<'a>, Located<'a>)> {
    table.iter().map(|(key, value)| (Text { text: key.get_ref(), span: key.span() }, value)).collect()
}

fn shaped<T>(key: &str, value: Located<'_>, expected: &str, read: Option<T>, mistakes: &mut Mistakes<'_>) -> Option<T> {
    if read.is_none() {
        mistakes.add(value.span(), format!("`{key}` must be {expected}"), "");
    }
    read
}
