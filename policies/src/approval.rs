//! Whether a person is asked before something is published.

use serde::{Deserialize, Serialize};

/// Who approves a post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalPolicy {
    /// A post that keeps the rules goes out by itself.
    #[default]
    Automatic,
    /// Every post waits for a person.
    Ask,
}
