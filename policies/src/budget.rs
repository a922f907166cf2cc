//! Budgets: who may spend how much, and the sums of the ledger.
//!
//! The law: of every limited scope, and of each of its windows, spent + reserved
//! ≤ limit, always. Money is reserved in every scope of a call or in none, at its
//! worst case, before the call. The only way past a limit is a call that cost
//! more than its worst case, or a limit that was lowered; the first is recorded
//! and reported, and both refuse everything that follows.

mod account;
mod accounts;
mod downgrade;
mod limits;
mod refusal;
mod window;
mod zone;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{document, instant::Timestamp, money::Money, share::Share, text::serde_as_text};

pub use account::{Account, Sums};
pub use accounts::{AccountSet, Accounts, Kept, Reservation, Settled};
pub use downgrade::downgrade;
pub use limits::{AtEnd, Limits};
pub use refusal::{Overrun, Refusal};
pub use window::{Frame, Window};
pub use zone::{NotZone, Zone};

/// The text of the limits compiled in, `defaults/budget.toml`.
pub const BUILTIN: &str = include_str!("../defaults/budget.toml");

/// Who spends: written "run/abc", "agent/writer", "workspace/main".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeId {
    /// Everything in a workspace.
    Workspace(String),
    /// One agent over all its runs.
    Agent(String),
    /// One run.
    Run(String),
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace(name) => write!(f, "workspace/{name}"),
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Run(id) => write!(f, "run/{id}"),
        }
    }
}

/// Text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a budget scope; write workspace/, agent/ or run/ and a name, such as \"agent/writer\"")]
pub struct NotScopeId(String);

impl FromStr for ScopeId {
    type Err = NotScopeId;

    fn from_str(text: &str) -> Result<Self, NotScopeId> {
        match text.split_once('/') {
            Some((_, "")) => None,
            Some(("workspace", name)) => Some(Self::Workspace(name.to_owned())),
            Some(("agent", name)) => Some(Self::Agent(name.to_owned())),
            Some(("run", id)) => Some(Self::Run(id.to_owned())),
            _ => None,
        }
        .ok_or_else(|| NotScopeId(text.to_owned()))
    }
}

serde_as_text!(ScopeId, "a budget scope such as \"agent/writer\"");

/// The limits that a workspace starts with; where there is none, spending is
/// counted and not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetPolicy {
    /// Whose days and months they hold for.
    pub zone: Zone,
    /// The shares of a limit at which it is said that they are reached, once in each window. Where there are
    /// any, the first refusal is said too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Share>,
    /// For the whole workspace.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub workspace: Limits,
    /// For each run.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub run: Limits,
    /// For each agent that `agents` does not name.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub agent: Limits,
    /// For agents by name.
    pub agents: BTreeMap<String, Limits>,
}

impl BudgetPolicy {
    /// The limits compiled in, `defaults/budget.toml`.
    ///
    /// # Errors
    /// None once this crate's tests pass: the file is part of the build.
    pub fn builtin() -> Result<Self, Vec<document::Error>> {
        document::read("policies/defaults/budget.toml", BUILTIN)
    }

    /// Whether nobody has a limit, so that spending is counted alone.
    pub fn limits_nothing(&self) -> bool {
        let shared = [&self.workspace, &self.run, &self.agent];
        shared.into_iter().chain(self.agents.values()).all(|limits| !limits.is_limited())
    }

    /// What the scope may spend.
    pub fn limits(&self, scope: &ScopeId) -> Limits {
        match scope {
            ScopeId::Workspace(_) => self.workspace,
            ScopeId::Run(_) => self.run,
            ScopeId::Agent(name) => self.agents.get(name).copied().unwrap_or(self.agent),
        }
    }
}

/// What there is to say of what a scope may spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The scope.
    pub scope: ScopeId,
    /// Of which window; none for the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// When that window started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What has happened.
    #[serde(flatten)]
    pub event: AlertEvent,
    /// What was spent.
    pub spent: Money,
    /// The limit.
    pub limit: Money,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertEvent {
    /// What was spent has come to this share of the limit.
    Share(Share),
    /// A call that may cost so much did not fit into what was left, however much of it was spent.
    Refused(Money),
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, spent, limit, .. } = self;
        let budget = match self.window {
            None => "its budget".to_owned(),
            Some(window) => format!("its budget for the {window}"),
        };
        match self.event {
            AlertEvent::Share(share) => write!(f, "{scope} is at {share} of {budget}: {spent} of {limit} spent"),
            AlertEvent::Refused(asked) => {
                write!(f, "{scope} had no room for a call of up to {asked} in {budget}: {spent} of {limit} spent")
            }
        }
    }
}

#[cfg(test)]
mod tests;
