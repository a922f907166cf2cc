//! When work that shows no progress counts as hung.
//!
//! Whoever waits for a person, a timer or a rate limit is never hung, however long it waits: only
//! what ought to move by itself has a deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// What an actor is doing while it is not waiting for its next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// Its own work.
    Working,
    /// It waits for the answer of a model, a platform or a tool.
    Calling,
    /// It waits for a person.
    AwaitingPerson,
    /// It waits for a time to come.
    AwaitingTimer,
    /// It waits until a rate limit lets it go on.
    AwaitingRate,
}

impl Doing {
    /// Everything that an actor may be doing.
    pub const ALL: [Self; 5] =
        [Self::Working, Self::Calling, Self::AwaitingPerson, Self::AwaitingTimer, Self::AwaitingRate];

    /// As it is written in events and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Calling => "calling",
            Self::AwaitingPerson => "awaiting_person",
            Self::AwaitingTimer => "awaiting_timer",
            Self::AwaitingRate => "awaiting_rate",
        }
    }
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// When a worker counts as hung. Progress is a token, a step, a heartbeat, or a change of what it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liveness {
    /// The longest that its own work may show no progress.
    pub progress_within: Span,
    /// The longest that a call may show none, or `None` for as long as its own work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_within: Option<Span>,
    /// How long a kill may take; a worker that outlasts it runs blocking code, and is reported as stuck.
    #[serde(default = "killed_within")]
    pub killed_within: Span,
}

const fn killed_within() -> Span {
    Span::from_secs(5)
}

impl Liveness {
    /// A deadline for the worker's own work, and the defaults for the rest.
    pub const fn within(progress_within: Span) -> Self {
        Self { progress_within, calling_within: None, killed_within: killed_within() }
    }

    /// The longest that this may show no progress; `None` for what is never a hang.
    pub fn deadline(&self, doing: Doing) -> Option<Duration> {
        match doing {
            Doing::Working => Some(self.progress_within.0),
            Doing::Calling => Some(self.calling_within.unwrap_or(self.progress_within).0),
            Doing::AwaitingPerson | Doing::AwaitingTimer | Doing::AwaitingRate => None,
        }
    }

    /// Whether it is hung after so long without progress.
    pub fn is_hung(&self, doing: Doing, silent: Duration) -> bool {
        self.deadline(doing).is_some_and(|deadline| silent >= deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn liveness(text: &str) -> Liveness {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_state_has_its_own_deadline() {
        let both = liveness("progress_within = \"10s\"\ncalling_within = \"2m\"");
        let hung_after = |doing| (0..600).find(|second| both.is_hung(doing, Duration::from_secs(*second)));
        assert_eq!(Doing::ALL.map(hung_after), [Some(10), Some(120), None, None, None]);
    }

    #[test]
    fn a_call_without_a_deadline_of_its_own_has_that_of_work() {
        let one = liveness("progress_within = \"10s\"");
        assert_eq!(one.deadline(Doing::Calling), Some(Duration::from_secs(10)));
        assert_eq!(one, Liveness::within(Span::from_secs(10)));
    }

    #[test]
    fn waiting_is_never_a_hang() {
        let short = Liveness::within(Span::ZERO);
        for doing in [Doing::AwaitingPerson, Doing::AwaitingTimer, Doing::AwaitingRate] {
            assert!(!short.is_hung(doing, Duration::MAX), "{doing}");
        }
        assert!(short.is_hung(Doing::Working, Duration::ZERO));
    }

    #[test]
    fn is_written_the_same_everywhere() {
        for doing in Doing::ALL {
            assert_eq!(serde_json::to_string(&doing).unwrap(), format!("\"{doing}\""));
        }
    }
}
