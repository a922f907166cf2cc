//! Mutants of runs: lost, invented, changed, made again, dearer than allowed. Invariant: see the
//! parent.

use std::collections::BTreeMap;

use policies::money::Money;

use super::{Mutant, last_us, late_us, pick, places, with, without};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

const NOT_FOUND: u16 = 404;
const MICROS_PER_MILLI: u64 = 1_000;
/// Later than any client looks.
const LATE_US: u64 = 3_600_000_000;

pub(super) fn mutants() -> Vec<Mutant> {
    use Invariant::{AcknowledgedSurvives, NoBudgetOverrun, NoLostRun, RecoveryIdempotent, ResultsStable};
    let mutant = |name, invariant, apply| Mutant { name, invariant, apply };
    vec![
        mutant("acknowledged run forgotten", NoLostRun, forgotten as fn(&History, u64) -> Option<History>),
        mutant("run stuck after its post was settled", NoLostRun, stuck),
        mutant("two ends of one run", NoLostRun, two_ends),
        mutant("end after the quiet time", NoLostRun, late),
        mutant("start that fails", NoLostRun, no_start),
        mutant("billed over the budget", NoBudgetOverrun, over_budget),
        mutant("budget checked after the call", NoBudgetOverrun, checked_late),
        mutant("run's budget checked after the call", NoBudgetOverrun, run_checked_late),
        mutant("acknowledged key taken on again", AcknowledgedSurvives, taken_again),
        mutant("acknowledged before the sync", AcknowledgedSurvives, unsynced),
        mutant("one run for two keys", AcknowledgedSurvives, shared),
        mutant("run that nobody asked for", AcknowledgedSurvives, invented),
        mutant("result changed", ResultsStable, changed),
        mutant("end undone", ResultsStable, undone),
        mutant("one key with two orders", ResultsStable, two_orders),
        mutant("recorded call repeated after recovery", RecoveryIdempotent, repeated),
    ]
}

fn reports(history: &History) -> Vec<(usize, String)> {
    places(history, |seen| match seen {
        Seen::Reported { run, .. } => Some(run.clone()),
        _ => None,
    })
}

fn acknowledgements(history: &History) -> Vec<(usize, (String, String))> {
    places(history, |seen| match seen {
        Seen::Acknowledged { key, run } => Some((key.clone(), run.clone())),
        _ => None,
    })
}

fn forgotten(history: &History, seed: u64) -> Option<History> {
    let (_, (_, lost)) = pick(acknowledgements(history), seed)?;
    Some(without(
        history.clone(),
        |seen| matches!(seen, Seen::Reported { run, .. } | Seen::Held { run, .. } if *run == lost),
    ))
}

/// A run that was held, and settled, and that nobody saw any more: it was waited for to the last.
fn stuck(history: &History, seed: u64) -> Option<History> {
    let settled = places(history, |seen| match seen {
        Seen::Settled { run, .. } => Some(run.clone()),
        _ => None,
    });
    let (_, stuck) = pick(settled, seed)?;
    let mut history = without(history.clone(), |seen| matches!(seen, Seen::Reported { run, .. } if *run == stuck));
    let quiet_us = (history.plan.duration_ms + history.plan.quiet_ms) * MICROS_PER_MILLI;
    let over = history.seen.iter_mut().find(|sighting| matches!(sighting.what, Seen::Over { .. }))?;
    over.at_us = over.at_us.max(quiet_us);
    Some(history)
}

fn undone(history: &History, seed: u64) -> Option<History> {
    let (_, run) = pick(reports(history), seed)?;
    Some(with(history.clone(), late_us(history), Seen::Undone { run, status: "running".to_owned() }))
}

fn two_ends(history: &History, seed: u64) -> Option<History> {
    let (place, _) = pick(reports(history), seed)?;
    let mut what = history.seen[place].what.clone();
    if let Seen::Reported { status, .. } = &mut what {
        *status = if status == "finished" { "failed".to_owned() } else { "finished".to_owned() };
    }
    Some(with(history.clone(), late_us(history), what))
}

fn late(history: &History, seed: u64) -> Option<History> {
    let acknowledged: Vec<_> = acknowledgements(history).into_iter().map(|(_, (_, run))| run).collect();
    let ended = reports(history).into_iter().filter(|(_, run)| acknowledged.contains(run)).collect();
    let (place, late) = pick(ended, seed)?;
    let report = history.seen[place].what.clone();
    let rest = without(history.clone(), |seen| matches!(seen, Seen::Reported { run, .. } if *run == late));
    Some(with(rest, last_us(history) + LATE_US, report))
}

fn no_start(history: &History, _: u64) -> Option<History> {
    Some(History { broken: Some("the journal cannot be opened".to_owned()), ..history.clone() })
}

fn over_budget(history: &History, seed: u64) -> Option<History> {
    let bills = places(history, |seen| match seen {
        Seen::Billed { call, .. } => Some(*call),
        _ => None,
    });
    let (place, call) = pick(bills, seed)?;
    let mut history = history.clone();
    history.seen[place].what = Seen::Billed { call, cost: history.budget.saturating_add(Money::from_nanos(1)) };
    Some(history)
}

/// The budget as it would have to be for the last call to be one too many.
fn checked_late(history: &History, _: u64) -> Option<History> {
    let costs = places(history, |seen| match seen {
        Seen::Billed { cost, .. } if !cost.is_zero() => Some(*cost),
        _ => None,
    });
    let sum: Money = costs.iter().map(|(_, cost)| *cost).sum();
    let budget = sum.checked_sub(Money::from_nanos(1))?;
    Some(History { budget, ..history.clone() })
}

/// The budget of each run as it would have to be for the last call of one of them to be one too many.
fn run_checked_late(history: &History, seed: u64) -> Option<History> {
    let orders = places(history, |seen| match seen {
        Seen::CalledFor { call, key } => Some((*call, key.clone())),
        _ => None,
    });
    let orders: BTreeMap<u64, String> = orders.into_iter().map(|(_, order)| order).collect();
    let mut sums: BTreeMap<&str, Money> = BTreeMap::new();
    for sighting in &history.seen {
        if let Seen::Billed { call, cost } = &sighting.what
            && let Some(key) = orders.get(call)
        {
            let sum = sums.entry(key).or_default();
            *sum = sum.saturating_add(*cost);
        }
    }
    let sum = pick(sums.into_values().collect(), seed)?;
    let mut history = history.clone();
    history.plan.workload.cost_max = Some(sum.checked_sub(Money::from_nanos(1))?);
    Some(history)
}

fn taken_again(history: &History, seed: u64) -> Option<History> {
    let (_, (key, run)) = pick(acknowledgements(history), seed)?;
    Some(with(history.clone(), late_us(history), Seen::Acknowledged { key, run: format!("{run}-again") }))
}

fn unsynced(history: &History, seed: u64) -> Option<History> {
    let crash = history.seen.iter().position(|sighting| matches!(sighting.what, Seen::Crashed { .. }))?;
    let before = acknowledgements(history).into_iter().filter(|(place, _)| *place < crash).collect();
    let (_, (key, _)) = pick(before, seed)?;
    Some(with(history.clone(), late_us(history), Seen::Refused { key, status: NOT_FOUND }))
}

fn shared(history: &History, seed: u64) -> Option<History> {
    let (_, (key, run)) = pick(acknowledgements(history), seed)?;
    let others = acknowledgements(history).into_iter().filter(|(_, (other, _))| *other != key).collect();
    let (_, (other, _)) = pick(others, seed)?;
    Some(with(history.clone(), late_us(history), Seen::Acknowledged { key: other, run }))
}

fn invented(history: &History, _: u64) -> Option<History> {
    let asked = places(history, |seen| matches!(seen, Seen::Asked { .. }).then_some(()));
    let report = |number: usize| Seen::Reported {
        run: format!("nobody's-{number}"),
        status: "finished".to_owned(),
        outputs: String::new(),
        posts: Vec::new(),
        spent: false,
    };
    // More than there are keys in doubt.
    let at_us = late_us(history);
    Some((0..=asked.len()).fold(history.clone(), |history, number| with(history, at_us, report(number))))
}

fn changed(history: &History, seed: u64) -> Option<History> {
    let (place, _) = pick(reports(history), seed)?;
    let mut what = history.seen[place].what.clone();
    if let Seen::Reported { outputs, .. } = &mut what {
        outputs.push_str("-changed");
    }
    Some(with(history.clone(), late_us(history), what))
}

fn two_orders(history: &History, seed: u64) -> Option<History> {
    let (_, (key, run)) = pick(acknowledgements(history), seed)?;
    let at_us = late_us(history);
    let asked = with(history.clone(), at_us, Seen::Asked { key: key.clone(), order: "another order".to_owned() });
    Some(with(asked, at_us, Seen::Acknowledged { key, run }))
}

fn repeated(history: &History, seed: u64) -> Option<History> {
    let again = history.seen.iter().rev().find_map(|Sighting { at_us, what }| match what {
        Seen::Ready { life } if *life > 1 => Some(*at_us),
        _ => None,
    })?;
    let answered: Vec<u64> = places(history, |seen| match seen {
        Seen::Answered { call } => Some(*call),
        _ => None,
    })
    .into_iter()
    .filter(|(place, _)| history.seen[*place].at_us < again)
    .map(|(_, call)| call)
    .collect();
    let call = pick(answered, seed)?;
    let content = history.seen.iter().find_map(|sighting| match &sighting.what {
        Seen::Called { call: number, content, .. } if *number == call => Some(content.clone()),
        _ => None,
    })?;
    Some(with(history.clone(), again + MICROS_PER_MILLI, Seen::Called { call: u64::MAX, content, model: None }))
}
