//! Words that must not be shown. Invariant: neither `Debug` nor `Display` nor
//! serialization ever gives the words; only [`Secret::expose`] does.

use std::fmt;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
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

    /// The words as an `Authorization` header's value, which no log shows either.
    ///
    /// # Errors
    /// When they hold a line break or another character that no header can carry.
    pub fn bearer(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        sensitive(&format!("Bearer {}", self.0))
    }

    /// The bare words as a header's value, which no log shows either.
    ///
    /// # Errors
    /// As [`Secret::bearer`].
    pub fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        sensitive(&self.0)
    }
}

fn sensitive(words: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(words)?;
    value.set_sensitive(true);
    Ok(value)
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
    fn a_header_carries_the_words_and_shows_nothing_of_them() {
        let value = Secret::new("sk-123").bearer().unwrap();
        assert_eq!(value.as_bytes(), b"Bearer sk-123");
        assert!(!format!("{value:?}").contains("sk-123"));
        assert!(Secret::new("a\nb").bearer().is_err());
    }

    #[test]
    fn debug_shows_nothing_of_the_words() {
        assert_eq!(format!("{:?}", Some(Secret::new("sk-123"))), "Some(Secret(redacted))");
    }
}
