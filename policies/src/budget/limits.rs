//! What one scope may spend, and what follows when it is at its end. Invariant: limits are written as
//! one amount where they are a total alone, so that what was written before windows reads as it did.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Window;
use crate::money::{Money, MoneyOr};

/// What a scope may spend: in all, and in each of its windows. Where there is
/// none, spending is counted and not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: Option<Money>,
    /// In each hour.
    pub hour: Option<Money>,
    /// In each day.
    pub day: Option<Money>,
    /// In each month.
    pub month: Option<Money>,
    /// What becomes of a call that no longer fits.
    pub at_end: AtEnd,
}

/// What becomes of a call that does not fit into a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// The next cheaper model of the agent's chain is asked; without one the call is refused.
    Downgrade,
    /// It waits until the window ends. Of a total, which never ends, and of a call that is more than a
    /// whole window's limit, it is refused.
    Wait,
    /// It waits for a person, who raises the limit or gives the run up.
    Ask,
    /// It is refused.
    #[default]
    Reject,
}

impl Limits {
    /// A total and no windows.
    pub const fn total(total: Money) -> Self {
        Self { total: Some(total), hour: None, day: None, month: None, at_end: AtEnd::Reject }
    }

    /// Whether nothing is limited and nothing said.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The limit of a window; of the total, where none is named.
    pub const fn of(&self, window: Option<Window>) -> Option<Money> {
        match window {
            None => self.total,
            Some(Window::Hour) => self.hour,
            Some(Window::Day) => self.day,
            Some(Window::Month) => self.month,
        }
    }

    /// Whether any limit holds.
    pub const fn is_limited(&self) -> bool {
        self.total.is_some() || self.hour.is_some() || self.day.is_some() || self.month.is_some()
    }

    /// With a total of this at most.
    #[must_use]
    pub fn within(self, total: Option<Money>) -> Self {
        Self { total: [self.total, total].into_iter().flatten().min(), ..self }
    }
}

impl AtEnd {
    /// What follows for a call of `asked` that this limit of the window refuses.
    pub(super) fn of(self, window: Option<Window>, limit: Money, asked: Money) -> Self {
        match self {
            Self::Wait if window.is_none() || asked > limit => Self::Reject,
            at_end => at_end,
        }
    }
}

/// As TOML writes them.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            Some(total) if *self == Self::total(total) => write!(f, "\"{total}\""),
            _ => {
                let limits = [("total", self.total), ("hour", self.hour), ("day", self.day), ("month", self.month)];
                let limits =
                    limits.iter().filter_map(|(name, limit)| limit.map(|limit| format!("{name} = \"{limit}\"")));
                let at_end = (!is_reject(&self.at_end)).then(|| format!("at_end = \"{}\"", self.at_end));
                write!(f, "{{ {} }}", limits.chain(at_end).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// As TOML writes it.
impl fmt::Display for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Downgrade => "downgrade",
            Self::Wait => "wait",
            Self::Ask => "ask",
            Self::Reject => "reject",
        })
    }
}

/// Limits as a table writes them.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Table {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hour: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    month: Option<Money>,
    #[serde(skip_serializing_if = "is_reject")]
    at_end: AtEnd,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_reject(at_end: &AtEnd) -> bool {
    *at_end == AtEnd::Reject
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match MoneyOr::read(deserializer, "{ total = \"$20.00\", day = \"$5.00\", at_end = \"wait\" }")? {
            MoneyOr::Amount(total) => Ok(Self::total(total)),
            MoneyOr::Table(Table { total, hour, day, month, at_end }) => Ok(Self { total, hour, day, month, at_end }),
        }
    }
}

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { total, hour, day, month, at_end } = *self;
        match total {
            Some(alone) if *self == Self::total(alone) => alone.serialize(serializer),
            _ => Table { total, hour, day, month, at_end }.serialize(serializer),
        }
    }
}
