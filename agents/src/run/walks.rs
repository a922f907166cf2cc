//! The walks of a run's workflow, each of which goes on where an earlier one ended.
//!
//! Invariant: what is kept is used for a state only when it was found with the same order, and with
//! outcomes that are all in that state; else it is found anew. So a state's next steps are the same
//! whatever is kept, and clones of a state may share it, those included whose events never came to be.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::event::Accepted;
use crate::workflow::{self, EvalError, Given, Next, Outcomes, Settled};

/// What was found so far; clones share it.
#[derive(Clone, Default)]
pub(super) struct Walks(Arc<Mutex<Option<Walked>>>);

struct Walked {
    order: Arc<Accepted>,
    outcomes: Outcomes,
    settled: Settled,
    next: Result<Arc<Next>, EvalError>,
}

impl Walks {
    /// What comes next in this order with these outcomes.
    pub(super) fn next(&self, order: &Arc<Accepted>, outcomes: &Outcomes) -> Result<Arc<Next>, EvalError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It is taken out: a walk that panics leaves nothing behind.
        let walked = kept.take().filter(|walked| walked.is_of(order, outcomes));
        let walked = match walked {
            Some(walked) if walked.outcomes.len() == outcomes.len() => Walked { order: Arc::clone(order), ..walked },
            earlier => Walked::go_on(earlier.map(|walked| walked.settled).unwrap_or_default(), order, outcomes),
        };
        let next = walked.next.clone();
        *kept = Some(walked);
        next
    }
}

impl Walked {
    fn go_on(mut settled: Settled, order: &Arc<Accepted>, outcomes: &Outcomes) -> Self {
        let given = Given { run: order.id.as_str(), inputs: &order.inputs, outcomes };
        let next = workflow::go_on(&order.workflow, given, &mut settled).map(Arc::new);
        Self { order: Arc::clone(order), outcomes: outcomes.clone(), settled, next }
    }

    /// Whether all that this was found with holds for these as well.
    fn is_of(&self, order: &Arc<Accepted>, outcomes: &Outcomes) -> bool {
        (Arc::ptr_eq(&self.order, order) || self.order == *order)
            && self.outcomes.iter().all(|(path, outcome)| outcomes.get(path) == Some(outcome))
    }
}

/// What is kept says nothing about a state.
impl PartialEq for Walks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Walks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walks").finish_non_exhaustive()
    }
}
