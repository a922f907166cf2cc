//! What must have happened at some time, or the campaign proves nothing. Invariant: like the
//! checkers, it reads the history alone; each answer says by which sighting it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policies::money::Money;

use super::recovery::{DURABLE_WITHIN, LISTENED_FOR};
use super::violation::micros;
use crate::aims::Sometimes;
use crate::fault::{ActorEffect, Fault, Point};
use crate::history::{History, Seen, Sighting};

/// A process that was ready again for less than this is still recovering: what was under way is
/// settled after it is ready.
pub const RECOVERING: Duration = Duration::from_secs(1);
/// A failed run counts as held back by the budget when more than this share of it was billed.
pub const BUDGET_SHARE_PERCENT: u64 = 80;

/// The model that stands in, in simulations that have one.
pub(crate) const SPARE: &str = "spare";
const INSUFFICIENT_STORAGE: u16 = 507;

/// Whether it happened in this history.
///
/// | | it goes by |
/// |---|---|
/// | `breaker_opened` | a breaker's move to `open` |
/// | `recovered_with_open_intent` | a crash with work in doubt, and the process ready after it |
/// | `post_deduplicated` | a look-up by key that found the post |
/// | `post_held` | a held post |
/// | `retried` | one content called twice |
/// | `restarted`, `escalated`, `crashed` | their sightings |
/// | `crashed_in_recovery` | a crash before the process was ready again, or at most [`RECOVERING`] after |
/// | `run_refused` | a refusal, of whatever status |
/// | `budget_spent` | a run that says that a budget ended it, a restart of class `budget_spent`, or a failed run when more than [`BUDGET_SHARE_PERCENT`] of the budget was billed |
/// | `disk_was_full` | a refusal with 507 |
/// | `approval_waited_over_crash` | a question before a crash whose answer came after it |
/// | `provider_failed` | a failed call |
/// | `call_lost` | a call that was billed and never answered |
/// | `stood_in` | a call for the model that stands in |
/// | `dead_lettered`, `replayed` | their sightings |
/// | `clock_jumped`, `actor_killed` | a fault of that kind that struck |
#[must_use]
pub fn reached(sometimes: Sometimes, history: &History) -> bool {
    let any = |test: fn(&Seen) -> bool| history.seen.iter().any(|sighting| test(&sighting.what));
    match sometimes {
        Sometimes::BreakerOpened => any(|seen| matches!(seen, Seen::BreakerMoved { to, .. } if to == "open")),
        Sometimes::RecoveredWithOpenIntent => open_intent(history),
        Sometimes::PostDeduplicated => {
            any(|seen| matches!(seen, Seen::Repeated { .. } | Seen::LookedUp { found: true, .. }))
        }
        Sometimes::PostHeld => any(|seen| matches!(seen, Seen::Held { .. })),
        Sometimes::Retried => retried(history),
        Sometimes::Restarted => any(|seen| matches!(seen, Seen::Restarted { .. })),
        Sometimes::Escalated => any(|seen| matches!(seen, Seen::Escalated { .. })),
        Sometimes::Crashed => any(|seen| matches!(seen, Seen::Crashed { .. })),
        Sometimes::CrashedInRecovery => crashed_in_recovery(history),
        Sometimes::RunRefused => any(|seen| matches!(seen, Seen::Refused { .. })),
        Sometimes::BudgetSpent => budget_spent(history),
        Sometimes::DiskWasFull => any(|seen| matches!(seen, Seen::Refused { status: INSUFFICIENT_STORAGE, .. })),
        Sometimes::ApprovalWaitedOverCrash => approval_waited(history),
        Sometimes::StoodIn => any(|seen| matches!(seen, Seen::Called { model: Some(model), .. } if model == SPARE)),
        Sometimes::ProviderFailed => any(|seen| matches!(seen, Seen::Failed { .. })),
        Sometimes::CallLost => call_lost(history),
        Sometimes::DeadLettered => any(|seen| matches!(seen, Seen::DeadLettered { .. })),
        Sometimes::Replayed => any(|seen| matches!(seen, Seen::Replayed { .. })),
        Sometimes::ClockJumped => struck(history, |fault| matches!(fault, Fault::Clock { .. })),
        Sometimes::ActorKilled => {
            struck(history, |fault| matches!(fault, Fault::Actor { effect: ActorEffect::Kill, .. }))
        }
    }
}

/// Whether the process became ready again after a crash with work in doubt: at the point after a
/// call or a post was sent; or while a call was on for at most [`LISTENED_FOR`]; or with a post out
/// for at most [`DURABLE_WITHIN`] and its run not reported since.
fn open_intent(history: &History) -> bool {
    let mut calls: BTreeMap<u64, u64> = BTreeMap::new();
    let mut posts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut doubt = false;
    for Sighting { at_us, what } in &history.seen {
        let lately = |since_us: &u64, span: Duration| at_us.saturating_sub(*since_us) <= micros(span);
        match what {
            Seen::Called { call, .. } => {
                calls.insert(*call, *at_us);
            }
            Seen::Answered { call } | Seen::Failed { call } => {
                calls.remove(call);
            }
            Seen::Posted { run, .. } => {
                posts.insert(run, *at_us);
            }
            Seen::Reported { run, .. } => {
                posts.remove(run.as_str());
            }
            Seen::Crashed { point, .. } => {
                doubt |= matches!(point, Some(Point::CallAfterSend | Point::PostAfterSend))
                    || calls.values().any(|since_us| lately(since_us, LISTENED_FOR))
                    || posts.values().any(|since_us| lately(since_us, DURABLE_WITHIN));
                calls.clear();
                posts.clear();
            }
            Seen::Ready { .. } if doubt => return true,
            _ => {}
        }
    }
    false
}

fn retried(history: &History) -> bool {
    let mut contents = BTreeSet::new();
    history
        .seen
        .iter()
        .any(|sighting| matches!(&sighting.what, Seen::Called { content, .. } if !contents.insert(content)))
}

fn crashed_in_recovery(history: &History) -> bool {
    let (mut down, mut back_us) = (false, None);
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Crashed { .. } => {
                let just_back = back_us.is_some_and(|back_us: u64| at_us.saturating_sub(back_us) <= micros(RECOVERING));
                if down || just_back {
                    return true;
                }
                down = true;
            }
            Seen::Ready { life } => {
                down = false;
                back_us = (*life > 1).then_some(*at_us);
            }
            _ => {}
        }
    }
    false
}

fn budget_spent(history: &History) -> bool {
    let mut billed = Money::ZERO;
    history.seen.iter().any(|sighting| match &sighting.what {
        Seen::Billed { cost, .. } => {
            billed = billed.saturating_add(*cost);
            false
        }
        Seen::Restarted { class, .. } => class == "budget_spent",
        Seen::Reported { spent: true, .. } => true,
        Seen::Reported { status, .. } => {
            let (billed, budget) = (u128::from(billed.nanos()), u128::from(history.budget.nanos()));
            status == "failed" && billed * 100 > budget * u128::from(BUDGET_SHARE_PERCENT)
        }
        _ => false,
    })
}

fn approval_waited(history: &History) -> bool {
    let mut waiting: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for sighting in &history.seen {
        match &sighting.what {
            Seen::Questioned { run, path } => {
                waiting.entry((run, path)).or_insert(false);
            }
            Seen::Crashed { .. } => waiting.values_mut().for_each(|over_crash| *over_crash = true),
            Seen::Approved { run, path } if waiting.remove(&(run.as_str(), path.as_str())) == Some(true) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

fn call_lost(history: &History) -> bool {
    let mut billed = BTreeSet::new();
    for sighting in &history.seen {
        match sighting.what {
            Seen::Billed { call, .. } => {
                billed.insert(call);
            }
            Seen::Answered { call } => {
                billed.remove(&call);
            }
            _ => {}
        }
    }
    !billed.is_empty()
}

fn struck(history: &History, test: impl Fn(&Fault) -> bool) -> bool {
    let planned: BTreeMap<u32, &Fault> = history.plan.faults.iter().map(|one| (one.number, &one.fault)).collect();
    let hit = |sighting: &Sighting| match sighting.what {
        Seen::Struck { number } => planned.get(&number).is_some_and(|fault| test(fault)),
        _ => false,
    };
    history.seen.iter().any(hit)
}
