//! What was acknowledged survives, and nothing is invented. Invariant: a key and its run belong to
//! each other for good, over any number of crashes.

use std::collections::{BTreeMap, BTreeSet};

use super::orders::{Orders, run_of};
use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// Answers to a key that say that there is no such run.
const UNKNOWN: [u16; 2] = [404, 410];
/// The answer to a key that carries another order than before.
const OTHER_ORDER: u16 = 409;

/// A run may show before it is acknowledged, for the acknowledgement may be lost. From outside such
/// a run cannot be given to its key; so at no time may more of them show than there are keys that
/// were asked for and are never acknowledged.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = bonds(history);
    found.extend(invented(history));
    found
}

/// Keys that change their run or lose it, and runs that change their key.
fn bonds(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut runs: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    let mut keys: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    let mut orders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Asked { key, order } => {
                orders.entry(key).or_default().insert(order);
            }
            Seen::Acknowledged { key, run } => {
                if !orders.contains_key(key.as_str()) {
                    let at = Moment(*at_us);
                    found
                        .push(violation(*at_us, format!("key `{key}` was acknowledged at {at}, and nobody had asked")));
                }
                let (first_us, first) = *runs.entry(key).or_insert((*at_us, run));
                if first != run {
                    found.push(two("key", key, "run", (first_us, first), (*at_us, run)));
                }
                let (first_us, first) = *keys.entry(run).or_insert((*at_us, key));
                if first != key {
                    found.push(two("run", run, "key", (first_us, first), (*at_us, key)));
                }
            }
            Seen::Refused { key, status } => {
                let Some((first_us, run)) = runs.get(key.as_str()) else { continue };
                let one_order = orders.get(key.as_str()).is_none_or(|orders| orders.len() < 2);
                if UNKNOWN.contains(status) || (*status == OTHER_ORDER && one_order) {
                    found.push(violation(
                        *at_us,
                        format!(
                            "key `{key}` was acknowledged as run {run} at {}, and answered with {status} at {}",
                            Moment(*first_us),
                            Moment(*at_us)
                        ),
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

/// Runs that nobody had asked for when they showed.
fn invented(history: &History) -> Vec<Violation> {
    let orders = Orders::of(history);
    let doubtful = orders.in_doubt();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    let mut strangers = 0;
    let mut found = Vec::new();
    for Sighting { at_us, what } in &history.seen {
        let Some(run) = run_of(what) else { continue };
        if !shown.insert(run) {
            continue;
        }
        let at = Moment(*at_us);
        if let Some((_, key)) = orders.acknowledged.get(run) {
            if let Some(asked_us) = orders.asked.get(key).filter(|asked_us| **asked_us > *at_us) {
                let asked = Moment(*asked_us);
                let message = format!("run {run} showed at {at}, and its key `{key}` was asked for only at {asked}");
                found.push(violation(*at_us, message));
            }
            continue;
        }
        strangers += 1;
        let possible = doubtful.partition_point(|asked_us| asked_us <= at_us);
        if strangers > possible {
            let message = format!(
                "run {run} showed at {at} and is the {strangers}. that was never acknowledged; only {possible} keys \
                 had been asked for without an acknowledgement"
            );
            found.push(violation(*at_us, message));
        }
    }
    found
}

fn two(kind: &str, name: &str, other: &str, first: (u64, &str), second: (u64, &str)) -> Violation {
    let message = format!(
        "{kind} `{name}` was acknowledged with {other} `{}` at {} and with {other} `{}` at {}",
        first.1,
        Moment(first.0),
        second.1,
        Moment(second.0)
    );
    violation(second.0, message)
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::AcknowledgedSurvives, at_us, message }
}
