//! What the sums say no with. Invariant: a refusal names the scope, the window and what is left there,
//! and what follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AtEnd, ScopeId, Window};
use crate::{instant::Timestamp, money::Money};

/// A reservation that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The scope that it does not fit into: of several, the one from which the hardest follows.
    pub scope: ScopeId,
    /// How much was asked for.
    pub asked: Money,
    /// How much was left there.
    pub left: Money,
    /// The window that it does not fit into; none for the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// When that window ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What follows.
    #[serde(default)]
    pub then: AtEnd,
}

impl Refusal {
    /// A refusal by the total of a scope, which is final.
    pub const fn of_total(scope: ScopeId, asked: Money, left: Money) -> Self {
        Self { scope, asked, left, window: None, until: None, then: AtEnd::Reject }
    }

    /// The moment at which it is worth asking again, where waiting is what follows.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        self.until.filter(|_| self.then == AtEnd::Wait)
    }

    /// Whether the call is not to be made at all: nothing is waited for, neither time nor a person.
    pub fn is_final(&self) -> bool {
        match self.then {
            AtEnd::Reject | AtEnd::Downgrade => true,
            AtEnd::Wait => self.until.is_none(),
            AtEnd::Ask => false,
        }
    }

    /// Whether this one says more about what follows than the other.
    pub(super) fn is_harder_than(&self, other: &Self) -> bool {
        (self.then, self.wakes_at()) > (other.then, other.wakes_at())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, asked, left, .. } = self;
        write!(f, "{scope} has {left} left")?;
        match self.window {
            None => {}
            Some(Window::Day) => f.write_str(" today")?,
            Some(window) => write!(f, " this {window}")?,
        }
        if let Some(until) = self.until {
            write!(f, ", until {until},")?;
        }
        write!(f, " and the call may cost {asked}; ")?;
        match self.then {
            AtEnd::Wait => write!(f, "it waits for the next {}", self.window.unwrap_or(Window::Day)),
            AtEnd::Ask | AtEnd::Reject | AtEnd::Downgrade => {
                write!(f, "raise the budget of {scope} or ask for less")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// A call that cost more than was reserved for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the call cost {actual} and {reserved} was reserved for it in {scope}; check the price table")]
pub struct Overrun {
    /// The first scope that had reserved too little.
    pub scope: ScopeId,
    /// What was reserved there.
    pub reserved: Money,
    /// What the call cost.
    pub actual: Money,
}
