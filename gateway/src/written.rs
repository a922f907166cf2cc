//! The text that a configuration or a policy was read from, or that it is built in. Invariant: what is
//! found wrong with a value after it was read is still told with the place where it is written.

use std::path::Path;

use policies::document::{Error, Source};

/// What something was read from.
#[derive(Clone, Debug)]
pub struct Written {
    label: String,
    /// Nothing, of what is built in.
    text: Option<String>,
}

impl Written {
    /// What is compiled in.
    #[must_use]
    pub fn built_in(what: &str) -> Self {
        Self { label: format!("the built-in {what}"), text: None }
    }

    /// The text of a file.
    #[must_use]
    pub fn in_file(path: &Path, text: String) -> Self {
        Self { label: path.display().to_string(), text: Some(text) }
    }

    /// Whether it is compiled in.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.text.is_none()
    }

    /// What a person knows it by, and its text.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        Source { file: &self.label, text: self.text.as_deref().unwrap_or_default() }
    }

    /// An error about the key that these keys lead to; about the whole, where it has none of them.
    #[must_use]
    pub fn fault(&self, way: &[&str], message: impl Into<String>, help: impl Into<String>) -> Error {
        let source = self.source();
        match source.place(way) {
            Some(place) => source.error(place, message, help),
            None => Error::whole(source.file, message, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_a_file_has_a_line() {
        let file = Written::in_file(Path::new("a.toml"), "\n[b]\nc = 1\n".to_owned());
        assert_eq!(file.fault(&["b", "c"], "is odd", "").to_string(), "a.toml:3:5: is odd");
        assert_eq!(file.fault(&[], "is odd", "").to_string(), "a.toml: is odd");
        let fault = Written::built_in("tree").fault(&["b"], "is odd", "mend it");
        assert_eq!(fault.to_string(), "the built-in tree: is odd; mend it");
    }
}
