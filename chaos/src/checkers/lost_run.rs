//! No run is lost: every acknowledged run reaches exactly one end within the quiet time. Invariant:
//! a run whose post is held for a person has its end in that person's hands, until the person has
//! settled it; then it has to end like any other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::orders::Orders;
use super::violation::{Moment, Violation, micros};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// The client looks from time to time, and its look takes time: an end may be seen this much after
/// the quiet time.
pub const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// After its post was settled, a run comes to its end within this, since nothing else is in its way by then.
pub const GOES_ON_WITHIN: Duration = Duration::from_secs(60);

const MICROS_PER_MILLI: u64 = 1_000;

#[derive(Debug, Default)]
struct Outcome<'a> {
    ends: Vec<(u64, &'a str)>,
    /// The posts that were held, and when each was first settled.
    holds: BTreeMap<&'a str, Option<u64>>,
}

impl Outcome<'_> {
    /// Whether it waits for a person, or has waited until a moment ago.
    fn is_held(&self, now_us: u64) -> bool {
        let waits = |settled_us: &Option<u64>| {
            settled_us.is_none_or(|settled_us| now_us <= settled_us.saturating_add(micros(GOES_ON_WITHIN)))
        };
        self.holds.values().any(waits)
    }
}

/// Silent about runs that were never acknowledged, except that they too may not end in two ways.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let orders = Orders::of(history);
    let outcomes = outcomes(history);
    let last_us = history.seen.last().map_or(0, |sighting| sighting.at_us);
    let mut found = Vec::new();
    if let Some(reason) = &history.broken {
        found.push(violation(last_us, format!("the play broke off, and no fault explains it: {reason}")));
    }
    let mut open = 0;
    for (run, (at_us, key)) in &orders.acknowledged {
        let outcome = outcomes.get(run);
        match outcome.and_then(|outcome| outcome.ends.first()) {
            Some((end_us, status)) if *end_us > deadline_us(history) => found.push(violation(
                *end_us,
                format!(
                    "run {run} (key `{key}`) was acknowledged at {}, and its end `{status}` was seen only at {}; \
                     it was due by {}",
                    Moment(*at_us),
                    Moment(*end_us),
                    Moment(deadline_us(history)),
                ),
            )),
            Some(_) => {}
            None if outcome.is_some_and(|outcome| outcome.is_held(last_us)) => open += 1,
            None => found.push(violation(
                last_us,
                format!(
                    "run {run} (key `{key}`) was acknowledged at {} and has no end by {}",
                    Moment(*at_us),
                    Moment(last_us)
                ),
            )),
        }
    }
    for (run, outcome) in &outcomes {
        found.extend(two_ends(run, &outcome.ends));
    }
    found.extend(unfinished(history, open));
    found
}

fn outcomes(history: &History) -> BTreeMap<&str, Outcome<'_>> {
    let mut outcomes: BTreeMap<&str, Outcome<'_>> = BTreeMap::new();
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Reported { run, status, .. } => outcomes.entry(run).or_default().ends.push((*at_us, status)),
            Seen::Held { run, key } => {
                outcomes.entry(run).or_default().holds.entry(key).or_default();
            }
            Seen::Settled { run, key } => {
                outcomes.entry(run).or_default().holds.entry(key).or_default().get_or_insert(*at_us);
            }
            _ => {}
        }
    }
    outcomes
}

fn deadline_us(history: &History) -> u64 {
    let play_ms = history.plan.duration_ms.saturating_add(history.plan.quiet_ms);
    play_ms.saturating_mul(MICROS_PER_MILLI).saturating_add(micros(SEEN_WITHIN))
}

fn two_ends(run: &str, ends: &[(u64, &str)]) -> Option<Violation> {
    let (first_us, first) = ends.first()?;
    let (other_us, other) = ends.iter().find(|(_, status)| status != first)?;
    Some(violation(
        *other_us,
        format!("run {run} ended `{first}` at {} and `{other}` at {}", Moment(*first_us), Moment(*other_us)),
    ))
}

fn unfinished(history: &History, held: u64) -> Option<Violation> {
    history.seen.iter().find_map(|Sighting { at_us, what }| match what {
        Seen::Over { unfinished, .. } if *unfinished > held => Some(violation(
            *at_us,
            format!("{unfinished} runs are open at the very end, and only {held} of them wait for a person"),
        )),
        _ => None,
    })
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::NoLostRun, at_us, message }
}
