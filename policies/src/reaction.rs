//! What a failure of each class leads to.
//!
//! Every class has a reaction: a document only amends the built-in ones, value by value. A reaction
//! that uses up no restarts waits a while, since nothing else bounds how fast it comes again.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{failure::FailureClass, span::Span};

/// The least wait before a restart that uses up none.
pub const UNCOUNTED_WAIT_MIN: Duration = Duration::from_secs(1);

/// What a supervisor does about a child that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is restarted by its supervisor's strategy, after its back-off.
    Restart,
    /// As `restart`, but not before the breaker in front of what it needs lets calls through.
    Pause,
    /// It stays down until an operator resumes it.
    Park,
    /// It stays down for good.
    Stop,
    /// Its supervisor gives up at once.
    Escalate,
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reaction {
    /// What is done.
    pub action: Action,
    /// Whether a restart counts against the child's allowance and its supervisor's intensity.
    pub counts: bool,
    /// The least time before a restart, whatever the back-off says.
    pub wait: Span,
}

impl Reaction {
    /// A restart that counts, as after any failure of which nothing else is known.
    pub const RESTART: Self = Self { action: Action::Restart, counts: true, wait: Span::ZERO };

    /// What is done where no document says otherwise.
    pub const fn builtin(class: FailureClass) -> Self {
        let elsewhere = Self { counts: false, wait: Span(UNCOUNTED_WAIT_MIN), ..Self::RESTART };
        match class {
            FailureClass::Bug
            | FailureClass::Hung
            | FailureClass::Poison
            | FailureClass::Rejected
            | FailureClass::Shutdown => Self::RESTART,
            FailureClass::ProviderDown | FailureClass::BudgetSpent => Self { action: Action::Pause, ..elsewhere },
            FailureClass::RateLimited => elsewhere,
        }
    }

    /// The least time before a restart.
    pub fn wait_min(self) -> Duration {
        if self.counts { self.wait.0 } else { self.wait.0.max(UNCOUNTED_WAIT_MIN) }
    }
}

/// The reaction to every class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reactions(BTreeMap<FailureClass, Reaction>);

impl Default for Reactions {
    fn default() -> Self {
        Self(FailureClass::ALL.into_iter().map(|class| (class, Reaction::builtin(class))).collect())
    }
}

impl Reactions {
    /// The reaction to a failure of this class.
    pub fn to(&self, class: FailureClass) -> Reaction {
        self.0.get(&class).copied().unwrap_or_else(|| Reaction::builtin(class))
    }

    /// These, with what the amendments change.
    #[must_use]
    pub fn amended(mut self, amendments: &Amendments) -> Self {
        for (class, amendment) in &amendments.0 {
            let was = self.to(*class);
            let reaction = Reaction {
                action: amendment.action.unwrap_or(was.action),
                counts: amendment.counts.unwrap_or(was.counts),
                wait: amendment.wait.unwrap_or(was.wait),
            };
            self.0.insert(*class, reaction);
        }
        self
    }
}

/// What a document says of some classes: `[on.provider_down]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amendments(BTreeMap<FailureClass, Amendment>);

/// What a document says of one class; what it leaves out stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Amendment {
    /// See [`Reaction::action`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// See [`Reaction::counts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<bool>,
    /// See [`Reaction::wait`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

impl Amendments {
    /// Whether nothing is amended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(FailureClass, Amendment)> for Amendments {
    fn from_iter<I: IntoIterator<Item = (FailureClass, Amendment)>>(amendments: I) -> Self {
        Self(amendments.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_uses_up_no_restarts_and_what_is_our_fault_does() {
        let counted: Vec<_> = FailureClass::ALL.into_iter().filter(|class| Reaction::builtin(*class).counts).collect();
        use FailureClass::{Bug, Hung, Poison, Rejected, Shutdown};
        assert_eq!(counted, [Bug, Hung, Poison, Rejected, Shutdown]);
    }

    #[test]
    fn a_document_changes_what_it_names_and_nothing_else() {
        let read = |text: &str| toml::from_str::<Amendments>(text).unwrap();
        let general = read("provider_down = { wait = \"5s\" }\nbug.action = \"park\"");
        let own = read("provider_down.action = \"stop\"");
        let reactions = Reactions::default().amended(&general).amended(&own);
        let expected = Reaction { action: Action::Stop, counts: false, wait: Span::from_secs(5) };
        assert_eq!(reactions.to(FailureClass::ProviderDown), expected);
        assert_eq!(reactions.to(FailureClass::Bug), Reaction { action: Action::Park, ..Reaction::RESTART });
        assert_eq!(reactions.to(FailureClass::Hung), Reaction::RESTART);
    }

    #[test]
    fn what_is_not_counted_always_waits() {
        let amended = toml::from_str("rate_limited.wait = \"0s\"\nbug.counts = false").unwrap();
        let reactions = Reactions::default().amended(&amended);
        for class in [FailureClass::RateLimited, FailureClass::Bug] {
            assert_eq!(reactions.to(class).wait_min(), UNCOUNTED_WAIT_MIN, "{class}");
        }
        assert_eq!(Reaction::RESTART.wait_min(), Duration::ZERO);
    }

    #[test]
    fn a_typo_in_a_class_or_an_action_is_refused() {
        for text in ["provider_dwn.action = \"pause\"", "bug.action = \"pauze\"", "bug.acton = \"park\""] {
            assert!(toml::from_str::<Amendments>(text).is_err(), "{text}");
        }
    }
}
