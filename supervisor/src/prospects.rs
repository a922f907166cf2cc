//! Whether a restart makes sense now, as those outside the tree know it who see the breakers and the
//! ledger.
//!
//! Invariant: a question here is a look-up that returns at once; a restart is put off by it, never
//! forgotten.

use std::time::Duration;

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
