//! Who asked for which run. Invariant: a run belongs to the key under which it was first
//! acknowledged; a run that was never acknowledged can only belong to a key that never was either.

use std::collections::BTreeMap;

use crate::history::{History, Seen, Sighting};

/// The keys that were asked for and the runs that they became.
#[derive(Debug, Default)]
pub(super) struct Orders<'a> {
    /// When each key was first asked for.
    pub(super) asked: BTreeMap<&'a str, u64>,
    /// When each run was first acknowledged, and under which key.
    pub(super) acknowledged: BTreeMap<&'a str, (u64, &'a str)>,
}

impl<'a> Orders<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut orders = Self::default();
        for Sighting { at_us, what } in &history.seen {
            match what {
                Seen::Asked { key, .. } => {
                    orders.asked.entry(key).or_insert(*at_us);
                }
                Seen::Acknowledged { key, run } => {
                    orders.acknowledged.entry(run).or_insert((*at_us, key));
                }
                _ => {}
            }
        }
        orders
    }

    /// When the keys were first asked for of which nobody knows the run: asked for, and never
    /// acknowledged. In the order of time.
    pub(super) fn in_doubt(&self) -> Vec<u64> {
        let known: std::collections::BTreeSet<_> = self.acknowledged.values().map(|(_, key)| *key).collect();
        let mut doubtful: Vec<_> =
            self.asked.iter().filter(|(key, _)| !known.contains(*key)).map(|(_, at_us)| *at_us).collect();
        doubtful.sort_unstable();
        doubtful
    }
}

/// The run that a sighting is about, if it shows that the run exists.
pub(super) fn run_of(what: &Seen) -> Option<&str> {
    match what {
        Seen::Questioned { run, .. }
        | Seen::Approved { run, .. }
        | Seen::Reported { run, .. }
        | Seen::Undone { run, .. }
        | Seen::Held { run, .. }
        | Seen::Settled { run, .. }
        | Seen::DeadLettered { run, .. }
        | Seen::Posted { run, .. } => Some(run),
        _ => None,
    }
}
