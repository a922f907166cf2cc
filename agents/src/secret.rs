//! Words that must not be shown. Invariant: neither `Debug` nor `Display` nor
//! serialization ever gives the words; only [`Secret::expose`] does.

use std::fmt;

use serde::Deserialize;

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
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_the_words() {
        assert_eq!(format!("{:?}", Some(Secret::new("sk-123"))), "Some(Secret(redacted))");
    }
}
