//! No post precedes its approval. Invariant: at every instant a run has at most as many posts out as
//! it has answers with yes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::violation::{Moment, Violation, micros};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};
use crate::plan::Approval;

/// An answer may be in force this much before its acknowledgement reaches the client.
pub const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);

/// What is known of one run.
#[derive(Debug, Default)]
struct Run<'a> {
    /// Questions by step: when each was first seen.
    questions: BTreeMap<&'a str, u64>,
    /// When each step was answered with yes.
    answers: BTreeMap<&'a str, u64>,
    /// When a post came out, and its key; each key once.
    posts: Vec<(u64, &'a str)>,
}

/// The client says yes as soon as it sees a question. What it said counts from its acknowledgement
/// on, or from the question on when a crash may have taken the acknowledgement, or when it came at
/// most [`ACKNOWLEDGED_WITHIN`] later.
pub(super) fn check(history: &History) -> Vec<Violation> {
    if history.plan.workload.approval == Approval::Automatic {
        return Vec::new();
    }
    let mut runs: BTreeMap<&str, Run<'_>> = BTreeMap::new();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    let mut crashes = Vec::new();
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Questioned { run, path } => {
                runs.entry(run).or_default().questions.entry(path).or_insert(*at_us);
            }
            Seen::Approved { run, path } => {
                runs.entry(run).or_default().answers.entry(path).or_insert(*at_us);
            }
            // The first time that the key is seen.
            Seen::Posted { run, key, .. } if keys.insert(key) => {
                runs.entry(run).or_default().posts.push((*at_us, key));
            }
            Seen::Crashed { .. } => crashes.push(*at_us),
            _ => {}
        }
    }
    runs.iter().flat_map(|(name, run)| unapproved(name, run, &crashes)).collect()
}

fn unapproved(name: &str, run: &Run<'_>, crashes: &[u64]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (place, (at_us, key)) in run.posts.iter().enumerate() {
        let out = place + 1;
        let approved = run.answers.values().filter(|answered_us| **answered_us <= *at_us).count();
        let doubtful = run.questions.iter().filter(|(path, asked_us)| in_doubt(run, path, **asked_us, *at_us, crashes));
        if out > approved + doubtful.count() {
            let message = format!(
                "post `{key}` of run {name} came out at {} as its {out}., and {approved} of its questions had been \
                 answered with yes",
                Moment(*at_us)
            );
            found.push(Violation { invariant: Invariant::ApprovalFirst, at_us: *at_us, message });
        }
    }
    found
}

/// Whether a question had been seen by then, and its answer may have been in force without an
/// acknowledgement.
fn in_doubt(run: &Run<'_>, path: &str, asked_us: u64, at_us: u64, crashes: &[u64]) -> bool {
    let answered_us = run.answers.get(path).copied();
    if asked_us > at_us || answered_us.is_some_and(|answered_us| answered_us <= at_us) {
        return false;
    }
    let soon = answered_us.is_some_and(|answered_us| answered_us - at_us <= micros(ACKNOWLEDGED_WITHIN));
    soon || crashes.iter().any(|crash_us| (asked_us..=at_us).contains(crash_us))
}
