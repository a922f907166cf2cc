//! The tree on a terminal, one node a line. Invariant: a pure function of the picture; with a look that
//! shows no ages, two pictures of which nothing but time sets them apart are drawn the same.

use std::fmt::Write;
use std::time::Duration;

use policies::instant::Timestamp;
use supervisor::{BreakerWord, Duty, NodeKind, NodeSnapshot, NodeState, TreeSnapshot};

use super::lines::{Tone, clip};

/// The most works of a node that are named on its line.
const WORKS_SHOWN: usize = 2;

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// In colours.
    pub colours: bool,
    /// With how long things last.
    pub ages: bool,
}

/// The tree, one node a line.
#[must_use]
pub fn tree(picture: &TreeSnapshot, look: Look) -> String {
    let mut text = String::new();
    Pen { at: picture.at, look, text: &mut text }.branch(&picture.root, "", "");
    text
}

struct Pen<'a> {
    at: Timestamp,
    look: Look,
    text: &'a mut String,
}

impl Pen<'_> {
    fn branch(&mut self, node: &NodeSnapshot, lead: &str, below: &str) {
        let (sign, tone) = sign(node);
        let kind = match node.kind {
            NodeKind::Supervisor | NodeKind::Dynamic => " (supervisor)",
            NodeKind::Worker => "",
        };
        let facts: String =
            self.facts(node).into_iter().map(|(tone, fact)| format!(", {}", self.ink(tone, &fact))).collect();
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{lead}{} {}{kind}{facts}", self.ink(tone, sign), clip(&node.name));
        for (place, child) in node.children.iter().enumerate() {
            let last = place + 1 == node.children.len();
            let (lead, next) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(child, &format!("{below}{lead}"), &format!("{below}{next}"));
        }
    }

    /// What there is to say of a node that is not as usual.
    fn facts(&self, node: &NodeSnapshot) -> Vec<(Tone, String)> {
        let mut facts = Vec::new();
        let age = self.at.since(node.since);
        if node.state != NodeState::Up {
            facts.push((Tone::Plain, format!("{}{}", state(node), self.lasts(age))));
        }
        match node.duty {
            Duty::Open => {}
            Duty::Paused => facts.push((Tone::Bad, "paused by an operator".to_owned())),
            Duty::Draining => facts.push((Tone::Bad, "draining".to_owned())),
        }
        if node.restarts > 0 {
            facts.push((Tone::Plain, format!("{} restarts", node.restarts)));
        }
        if let Some(breaker) = &node.standing.breaker
            && breaker.state != BreakerWord::Closed
        {
            let wait = breaker.wait.map_or_else(String::new, |wait| self.lasts(wait.0));
            let word = if breaker.state == BreakerWord::Open { "open" } else { "half open" };
            facts.push((Tone::Bad, format!("breaker {} {word}{wait}", clip(&breaker.guard))));
        }
        if let Some(left) = node.standing.budget_left {
            facts.push((Tone::Plain, format!("{left} left")));
        }
        if let Some(mailbox) = node.mailbox.filter(|mailbox| mailbox.queued > 0) {
            facts.push((Tone::Plain, format!("{}/{} in its mailbox", mailbox.queued, mailbox.max)));
        }
        for work in node.work.iter().take(WORKS_SHOWN) {
            facts.push((Tone::Quiet, format!("{}{}", clip(&work.what), self.lasts(work.lasts.0))));
        }
        if node.work.len() > WORKS_SHOWN {
            facts.push((Tone::Quiet, format!("{} more", node.work.len() - WORKS_SHOWN)));
        }
        if let Some(failure) = &node.last_failure {
            let ago = if self.look.ages { format!(" {} ago", span(self.at.since(failure.at))) } else { String::new() };
            facts.push((Tone::Bad, format!("last failure{ago}: {}: {}", failure.class, clip(&failure.reason))));
        }
        facts
    }

    fn lasts(&self, age: Duration) -> String {
        if self.look.ages { format!(" for {}", span(age)) } else { String::new() }
    }

    fn ink(&self, tone: Tone, text: &str) -> String {
        if self.look.colours { tone.paint(text) } else { text.to_owned() }
    }
}

fn sign(node: &NodeSnapshot) -> (&'static str, Tone) {
    match node.state {
        NodeState::Up if !node.duty.is_open() => ("◐", Tone::Bad),
        NodeState::Up => ("●", Tone::Good),
        NodeState::Waiting | NodeState::Starting => ("○", Tone::Plain),
        NodeState::Backoff | NodeState::Paused | NodeState::Parked => ("◌", Tone::Bad),
        NodeState::Stuck => ("✗", Tone::Bad),
        NodeState::Stopping | NodeState::Done => ("·", Tone::Quiet),
    }
}

fn state(node: &NodeSnapshot) -> &'static str {
    match (node.state, node.held_by) {
        (NodeState::Waiting, _) => "waiting",
        (NodeState::Backoff, _) => "in its back-off",
        (NodeState::Paused, Some(supervisor::Hold::Breaker)) => "held back by a breaker",
        (NodeState::Paused, Some(supervisor::Hold::Budget)) => "held back by a budget",
        (NodeState::Paused, None) => "held back",
        (NodeState::Parked, _) => "stopped until it is resumed",
        (NodeState::Starting, _) => "starting",
        (NodeState::Up, _) => "up",
        (NodeState::Stuck, _) => "stuck",
        (NodeState::Stopping, _) => "stopping",
        (NodeState::Done, _) => "done",
    }
}

/// A length of time for people, to one unit.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picture(at: i64) -> TreeSnapshot {
        let node = json!({
            "name": "writer", "kind": "worker", "state": "up", "generation": 3, "restarts": 2, "since": 0,
            "duty": "draining", "mailbox": { "queued": 3, "max": 256 },
            "work": [{ "what": "draft\u{1b}[2J", "lasts": "75s" }, { "what": "b", "lasts": "1s" }, { "what": "c", "lasts": "0s" }],
            "breaker": { "guard": "llm/x", "state": "open", "wait": "9s" }, "budget_left": 500_000_000,
            "last_failure": { "class": "hung", "reason": "no\nword", "at": 0 }, "children": [],
        });
        let stopped = json!({
            "name": "reviewer", "kind": "worker", "state": "parked", "generation": 1, "restarts": 0, "since": 0,
            "last_failure": null, "mailbox": null, "children": [],
        });
        let root = json!({
            "name": "agents", "kind": "supervisor", "state": "up", "generation": 1, "restarts": 0, "since": 0,
            "last_failure": null, "mailbox": null, "children": [node, stopped],
        });
        serde_json::from_value(json!({ "at": at, "root": root })).unwrap()
    }

    #[test]
    fn a_line_says_all_that_is_not_as_usual() {
        let drawn = tree(&picture(7_200_000_000), Look { colours: false, ages: true });
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "● agents (supervisor)");
        assert_eq!(
            lines[1],
            "├─ ◐ writer, draining, 2 restarts, breaker llm/x open for 9 s, $0.50 left, 3/256 in its mailbox, \
             draft [2J for 1 min, b for 1 s, 1 more, last failure 2 h ago: hung: no word"
        );
        assert_eq!(lines[2], "└─ ◌ reviewer, stopped until it is resumed for 2 h");
    }

    #[test]
    fn without_ages_time_changes_nothing_and_colours_are_only_painted_when_asked_for() {
        let plain = Look { colours: false, ages: false };
        assert_eq!(tree(&picture(1), plain), tree(&picture(90_000_000), plain));
        assert!(!tree(&picture(1), plain).contains('\u{1b}'));
        assert!(tree(&picture(1), Look { colours: true, ages: false }).contains("\u{1b}[32m●"));
    }
}
