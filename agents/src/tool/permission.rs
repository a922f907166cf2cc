//! Which tools an agent may use. Invariant: an agent has what its configuration names and nothing else.

use policies::pattern;
use serde::{Deserialize, Serialize};

/// Names of tools, in each of which `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permissions(Vec<String>);

impl Permissions {
    /// These.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Whether a tool is among them.
    #[must_use]
    pub fn allow(&self, tool: &str) -> bool {
        self.0.iter().any(|name| pattern::covers(name, tool))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they are written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
