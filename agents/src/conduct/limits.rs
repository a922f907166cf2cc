//! The bounds of a step: money, tokens and time for all of its talk. Invariant: what is under way, and what is
//! granted in the same breath, counts as if it had cost its worst case already.

use policies::instant::Timestamp;
use policies::money::Money;

use crate::run::{Answer, Due, Grant};
use crate::workflow::Action;

/// Whether a call of at most `amount` fits into what its step may take; `beside` is what is granted with it.
///
/// # Errors
/// Which bound it would pass, and what to do.
pub(super) fn allow(due: &Due, beside: &[Grant], amount: Money, now: Timestamp) -> Result<(), String> {
    let Action::Agent(call) = &*due.action else { return Ok(()) };
    let (limits, tally, step) = (&call.talk.limits, &due.tally, due.path.step());
    let too_far = |bound: &str, why: String| {
        Err(format!("`{step}` is at its {bound}: {why}; raise {bound} of the step, or ask for less"))
    };
    if let Some(cost_max) = limits.cost_max {
        let granted = beside.iter().filter(|grant| grant.path.step() == step).map(|grant| match &grant.answer {
            Answer::Reserved { amount, .. } => *amount,
            Answer::Refused(_) => Money::ZERO,
        });
        let taken = granted.fold(tally.cost, Money::saturating_add);
        if taken.saturating_add(amount) > cost_max {
            return too_far("cost_max", format!("{taken} of {cost_max} is spent or reserved, and {amount} is needed"));
        }
    }
    if let Some(tokens_max) = limits.tokens_max
        && tally.tokens >= tokens_max
    {
        return too_far("tokens_max", format!("{} of {tokens_max} tokens are used", tally.tokens));
    }
    if let (Some(time_max), Some(began)) = (limits.time_max, tally.began)
        && now.since(began) >= time_max.duration()
    {
        return too_far("time_max", format!("it began {time_max} ago or more"));
    }
    Ok(())
}
