//! The bounds of a step: money, tokens and time for all of its talk. Invariant: what is under way, what is
//! granted in the same breath and what is asked for now count as if they had taken their worst case already;
//! no call outlasts the time of its step, but for a batch, which nobody can end.

use std::time::Duration;

use policies::instant::Timestamp;
use policies::money::Money;

use crate::run::{Answer, Due, Grant, ModelCall};
use crate::workflow::Action;

/// Whether a call of at most `amount` fits into what its step may take; `beside` is what is granted with it.
///
/// # Errors
/// Which bound it would pass, and what to do.
pub(super) fn allow(
    due: &Due,
    beside: &[Grant],
    (asked, amount): (&ModelCall, Money),
    now: Timestamp,
) -> Result<(), String> {
    let Action::Agent(call) = &*due.action else { return Ok(()) };
    let (limits, tally, step) = (&call.talk.limits, &due.tally, due.path.step());
    let too_far = |bound: &str, why: String| {
        Err(format!("`{step}` is at its {bound}: {why}; raise {bound} of the step, or ask for less"))
    };
    let own = || beside.iter().filter(|grant| grant.path.step() == step);
    if let Some(cost_max) = limits.cost_max {
        let granted = own().map(|grant| match &grant.answer {
            Answer::Reserved { amount, .. } => *amount,
            Answer::Refused(_) => Money::ZERO,
        });
        let taken = granted.fold(tally.cost, Money::saturating_add);
        if taken.saturating_add(amount) > cost_max {
            return too_far("cost_max", format!("{taken} of {cost_max} is spent or reserved, and {amount} is needed"));
        }
    }
    if let Some(tokens_max) = limits.tokens_max {
        let granted = own().filter_map(|grant| grant.call.as_ref()).map(|call| call.bound);
        let (taken, bound) = (granted.fold(tally.tokens, |taken, bound| taken + bound), asked.bound);
        if taken + bound > tokens_max {
            let why = format!("{taken} of {tokens_max} tokens are used or may be, and the call may take {bound}");
            return too_far("tokens_max", why);
        }
    }
    if let (Some(time_max), Some(began)) = (limits.time_max, tally.began)
        && now.since(began) >= time_max.duration()
    {
        return too_far("time_max", format!("it began {time_max} ago or more"));
    }
    Ok(())
}

/// How long a call may take that is begun at `now`, where its step bounds that.
pub(super) fn time_left(due: &Due, now: Timestamp) -> Option<Duration> {
    let Action::Agent(call) = &*due.action else { return None };
    let time_max = call.talk.limits.time_max?.duration();
    Some(time_max.saturating_sub(due.tally.began.map_or(Duration::ZERO, |began| now.since(began))))
}
