//! No post is made twice, none is told that was not made, none is made that is not told. Invariant:
//! the platform's rows are what counts; the reports are held against them.

use std::collections::{BTreeMap, BTreeSet};

use super::orders::Orders;
use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};
use crate::plan::Platform;

#[derive(Debug, Default)]
struct Book<'a> {
    /// The platform's rows by key: when, and for which run.
    rows: BTreeMap<&'a str, Vec<(u64, &'a str)>>,
    /// Keys that were held for a person.
    held: BTreeSet<&'a str>,
    /// Keys that a run said it had posted: when first, and which run.
    told: BTreeMap<&'a str, (u64, &'a str)>,
    /// When a run was first told to be finished.
    finished: BTreeMap<&'a str, u64>,
}

impl<'a> Book<'a> {
    fn of(history: &'a History) -> Self {
        let mut book = Self::default();
        for Sighting { at_us, what } in &history.seen {
            match what {
                Seen::Posted { key, run, .. } => book.rows.entry(key).or_default().push((*at_us, run)),
                Seen::Held { key, .. } => {
                    book.held.insert(key);
                }
                Seen::Reported { run, status, posts, .. } => {
                    for key in posts {
                        book.told.entry(key).or_insert((*at_us, run));
                    }
                    if status == "finished" {
                        book.finished.entry(run).or_insert(*at_us);
                    }
                }
                _ => {}
            }
        }
        book
    }
}

/// At most one row for each key, with either platform: the careful one takes a second request for
/// the first, and with the careless one a post in doubt is held.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let book = Book::of(history);
    let mut found = Vec::new();
    for (key, rows) in &book.rows {
        if let [(first_us, _), (second_us, _), ..] = rows.as_slice() {
            let how = match history.plan.workload.platform {
                Platform::Careful => "the platform deduplicates",
                Platform::Careless => "a post in doubt is to be held",
            };
            let times = rows.len();
            let (first, second) = (Moment(*first_us), Moment(*second_us));
            found.push(violation(
                *second_us,
                format!("post `{key}` is out {times} times, at {first} and at {second}; {how}"),
            ));
        }
    }
    found.extend(book.told.iter().filter_map(|(key, (told_us, run))| untrue(&book, key, *told_us, run)));
    found.extend(book.rows.iter().filter_map(|(key, rows)| untold(&book, key, rows)));
    found.extend(unasked(&book, &Orders::of(history)));
    found
}

/// A post that a run says it has made, and that is not there.
fn untrue(book: &Book<'_>, key: &str, told_us: u64, run: &str) -> Option<Violation> {
    let rows = book.rows.get(key).map_or(&[][..], Vec::as_slice);
    if rows.iter().any(|(row_us, _)| *row_us <= told_us) {
        return None;
    }
    let there = rows.first().map_or_else(
        || "the platform has no row for it".to_owned(),
        |(row_us, _)| format!("the platform has its row only from {} on", Moment(*row_us)),
    );
    Some(violation(told_us, format!("run {run} told at {} that post `{key}` is out; {there}", Moment(told_us))))
}

/// A post that is there, and that its finished run does not know.
fn untold(book: &Book<'_>, key: &str, rows: &[(u64, &str)]) -> Option<Violation> {
    let (row_us, run) = rows.first()?;
    let finished_us = book.finished.get(run)?;
    if book.told.contains_key(key) || book.held.contains(key) {
        return None;
    }
    Some(violation(
        *row_us,
        format!(
            "post `{key}` is out since {}; its run {run} was told finished at {} without it",
            Moment(*row_us),
            Moment(*finished_us)
        ),
    ))
}

/// Posts of runs that nobody can have asked for: each key that was asked for has its acknowledged
/// run, and it is none of those.
fn unasked<'a>(book: &Book<'a>, orders: &Orders<'a>) -> Vec<Violation> {
    let doubtful = orders.in_doubt().len();
    let rows = book.rows.iter().filter_map(|(key, rows)| rows.first().map(|(at_us, run)| (*key, *at_us, *run)));
    let strangers: Vec<_> = rows.filter(|(_, _, run)| !orders.acknowledged.contains_key(run)).collect();
    let runs: BTreeSet<_> = strangers.iter().map(|(_, _, run)| *run).collect();
    if runs.len() <= doubtful {
        return Vec::new();
    }
    let told = strangers.iter().map(|(key, at_us, run)| {
        violation(
            *at_us,
            format!(
                "post `{key}` is out since {}; its run {run} was never acknowledged, and only {doubtful} keys were \
                 asked for without an acknowledgement",
                Moment(*at_us)
            ),
        )
    });
    told.collect()
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::NoDoublePost, at_us, message }
}
