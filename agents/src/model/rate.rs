//! What a provider tells of its limits with each answer. Invariant: it holds a call back only where
//! the provider says both that nothing, or less than the call needs, is left and until when.

use std::time::Duration;

use actors::guard::{Left, Rest};
use policies::tokens::Tokens;

/// What is left of a provider's limits, as its last answer told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateNews {
    /// Of calls.
    pub requests: Window,
    /// Of tokens of both kinds.
    pub tokens: Window,
    /// Of tokens sent.
    pub input: Window,
    /// Of tokens received.
    pub output: Window,
    /// How long it wants to be left alone, which it says when it refuses.
    pub retry_after: Option<Duration>,
}

/// One limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// How much there is in all.
    pub limit: Option<u64>,
    /// How much is left.
    pub remaining: Option<u64>,
    /// How long until all is there again.
    pub resets_in: Option<Duration>,
}

impl Window {
    /// What is left of it, where that is told with its end.
    fn rest(&self) -> Rest {
        Some((Tokens(self.remaining?), self.resets_in?))
    }

    /// How long nothing is left of it.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        self.resets_in.filter(|_| self.remaining == Some(0))
    }
}

impl RateNews {
    /// What is left for the calls to come, of which each needs another part.
    #[must_use]
    pub fn left(&self) -> Left {
        Left { tokens: self.tokens.rest(), input: self.input.rest(), output: self.output.rest() }
    }

    /// How long the next call would be refused; none when it would not.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        let closed = [self.requests, self.tokens, self.input, self.output].iter().filter_map(Window::closed_for).max();
        closed.max(self.retry_after).filter(|wait| !wait.is_zero())
    }
}
