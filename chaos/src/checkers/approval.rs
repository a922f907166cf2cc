//! No post precedes its approval. Invariant: at every instant each post that is out has a question of
//! its own, answered with yes before it came out.

use std::collections::{BTreeMap, BTreeSet};

use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};
use crate::plan::Approval;

/// What is known of one run.
#[derive(Debug, Default)]
struct Run<'a> {
    /// When each step was first answered with yes.
    answers: BTreeMap<&'a str, u64>,
    /// When a post came out, and its key; each key once.
    posts: Vec<(u64, &'a str)>,
}

/// An answer is noted before it is sent, so nothing can take away that it was given: neither a crash nor
/// a lost acknowledgement excuses a post.
///
/// A question is about what follows it in its own block of the workflow, so the post's place must lie in
/// there: of `posts[1]/gate/approve`, anything in `posts[1]/gate`. Each question is good for one post.
pub(super) fn check(history: &History) -> Vec<Violation> {
    if history.plan.workload.approval == Approval::Automatic {
        return Vec::new();
    }
    let mut runs: BTreeMap<&str, Run<'_>> = BTreeMap::new();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Approved { run, path } => {
                runs.entry(run).or_default().answers.entry(path).or_insert(*at_us);
            }
            // The first time that the key is seen.
            Seen::Posted { run, key, .. } if keys.insert(key) => {
                runs.entry(run).or_default().posts.push((*at_us, key));
            }
            _ => {}
        }
    }
    runs.iter().flat_map(|(name, run)| unapproved(name, run)).collect()
}

fn unapproved(name: &str, run: &Run<'_>) -> Vec<Violation> {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for (at_us, key) in &run.posts {
        let place = place(name, key);
        let about = run.answers.iter().filter(|(path, _)| is_about(path, place) && !used.contains(*path));
        let (given, late): (Vec<_>, Vec<_>) = about.partition(|(_, answered_us)| *answered_us <= at_us);
        // The narrowest block, so that a wider one is left for a post that has no other.
        if let Some((path, _)) = given.into_iter().max_by_key(|(path, _)| block(path).len()) {
            used.insert(path);
            continue;
        }
        let late = late.first().map_or_else(String::new, |(path, answered_us)| {
            format!("; its question `{path}` was answered only at {}", Moment(**answered_us))
        });
        let message = format!(
            "post `{key}` of run {name} came out at {}, and no question about it had been answered with yes{late}",
            Moment(*at_us)
        );
        found.push(Violation { invariant: Invariant::ApprovalFirst, at_us: *at_us, message });
    }
    found
}

/// Where in its run a post was made, as its key says: `<run>/<place>:<hash>`.
fn place<'a>(run: &str, key: &'a str) -> &'a str {
    let inside = key.strip_prefix(run).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
    inside.rsplit_once(':').map_or(inside, |(place, _)| place)
}

/// The steps among which a step stands; empty for those of the workflow itself.
fn block(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(block, _)| block)
}

fn is_about(question: &str, place: &str) -> bool {
    match block(question) {
        "" => true,
        block => place.strip_prefix(block).is_some_and(|rest| rest.starts_with('/')),
    }
}
