//! A span, before it is written for a collector. Invariant: its ids follow from what it tells of, so that the
//! same thing told again is the same span.

use actors::telemetry::convention;
use policies::instant::Timestamp;

/// The most of one text, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 32 << 10;
/// The most of a name that a server has given, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 256;
const CUT: char = '…';

/// Something that began and ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: String,
    /// Whether it is a call of somebody else.
    pub(super) is_call: bool,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failure: Option<Failure>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(u64),
    Real(f64),
    Texts(Vec<String>),
}

/// How something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// As a class.
    pub(super) class: &'static str,
    /// In words, which may repeat what a model said.
    pub(super) words: Option<String>,
}

/// A span's id; never zero, which would be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SpanId(pub(super) u64);

impl SpanId {
    /// The id of what these words name.
    pub(super) fn of(words: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for word in words {
            hasher.update(&(word.len() as u64).to_be_bytes());
            hasher.update(word.as_bytes());
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_be_bytes(first).max(1))
    }
}

/// A text of `bytes_max` at most, with a mark where it was cut.
pub(super) fn clip(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len_utf8()));
    text.get(..end).unwrap_or_default().chars().chain([CUT]).collect()
}

impl Span {
    pub(super) fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.attributes.push((name, Value::Text(value.into())));
    }

    pub(super) fn whole(&mut self, name: &'static str, value: u64) {
        self.attributes.push((name, Value::Whole(value)));
    }

    /// Notes how it failed.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.text(convention::ERROR, failure.class);
        self.failure = Some(failure);
    }
}
