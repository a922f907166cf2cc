//! The walks of a run's workflow, each of which goes on where an earlier one ended.
//!
//! Invariant: what is kept is used for a state only when it was found with the same order, and with
//! outcomes that are all in that state; else it is found anew. So a state's next steps are the same
//! whatever is kept, and clones of a state may share it, those included whose events never came to be.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::event::Accepted;
use crate::workflow::{self, EvalError, Given, Next, Outcomes, Settled};

/// How many results are kept: a command is previewed and then decided, and what is approved by policy
/// takes each of the two from one result to the next.
const RESULTS_MAX: usize = 2;

/// What was found so far; clones share it.
#[derive(Clone, Default)]
pub(super) struct Walks(Arc<Mutex<Option<Walked>>>);

type Found = Result<Arc<Next>, EvalError>;

struct Walked {
    order: Arc<Accepted>,
    settled: Settled,
    /// What came next with which outcomes, the latest at the end; that one is what `settled` has seen.
    results: VecDeque<(Outcomes, Found)>,
}

impl Walks {
    /// What comes next in this order with these outcomes.
    pub(super) fn next(&self, order: &Arc<Accepted>, outcomes: &Outcomes) -> Found {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It is taken out: a walk that panics leaves nothing behind.
        let mut walked = kept.take().filter(|walked| walked.is_of(order)).unwrap_or_else(|| Walked::new(order));
        // An order is previewed before it is written, and the two are not the same in memory. It is compared
        // whole but once.
        walked.order = Arc::clone(order);
        let next = walked.next(outcomes);
        *kept = Some(walked);
        next
    }
}

impl Walked {
    fn new(order: &Arc<Accepted>) -> Self {
        Self { order: Arc::clone(order), settled: Settled::default(), results: VecDeque::new() }
    }

    fn is_of(&self, order: &Arc<Accepted>) -> bool {
        Arc::ptr_eq(&self.order, order) || self.order == *order
    }

    fn next(&mut self, outcomes: &Outcomes) -> Found {
        if let Some((_, next)) = self.results.iter().rfind(|(with, _)| with == outcomes) {
            return next.clone();
        }
        let seen = |(with, _): &(Outcomes, Found)| with.iter().all(|(path, one)| outcomes.get(path) == Some(one));
        if !self.results.back().is_none_or(seen) {
            *self = Self::new(&self.order);
        }
        let given = Given { run: self.order.id.as_str(), inputs: &self.order.inputs, outcomes };
        let next = workflow::go_on(&self.order.workflow, given, &mut self.settled).map(Arc::new);
        if self.results.len() == RESULTS_MAX {
            self.results.pop_front();
        }
        self.results.push_back((outcomes.clone(), next.clone()));
        next
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
