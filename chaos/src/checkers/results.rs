//! A result that was reported never changes, and is not undone. Invariant: the first report, the first
//! acknowledged order and the first content of a post are held against all later ones.

use std::collections::{BTreeMap, BTreeSet};

use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

#[derive(Debug)]
struct Report<'a> {
    at_us: u64,
    status: &'a str,
    outputs: &'a str,
    posts: &'a [String],
}

#[derive(Debug, Default)]
struct Firsts<'a> {
    /// The order that was last asked under a key.
    asked: BTreeMap<&'a str, &'a str>,
    /// The order that a key's first acknowledgement answered.
    orders: BTreeMap<&'a str, (u64, &'a str)>,
    reports: BTreeMap<&'a str, Report<'a>>,
    /// Runs whose undone end was told.
    undone: BTreeSet<&'a str>,
    contents: BTreeMap<&'a str, (u64, &'a str)>,
}

/// An acknowledgement answers the key's latest question: the client asks a key again only when it
/// has its answer, or knows that none comes.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut firsts = Firsts::default();
    let mut found = Vec::new();
    for Sighting { at_us, what } in &history.seen {
        let at_us = *at_us;
        match what {
            Seen::Asked { key, order } => {
                firsts.asked.insert(key, order);
            }
            Seen::Acknowledged { key, .. } => {
                let Some(order) = firsts.asked.get(key.as_str()).copied() else { continue };
                let (first_us, first) = *firsts.orders.entry(key).or_insert((at_us, order));
                if first != order {
                    found.push(changed(
                        &format!("key `{key}` was acknowledged with order"),
                        (first_us, first),
                        at_us,
                        order,
                    ));
                }
            }
            Seen::Reported { run, status, outputs, posts, .. } => {
                let report = Report { at_us, status, outputs, posts };
                match firsts.reports.get(run.as_str()) {
                    Some(first) => found.extend(compare(run, first, &report)),
                    None => {
                        firsts.reports.insert(run, report);
                    }
                }
            }
            Seen::Undone { run, status } => found.extend(firsts.undone(run, status, at_us)),
            Seen::Posted { key, content, .. } => {
                let (first_us, first) = *firsts.contents.entry(key).or_insert((at_us, content));
                if first != content {
                    found.push(changed(
                        &format!("post `{key}` is out with content"),
                        (first_us, first),
                        at_us,
                        content,
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

impl<'a> Firsts<'a> {
    /// A run that has ended, and goes on; told once. Only the word `resume` opens a failed run again, and
    /// no client here says it.
    fn undone(&mut self, run: &'a str, status: &str, at_us: u64) -> Option<Violation> {
        let first = self.reports.get(run)?;
        let what = format!("run {run} was reported as");
        let told = changed(&what, (first.at_us, first.status), at_us, status);
        self.undone.insert(run).then_some(told)
    }
}

/// Posts may be added, because what is under way when a run ends is still resolved; none is taken
/// back.
fn compare(run: &str, first: &Report<'_>, later: &Report<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if first.status != later.status {
        let what = format!("run {run} was reported as");
        found.push(changed(&what, (first.at_us, first.status), later.at_us, later.status));
    }
    if first.outputs != later.outputs {
        let what = format!("run {run} was reported with outputs");
        found.push(changed(&what, (first.at_us, first.outputs), later.at_us, later.outputs));
    }
    for key in first.posts.iter().filter(|key| !later.posts.contains(key)) {
        let (first, later) = (Moment(first.at_us), Moment(later.at_us));
        let message = format!("run {run} told at {first} that post `{key}` is out, and left it out at {later}");
        found.push(violation(later.0, message));
    }
    found
}

fn changed(what: &str, first: (u64, &str), at_us: u64, later: &str) -> Violation {
    let message = format!("{what} `{}` at {} and `{later}` at {}", first.1, Moment(first.0), Moment(at_us));
    violation(at_us, message)
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::ResultsStable, at_us, message }
}
