//! Where a secret is. Invariant: its words are read where they are needed, and no error repeats what
//! may be them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where a secret is; the secret itself is read when it is needed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; white space around its content is dropped.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> serde::de::Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("where the secret is: { env = \"NAME\" } or { file = \"path\" }")
    }

    /// The words that were written may be the secret itself, so they are not repeated.
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom("a secret is not written here; say where it is: { env = \"NAME\" } or { file = \"path\" }"))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        // What is derived is the type's own function; the trait's is the one above.
        let source = SecretSource::deserialize(serde::de::value::MapAccessDeserializer::new(&mut map))?;
        if map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            return Err(serde::de::Error::custom("a secret is in one place; write `env` or `file`, not both"));
        }
        Ok(source)
    }
}

impl SecretSource {
    /// Makes a file's path relative to this folder.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        if let Self::File(path) = self {
            *path = folder.join(&*path);
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// A sentence that names the source, never its content.
    pub fn read(&self) -> Result<String, String> {
        let secret = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| {
                format!("the environment variable {name} is not set; export it, or name another source")
            })?,
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|e| format!("the secret's file {} cannot be read: {e}", path.display()))?,
        };
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(match self {
                Self::Env(name) => format!("the environment variable {name} is empty"),
                Self::File(path) => format!("the secret's file {} is empty", path.display()),
            });
        }
        Ok(secret.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_secret_names_its_source_only() {
        let source = SecretSource::Env("CALLBOARD_NO_SUCH_SECRET".to_owned());
        assert!(source.read().unwrap_err().contains("CALLBOARD_NO_SUCH_SECRET"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "  s3cret\n").unwrap();
        assert_eq!(SecretSource::File(path).read().unwrap(), "s3cret");
    }
}
