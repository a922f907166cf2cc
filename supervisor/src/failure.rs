//! Why a child came down, classified before any strategy is applied.
//!
//! Invariant: whatever a child does not classify itself (by failing with a [`Failure`]
//! somewhere in its error's chain) is a bug; nothing is excused by default.

use std::error::Error;

use policies::failure::FailureClass;
use ractor::{ActorId, SupervisionEvent};

/// The reason ractor gives for an actor that was killed.
const REASON_KILLED: &str = "killed";
/// The reason ractor gives for an actor whose task was dropped.
const REASON_CANCELLED: &str = "actor_task_cancelled";

/// A classified failure. An actor that fails with one (alone or as a source in its
/// error's chain) decides the class by which its supervisor treats it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is; the policy decides by it.
    pub class: FailureClass,
    /// What happened, for people.
    pub message: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    /// The class found in the error's chain, or a bug; the message is the whole chain.
    pub fn classify(error: &(dyn Error + 'static)) -> Self {
        let mut class = None;
        let mut message = String::new();
        let mut link = Some(error);
        while let Some(error) = link {
            class = class.or_else(|| error.downcast_ref::<Self>().map(|failure| failure.class));
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&error.to_string());
            link = error.source();
        }
        Self { class: class.unwrap_or(FailureClass::Bug), message }
    }
}

/// How an actor ended, as ractor tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It stopped, drained, or failed with class `Shutdown`.
    Normal,
    /// It failed: a panic, an error, or a classified failure.
    Failed(Failure),
    /// It was killed; the books know whether we asked for it.
    Killed,
}

impl Exit {
    /// The actor and its exit, when the event is one.
    pub(crate) fn of(event: &SupervisionEvent) -> Option<(ActorId, Self)> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let exit = match reason.as_deref() {
                    Some(REASON_KILLED | REASON_CANCELLED) => Self::Killed,
                    _ => Self::Normal,
                };
                Some((cell.get_id(), exit))
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                let exit = match Failure::classify(error.as_ref()) {
                    Failure { class: FailureClass::Shutdown, .. } => Self::Normal,
                    failure => Self::Failed(failure),
                };
                Some((cell.get_id(), exit))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the call failed")]
    struct Wrapped(#[source] Failure);

    #[test]
    fn a_failure_deep_in_the_chain_gives_the_class_and_the_whole_chain_the_message() {
        let error = Wrapped(Failure::new(FailureClass::ProviderDown, "503 from the provider"));
        assert_eq!(
            Failure::classify(&error),
            Failure::new(FailureClass::ProviderDown, "the call failed: 503 from the provider")
        );
    }

    #[test]
    fn an_error_that_says_nothing_is_a_bug() {
        let error: Box<dyn Error + Send + Sync> = "index out of bounds".into();
        assert_eq!(Failure::classify(error.as_ref()).class, FailureClass::Bug);
    }
}
