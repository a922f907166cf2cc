//! Whether a restart makes sense now, as those outside the tree know it who see the breakers and the
//! ledger.
//!
//! Invariant: a question here is a look-up that returns at once; a restart is put off by it, never
//! forgotten.

use std::time::Duration;

use policies::breaker::BreakerState;
use policies::money::Money;
use policies::span::Span;
use serde::{Deserialize, Serialize};

use crate::books::Asks;

/// The longest time until a held restart is asked for again; a breaker may close, and a budget be
/// raised, before they said they would.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(5);
/// The least, so that a breaker on the verge costs no busy loop.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(100);

/// What the world outside has to say about a child's restart.
pub trait Prospects: Send + Sync {
    /// How long the breaker in front of what the child needs stays open; nothing when calls go through.
    fn breaker_open(&self, child: &str) -> Option<Duration>;

    /// Whether a budget could pay the child's next attempt.
    fn can_pay(&self, child: &str) -> bool;

    /// The breaker and the budget of a node, for the picture.
    fn standing(&self, _node: &str) -> Standing {
        Standing::default()
    }
}

/// The breaker of what a node calls, and what is left of its budget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The breaker in front of what it calls, if it calls anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerView>,
    /// The least that is left in the budgets that limit it, in nano-dollars; none when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<Money>,
}

/// A breaker, for the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// The guard that it is part of.
    pub guard: String,
    /// Where it stands.
    pub state: BreakerWord,
    /// How long it lets nothing through, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerWord {
    /// Calls go through.
    Closed,
    /// None does.
    Open,
    /// A few do, to see how they end.
    HalfOpen,
}

impl From<BreakerState> for BreakerWord {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::Open { .. } => Self::Open,
            BreakerState::HalfOpen { .. } => Self::HalfOpen,
        }
    }
}

/// Prospects that are always good.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bright;

impl Prospects for Bright {
    fn breaker_open(&self, _child: &str) -> Option<Duration> {
        None
    }

    fn can_pay(&self, _child: &str) -> bool {
        true
    }
}

/// What puts a restart off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// An open breaker.
    Breaker,
    /// A budget that cannot pay the next attempt.
    Budget,
}

/// What puts this child's restart off, and when to ask again.
pub(crate) fn hold(prospects: &dyn Prospects, child: &str, asks: Asks) -> Option<(Hold, Duration)> {
    if !prospects.can_pay(child) {
        return Some((Hold::Budget, ASK_AGAIN_MAX));
    }
    let open = prospects.breaker_open(child).filter(|_| asks == Asks::BreakerAndBudget)?;
    Some((Hold::Breaker, open.clamp(ASK_AGAIN_MIN, ASK_AGAIN_MAX)))
}
