//! Regular expressions of schemas. Invariant: one that is checked runs in time linear in the text, and takes no more
//! than [`PATTERN_BYTES_MAX`]; what this cannot be said of is refused when its schema is read.
//!
//! They are written as ECMAScript has them. Those of its words that need more than linear time, back references and
//! looking ahead or behind, are not known; `\d` and `\w` stand for the digits and letters of all scripts.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

/// What one may take when it is made ready.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// How many different ones a schema may have.
pub(super) const PATTERNS_MAX: usize = 16;

/// Makes one ready; none where it is not one that can be checked.
pub(super) fn ready(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build().ok()
}

/// Those that were needed so far, of a schema that was read.
#[derive(Default)]
pub(super) struct Patterns(BTreeMap<String, Option<Regex>>);

impl Patterns {
    /// Whether a text holds a match.
    pub(super) fn matches(&mut self, pattern: &str, text: &str) -> bool {
        if !self.0.contains_key(pattern) {
            self.0.insert(pattern.to_owned(), ready(pattern));
        }
        self.0.get(pattern).and_then(Option::as_ref).is_some_and(|pattern| pattern.is_match(text))
    }
}
