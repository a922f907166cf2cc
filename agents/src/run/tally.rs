//! What one agent step has taken, its whole talk included. Invariant: it is a sum over the leaves of the step,
//! so it cannot differ from what is recorded of them; what is under way counts at what is reserved for it.

use policies::instant::Timestamp;
use policies::money::Money;
use policies::priority::Priority;
use policies::tokens::Tokens;

use super::event::Terms;
use super::state::{Phase, State};
use crate::workflow::{Action, Limits, StepPath};

/// What a step has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What its calls cost, those under way at their worst case.
    pub cost: Money,
    /// The tokens in and out, those of calls under way as many as they may be.
    pub tokens: Tokens,
    /// When its first call was started.
    pub began: Option<Timestamp>,
}

impl State {
    /// What the step of an action has taken; nothing is summed up for one that has no bounds.
    pub(super) fn tally_for(&self, path: &StepPath, action: &Action) -> Tally {
        match action {
            Action::Agent(call) if call.talk.limits != Limits::default() => self.tally(&path.step()),
            _ => Tally::default(),
        }
    }

    /// What a step has taken.
    #[must_use]
    pub fn tally(&self, step: &StepPath) -> Tally {
        let mut tally = Tally::default();
        let own = self.leaves.range(step.clone()..).take_while(|(path, _)| path.as_str().starts_with(step.as_str()));
        for (_, leaf) in own.filter(|(path, _)| path.step() == *step) {
            let open = if let Phase::Open(intent) = &leaf.phase { Some(intent) } else { None };
            let reserved = open.map_or(Money::ZERO, |intent| intent.reserved);
            let bound = open.and_then(|intent| intent.call.as_ref()).map_or(Tokens(0), |call| call.bound);
            tally.cost = tally.cost.saturating_add(leaf.cost).saturating_add(reserved);
            tally.tokens = tally.tokens + leaf.usage.input_total() + leaf.usage.output + bound;
            tally.began = [tally.began, leaf.began].into_iter().flatten().min();
        }
        tally
    }
}

impl Terms {
    /// How urgent an action of the run is: as its step says, or else as all of the run.
    pub(super) fn priority_of(&self, action: &Action) -> Priority {
        let own = if let Action::Agent(call) = action { call.talk.limits.priority } else { None };
        own.unwrap_or(self.priority)
    }
}
