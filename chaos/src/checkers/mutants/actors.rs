//! Mutants of the tree, the breakers and the bounds. Invariant: see the parent.

use super::{Mutant, late_us, pick, places, with, without};
use crate::aims::Invariant;
use crate::history::{History, Seen};

const MICROS_PER_SECOND: u64 = 1_000_000;
/// More restarts than any supervisor of the tree may make.
const MELTDOWN: usize = 200;
const GUARD: &str = "model/scripted";

pub(super) fn mutants() -> Vec<Mutant> {
    use Invariant::{Bounded, BreakerLegal, RestartsBounded};
    let mutant = |name, invariant, apply| Mutant { name, invariant, apply };
    vec![
        mutant(
            "intensity exceeded without escalation",
            RestartsBounded,
            melted as fn(&History, u64) -> Option<History>,
        ),
        mutant("supervisor that never gives up", RestartsBounded, stubborn),
        mutant("actor left without a supervisor", RestartsBounded, orphaned),
        mutant("call through an open breaker", BreakerLegal, through),
        mutant("breaker closed without a probe", BreakerLegal, unprobed),
        mutant("breaker that stays open over a restart", BreakerLegal, remembered),
        mutant("mailbox over its bound", Bounded, overflowing),
        mutant("task that never ends", Bounded, endless),
        mutant("end that nobody saw", Bounded, unseen_end),
    ]
}

fn melted(history: &History, seed: u64) -> Option<History> {
    let at_us = late_us(history);
    let restart =
        || Seen::Restarted { child: format!("run/{seed}"), supervisor: "runs".to_owned(), class: "bug".to_owned() };
    Some((0..MELTDOWN).fold(history.clone(), |history, _| with(history, at_us, restart())))
}

/// Where it gave up, it restarts a child once more.
fn stubborn(history: &History, seed: u64) -> Option<History> {
    let given_up = places(history, |seen| match seen {
        Seen::Escalated { supervisor } => Some(supervisor.clone()),
        _ => None,
    });
    let (place, stubborn) = pick(given_up, seed)?;
    let child = history.seen.iter().find_map(|sighting| match &sighting.what {
        Seen::Restarted { child, supervisor, .. } if *supervisor == stubborn => Some(child.clone()),
        _ => None,
    })?;
    let mut history = history.clone();
    history.seen[place].what = Seen::Restarted { child, supervisor: stubborn, class: "bug".to_owned() };
    Some(history)
}

fn over(history: &History, change: impl Fn(&mut u64, &mut u64)) -> Option<History> {
    let mut history = history.clone();
    let last = history.seen.iter_mut().rev().find_map(|sighting| match &mut sighting.what {
        Seen::Over { tasks, orphans, .. } => Some((tasks, orphans)),
        _ => None,
    });
    let (tasks, orphans) = last?;
    change(tasks, orphans);
    Some(history)
}

fn orphaned(history: &History, _: u64) -> Option<History> {
    over(history, |_, orphans| *orphans += 1)
}

fn endless(history: &History, _: u64) -> Option<History> {
    over(history, |tasks, _| *tasks += 1)
}

fn unseen_end(history: &History, _: u64) -> Option<History> {
    Some(without(history.clone(), |seen| matches!(seen, Seen::Over { .. })))
}

/// A call in the middle of the time between a breaker's opening and what the guard does next.
fn through(history: &History, seed: u64) -> Option<History> {
    let opened = places(history, |seen| match seen {
        Seen::BreakerMoved { guard, to } if to == "open" => Some(guard.clone()),
        _ => None,
    });
    let open_times = opened.into_iter().filter_map(|(place, of)| {
        let rest = history.seen.get(place + 1..)?;
        let ended = rest.iter().find(|sighting| match &sighting.what {
            Seen::BreakerMoved { guard, .. } => *guard == of,
            Seen::Crashed { .. } => true,
            _ => false,
        })?;
        let from_us = history.seen.get(place)?.at_us;
        (ended.at_us > from_us + 4 * MICROS_PER_SECOND).then_some(from_us + (ended.at_us - from_us) / 2)
    });
    let at_us = pick(open_times.collect(), seed)?;
    let call = Seen::Called { call: u64::MAX, content: "another call".to_owned(), model: None };
    Some(with(history.clone(), at_us, call))
}

fn unprobed(history: &History, seed: u64) -> Option<History> {
    let probing =
        places(history, |seen| matches!(seen, Seen::BreakerMoved { to, .. } if to == "half_open").then_some(()));
    let (place, ()) = pick(probing, seed)?;
    let mut history = history.clone();
    history.seen.remove(place);
    Some(history)
}

/// After a crash, the first move is that of a breaker that was open.
fn remembered(history: &History, seed: u64) -> Option<History> {
    let back = places(history, |seen| matches!(seen, Seen::Ready { life } if *life > 1).then_some(()));
    let (place, ()) = pick(back, seed)?;
    let at_us = history.seen.get(place)?.at_us;
    Some(with(history.clone(), at_us, Seen::BreakerMoved { guard: GUARD.to_owned(), to: "half_open".to_owned() }))
}

fn overflowing(history: &History, seed: u64) -> Option<History> {
    let depths = places(history, |seen| match seen {
        Seen::Depth { child, max, .. } => Some((child.clone(), *max)),
        _ => None,
    });
    let (place, (child, max)) = pick(depths, seed)?;
    let mut history = history.clone();
    history.seen[place].what = Seen::Depth { child, queued: max + 1, max };
    Some(history)
}
