//! What a step is held by. Invariant: it says all that is known, so that whoever settles it needs no log.

use actors::letters::LetterId;
use policies::instant::Timestamp;

use super::event::Hold;
use crate::workflow::Action;

impl Hold {
    /// Whether nobody knows if it was done.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self, Self::Doubt { .. } | Self::Poison { in_doubt: true, .. })
    }

    /// The dead letter that it is.
    #[must_use]
    pub fn letter(&self) -> Option<&LetterId> {
        match self {
            Self::Poison { letter, .. } => Some(letter),
            Self::Doubt { .. } | Self::Budget { .. } => None,
        }
    }

    /// When it goes on by itself: a budget's window ends then.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Timestamp> {
        match self {
            Self::Budget { refusal } => refusal.wakes_at(),
            Self::Doubt { .. } | Self::Poison { .. } => None,
        }
    }

    /// What was asked, where it is known.
    #[must_use]
    pub fn request(&self) -> Option<&Action> {
        match self {
            Self::Doubt { request, .. } | Self::Poison { request, .. } => Some(&**request),
            Self::Budget { .. } => None,
        }
    }
}
