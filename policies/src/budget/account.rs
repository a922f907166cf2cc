//! The account of one scope: the sums of the total and of each window. Invariant: a bin holds the sums of
//! the one window that it names by its start, and begins anew for another.

use serde::{Deserialize, Serialize};

use super::{Limits, Window};
use crate::{instant::Timestamp, money::Money, share::Share};

/// What has sums of its own in an account: the total first, then each window.
pub(super) const BINS: [Option<Window>; 4] = [None, Some(Window::Hour), Some(Window::Day), Some(Window::Month)];

/// What was spent, and what calls under way may still cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// What was spent.
    pub spent: Money,
    /// What calls under way may still cost.
    pub reserved: Money,
}

impl Sums {
    /// Spent and reserved together.
    pub fn committed(self) -> Money {
        self.spent.saturating_add(self.reserved)
    }
}

/// The account of one scope, as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What it may spend.
    pub limits: Limits,
    /// What was spent in all.
    pub spent: Money,
    /// What all calls under way may still cost.
    pub reserved: Money,
    /// The sums of the hour, the day and the month that it is in, as [`Window::ALL`] has them.
    pub windows: [Sums; 3],
}

impl Account {
    /// Spent and reserved together.
    pub fn committed(&self) -> Money {
        self.spent.saturating_add(self.reserved)
    }

    /// The sums of a window; the total's, where none is named.
    pub const fn of(&self, window: Option<Window>) -> Sums {
        match window {
            None => Sums { spent: self.spent, reserved: self.reserved },
            Some(window) => self.windows[window.index()],
        }
    }

    /// What may still be reserved of a window; without a limit, what can still be counted.
    pub fn left_of(&self, window: Option<Window>) -> Money {
        self.limits.of(window).unwrap_or(Money::MAX).saturating_sub(self.of(window).committed())
    }

    /// What may still be reserved, in all and in each window.
    pub fn left(&self) -> Money {
        BINS.into_iter().map(|bin| self.left_of(bin)).min().unwrap_or_default()
    }
}

/// The sums of one window, or of the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bin {
    /// When the window started whose sums these are.
    pub(super) start: Timestamp,
    pub(super) sums: Sums,
    /// The highest share that was told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Share>,
    /// The highest limit at which it was told that something was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Money>,
}

impl Bin {
    /// This one for a window that started then: begun anew, where it held another.
    pub(super) fn at(&mut self, start: Timestamp) -> &mut Self {
        if self.start != start {
            *self = Self { start, ..Self::default() };
        }
        self
    }
}
