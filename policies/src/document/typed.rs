//! Reading a value of a document as a type that serde knows, and finding all mistakes in it.
//!
//! Serde stops at the first mistake. So what is wrong is taken out of a copy, or replaced by something
//! that fits, and the copy is read again. Invariant: whatever is read is read from the text alone; a copy
//! only serves to find more mistakes, and each try finds one more or ends.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeValue, Error as TomlError, ValueDeserializer};

use super::{Located, MISTAKES_MAX, Mistakes, quoted};

/// What is tried in place of something wrong or missing, so that reading can go on behind it: values of
/// each shape that a policy may ask for.
const STAND_INS: [&str; 9] = ["1", "\"$1\"", "\"1s\"", "\"1/s\"", "\"1%\"", "\"x\"", "true", "[]", "{}"];

/// The most tries at one value. A try without a mistake of its own is rare, so this is never what ends it.
const TRIES_MAX: usize = 4 * MISTAKES_MAX;

/// The place of what the text does not hold.
const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Reads a value as it is.
pub(super) fn decode<T: DeserializeOwned>(value: Located<'_>) -> Result<T, TomlError> {
    T::deserialize(ValueDeserializer::from(value.clone()))
}

impl Mistakes<'_> {
    /// Reads a value, or keeps everything that is wrong with it; where it is one of few words, each is
    /// called a `noun`.
    pub fn typed<T: DeserializeOwned>(&mut self, noun: &str, value: Located<'_>) -> Option<T> {
        let mut error = match decode(value) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let (mut copy, mut taken) = (value.clone(), Vec::new());
        for _ in 0..TRIES_MAX {
            // What was taken out of the copy is not missing in the text.
            if missing(&error).is_none_or(|name| !taken.iter().any(|taken| taken == name)) {
                self.explain(noun, value.span(), &error);
            }
            if self.overflows() || !mend::<T>(&mut copy, &error, &mut taken) {
                break;
            }
            match decode::<T>(&copy) {
                Ok(_) => break,
                Err(next) => error = next,
            }
        }
        None
    }
}

/// The name of the field that an error misses.
fn missing(error: &TomlError) -> Option<&str> {
    let message = error.message().strip_prefix("missing field")?;
    quoted(message).first().copied()
}

/// Changes the copy so that this error is gone; or cannot.
fn mend<T: DeserializeOwned>(copy: &mut Spanned<DeValue<'_>>, error: &TomlError, taken: &mut Vec<String>) -> bool {
    let place = error.span().unwrap_or_else(|| copy.span());
    let mut way = Vec::new();
    let on_key = match find(copy.get_ref(), &place, &mut way) {
        Some(hit) => hit == Hit::Key,
        None if place == copy.span() => false,
        None => return false,
    };
    let (at, place) = match missing(error) {
        Some(name) => {
            way.push(Step::Key(name.to_owned()));
            (NOWHERE, NOWHERE)
        }
        None => (place.clone(), place),
    };
    let replaceable = missing(error).is_some() || !on_key;
    if replaceable && STAND_INS.iter().any(|text| stand_in::<T>(copy, &way, text, at.clone(), &place)) {
        return true;
    }
    if missing(error).is_some() {
        way.pop();
    }
    taken.extend(way.last().and_then(|step| if let Step::Key(name) = step { Some(name.clone()) } else { None }));
    take_out(copy, &way)
}

/// Puts a value where the way leads, if it reads there.
fn stand_in<T: DeserializeOwned>(
    copy: &mut Spanned<DeValue<'_>>,
    way: &[Step],
    text: &'static str,
    span: Range<usize>,
    place: &Range<usize>,
) -> bool {
    let Ok(value) = DeValue::parse(text) else { return false };
    let mut tried = copy.clone();
    let Some((last, above)) = way.split_last() else { return false };
    let value = Spanned::new(span, value.into_inner());
    match (follow(tried.get_mut(), above), last) {
        (Some(DeValue::Table(table)), Step::Key(name)) => {
            table.insert(Spanned::new(NOWHERE, name.clone().into()), value);
        }
        (Some(DeValue::Array(items)), Step::Index(index)) => {
            let Some(item) = items.get_mut(*index) else { return false };
            *item = value;
        }
        _ => return false,
    }
    let fits = decode::<T>(&tried).err().is_none_or(|error| error.span().as_ref() != Some(place));
    if fits {
        *copy = tried;
    }
    fits
}

/// A step on the way from a value to one inside it.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// What stands at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hit {
    Key,
    Value,
}

/// The way to the innermost that stands exactly at a place.
fn find(value: &DeValue<'_>, place: &Range<usize>, way: &mut Vec<Step>) -> Option<Hit> {
    let children: Vec<_> = match value {
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| (Step::Key(key.get_ref().clone().into_owned()), Some(key.span()), value))
            .collect(),
        DeValue::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (Step::Index(index), None, item)).collect()
        }
        _ => return None,
    };
    for (step, key, child) in children {
        way.push(step);
        if key.as_ref() == Some(place) {
            return Some(Hit::Key);
        }
        if let Some(hit) = find(child.get_ref(), place, way) {
            return Some(hit);
        }
        if child.span() == *place {
            return Some(Hit::Value);
        }
        way.pop();
    }
    None
}

/// The value where the way leads.
fn follow<'v, 'i>(value: &'v mut DeValue<'i>, way: &[Step]) -> Option<&'v mut DeValue<'i>> {
    way.iter().try_fold(value, |value, step| match (value, step) {
        (DeValue::Table(table), Step::Key(name)) => table.get_mut(name.as_str()).map(Spanned::get_mut),
        (DeValue::Array(items), Step::Index(index)) => items.get_mut(*index).map(Spanned::get_mut),
        _ => None,
    })
}

/// Takes what the way leads to out of the copy.
fn take_out(copy: &mut Spanned<DeValue<'_>>, way: &[Step]) -> bool {
    let Some((last, above)) = way.split_last() else { return false };
    match (follow(copy.get_mut(), above), last) {
        (Some(DeValue::Table(table)), Step::Key(name)) => table.remove(name.as_str()).is_some(),
        (Some(DeValue::Array(items)), Step::Index(index)) if *index < items.len() => {
            *items = items.iter().enumerate().filter(|(at, _)| at != index).map(|(_, item)| item.clone()).collect();
            true
        }
        _ => false,
    }
}
