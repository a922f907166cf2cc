//! An operator's word to a node of the tree, and why it may not be followed.
//!
//! Invariant: what an operator stopped or paused stays so over every restart of its siblings and
//! supervisors, until an operator says otherwise.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::snapshot::NodeState;

/// What an operator wants of a child or a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Stop it in order and start it again; what it failed of before is forgotten.
    Restart,
    /// Stop it within its time; it stays down until it is resumed or restarted.
    Stop,
    /// It begins nothing new until it is resumed; what is under way goes on.
    Pause,
    /// It takes work again, and starts if it is down.
    Resume,
    /// It begins nothing new, finishes what is under way, and is stopped then.
    Drain,
}

impl Word {
    /// Every word.
    pub const ALL: [Self; 5] = [Self::Restart, Self::Stop, Self::Pause, Self::Resume, Self::Drain];

    /// As it is written in addresses, events and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// No node has this name.
    #[error("the tree has no node `{name}`{}", did_you_mean(.closest.as_deref()))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The nearest name that there is.
        closest: Option<String>,
    },
    /// It has no supervisor whose books it is in.
    #[error("`{name}` is the root of the tree and cannot be told to {word}; name one of its children")]
    Root {
        /// The root.
        name: String,
        /// What it was told.
        word: Word,
    },
    /// Its supervisor is on its way up or down.
    #[error("the supervisor of `{name}` is not up now; try again when it is")]
    Down {
        /// The node.
        name: String,
    },
    /// It does not fit where the node is in its life.
    #[error("`{name}` cannot be told to {word} now: {}", why(*.state))]
    Unfit {
        /// The node.
        name: String,
        /// What it was told.
        word: Word,
        /// Where it is.
        state: NodeState,
    },
}

fn did_you_mean(closest: Option<&str>) -> String {
    closest.map_or_else(|| "; `callboard tree` lists them".to_owned(), |name| format!("; did you mean `{name}`?"))
}

const fn why(state: NodeState) -> &'static str {
    match state {
        NodeState::Up => "it is up and takes work",
        NodeState::Waiting | NodeState::Starting | NodeState::Backoff => "it is on its way up",
        NodeState::Paused => "its start is put off",
        NodeState::Parked => "it is stopped",
        NodeState::Stuck => "it was killed and runs on",
        NodeState::Stopping => "it is on its way down; try again when it is there",
        NodeState::Done => "it has ended for good",
    }
}
