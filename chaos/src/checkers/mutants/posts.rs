//! Mutants of posts and their approvals: made twice, never made, made unasked, taken back.
//! Invariant: see the parent.

use super::{Mutant, late_us, pick, places, with, without};
use crate::aims::Invariant;
use crate::history::{History, Seen};
use crate::plan::Approval;

pub(super) fn mutants() -> Vec<Mutant> {
    use Invariant::{ApprovalFirst, NoDoublePost, ResultsStable};
    let mutant = |name, invariant, apply| Mutant { name, invariant, apply };
    vec![
        mutant("post made twice", NoDoublePost, twice as fn(&History, u64) -> Option<History>),
        mutant("retry without asking", NoDoublePost, without_asking),
        mutant("doubtful post made again", NoDoublePost, not_held),
        mutant("post never made but reported", NoDoublePost, never_made),
        mutant("post made but not reported", NoDoublePost, not_reported),
        mutant("post's content changed", ResultsStable, rewritten),
        mutant("reported post taken back", ResultsStable, taken_back),
        mutant("approval skipped", ApprovalFirst, skipped),
        mutant("question that nobody answered", ApprovalFirst, unanswered),
        mutant("post before its approval", ApprovalFirst, too_early),
        mutant("one approval for two posts", ApprovalFirst, one_for_two),
        mutant("approval of another post", ApprovalFirst, of_another),
    ]
}

#[derive(Clone)]
struct Row {
    key: String,
    content: String,
    run: String,
}

impl Row {
    fn seen(self) -> Seen {
        Seen::Posted { key: self.key, content: self.content, run: self.run }
    }
}

fn rows(history: &History) -> Vec<(usize, Row)> {
    places(history, |seen| match seen {
        Seen::Posted { key, content, run } => {
            Some(Row { key: key.clone(), content: content.clone(), run: run.clone() })
        }
        _ => None,
    })
}

fn twice(history: &History, seed: u64) -> Option<History> {
    let (_, row) = pick(rows(history), seed)?;
    Some(with(history.clone(), late_us(history), row.seen()))
}

/// Instead of a look-up that found it, the post is made again.
fn without_asking(history: &History, seed: u64) -> Option<History> {
    let asked = places(history, |seen| match seen {
        Seen::LookedUp { key, found: true } => Some(key.clone()),
        _ => None,
    });
    let (place, asked) = pick(asked, seed)?;
    let (_, row) = rows(history).into_iter().find(|(_, row)| row.key == asked)?;
    let mut history = history.clone();
    history.seen[place].what = row.seen();
    Some(history)
}

/// Instead of being held, a post that is out is made again.
fn not_held(history: &History, seed: u64) -> Option<History> {
    let held = places(history, |seen| match seen {
        Seen::Held { key, .. } => rows(history).into_iter().find(|(_, row)| row.key == *key),
        _ => None,
    });
    let (place, (_, row)) = pick(held, seed)?;
    let mut history = history.clone();
    history.seen[place].what = row.seen();
    Some(history)
}

fn told(history: &History) -> Vec<String> {
    let told = places(history, |seen| match seen {
        Seen::Reported { posts, .. } => Some(posts.clone()),
        _ => None,
    });
    told.into_iter().flat_map(|(_, posts)| posts).collect()
}

fn never_made(history: &History, seed: u64) -> Option<History> {
    let gone = pick(told(history), seed)?;
    Some(without(history.clone(), |seen| matches!(seen, Seen::Posted { key, .. } if *key == gone)))
}

fn not_reported(history: &History, seed: u64) -> Option<History> {
    let finished = places(history, |seen| match seen {
        Seen::Reported { status, posts, .. } if status == "finished" => Some(posts.clone()),
        _ => None,
    });
    let gone = pick(finished.into_iter().flat_map(|(_, posts)| posts).collect(), seed)?;
    let mut history = history.clone();
    for sighting in &mut history.seen {
        if let Seen::Reported { posts, .. } = &mut sighting.what {
            posts.retain(|key| *key != gone);
        }
    }
    Some(history)
}

fn rewritten(history: &History, seed: u64) -> Option<History> {
    let (_, row) = pick(rows(history), seed)?;
    let other = Row { content: format!("{}-changed", row.content), ..row };
    Some(with(history.clone(), late_us(history), other.seen()))
}

fn taken_back(history: &History, seed: u64) -> Option<History> {
    let reports = places(history, |seen| match seen {
        Seen::Reported { posts, .. } if !posts.is_empty() => Some(seen.clone()),
        _ => None,
    });
    let (_, mut report) = pick(reports, seed)?;
    if let Seen::Reported { posts, .. } = &mut report {
        posts.pop();
    }
    Some(with(history.clone(), late_us(history), report))
}

/// A run with posts out, where posts have to be asked for.
fn approved_run(history: &History, seed: u64, posts_min: usize) -> Option<String> {
    if history.plan.workload.approval != Approval::Ask {
        return None;
    }
    let rows = rows(history);
    let posts = |run: &str| rows.iter().filter(|(_, row)| row.run == run).count();
    pick(rows.iter().map(|(_, row)| row.run.clone()).filter(|run| posts(run) >= posts_min).collect(), seed)
}

fn skipped(history: &History, seed: u64) -> Option<History> {
    let chosen = approved_run(history, seed, 1)?;
    Some(without(
        history.clone(),
        |seen| matches!(seen, Seen::Questioned { run, .. } | Seen::Approved { run, .. } if *run == chosen),
    ))
}

/// The questions of a run stay, and one answer goes: a crash between them excuses nothing.
fn unanswered(history: &History, seed: u64) -> Option<History> {
    let chosen = approved_run(history, seed, 1)?;
    let gone = answered(history, &chosen, seed)?;
    Some(without(
        history.clone(),
        |seen| matches!(seen, Seen::Approved { run, path } if *run == chosen && *path == gone),
    ))
}

/// One of the run's questions that was answered.
fn answered(history: &History, chosen: &str, seed: u64) -> Option<String> {
    let answered = places(history, |seen| match seen {
        Seen::Approved { run, path } if *run == *chosen => Some(path.clone()),
        _ => None,
    });
    pick(answered, seed).map(|(_, path)| path)
}

/// A yes to another step than that whose post is out.
fn of_another(history: &History, seed: u64) -> Option<History> {
    let chosen = approved_run(history, seed, 1)?;
    let given = answered(history, &chosen, seed)?;
    let mut history = history.clone();
    for sighting in &mut history.seen {
        if let Seen::Approved { run, path } = &mut sighting.what
            && *run == chosen
            && *path == given
        {
            *path = "elsewhere/approve".to_owned();
        }
    }
    Some(history)
}

/// The run's questions and answers, moved behind its posts.
fn too_early(history: &History, seed: u64) -> Option<History> {
    let chosen = approved_run(history, seed, 1)?;
    let talk =
        |seen: &Seen| matches!(seen, Seen::Questioned { run, .. } | Seen::Approved { run, .. } if *run == chosen);
    let moved = places(history, |seen| talk(seen).then(|| seen.clone()));
    let rest = without(history.clone(), talk);
    let at_us = late_us(history);
    Some(moved.into_iter().fold(rest, |history, (_, what)| with(history, at_us, what)))
}

fn one_for_two(history: &History, seed: u64) -> Option<History> {
    let chosen = approved_run(history, seed, 2)?;
    let gone = answered(history, &chosen, seed)?;
    Some(without(history.clone(), |seen| match seen {
        Seen::Questioned { run, path } | Seen::Approved { run, path } => *run == chosen && *path == gone,
        _ => false,
    }))
}
