//! The tree on a terminal, one node a line. Invariant: a pure function of the picture; with a look that
//! shows no ages, two pictures of which nothing but time sets them apart are drawn the same.

use std::fmt::Write;
use std::time::Duration;

use policies::instant::Timestamp;
use supervisor::{BreakerWord, Depth, Duty, Hold, NodeKind, NodeSnapshot, NodeState, TreeSnapshot};

use super::lines::{Tone, clip};
use super::screen::Screen;

/// The most works of a node that are named on its line.
const WORKS_SHOWN: usize = 2;

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// In colours.
    pub colours: bool,
    /// With how long things last.
    pub ages: bool,
    /// The most characters of a line; what there is to say of a node goes on below it then.
    pub width: Option<usize>,
}

/// No terminal is taken to be narrower than this, in characters.
const WIDTH_MIN: usize = 20;

/// The children of one node that are shown at most, unless it is said otherwise.
pub const CHILDREN_SHOWN: usize = 20;

/// The tree at a glance, as wide as the terminal is.
#[must_use]
pub fn overview(picture: TreeSnapshot, colours: bool) -> String {
    let TreeSnapshot { at, root } = picture;
    let picture = TreeSnapshot { at, root: root.trimmed(usize::MAX, CHILDREN_SHOWN) };
    tree(&picture, Look { colours, ages: false, width: Screen::now().map(|screen| screen.columns) })
}

/// The tree, one node a line or more.
#[must_use]
pub fn tree(picture: &TreeSnapshot, look: Look) -> String {
    let mut text = String::new();
    Pen { at: picture.at, look, text: &mut text }.branch(&picture.root, "", "");
    text
}

/// Something to say of a node.
struct Fact {
    tone: Tone,
    fact: String,
    /// For how long, if that is known.
    lasts: String,
}

impl Fact {
    fn new(tone: Tone, fact: impl Into<String>) -> Self {
        Self { tone, fact: fact.into(), lasts: String::new() }
    }
}

struct Pen<'a> {
    at: Timestamp,
    look: Look,
    text: &'a mut String,
}

impl Pen<'_> {
    fn branch(&mut self, node: &NodeSnapshot, lead: &str, below: &str) {
        let has_more = !node.more.is_empty();
        let under = if has_more || !node.children.is_empty() { "│    " } else { "     " };
        self.node(node, lead, &format!("{below}{under}"));
        for (place, child) in node.children.iter().enumerate() {
            let is_last = place + 1 == node.children.len() && !has_more;
            let (lead, next) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(child, &format!("{below}{lead}"), &format!("{below}{next}"));
        }
        if has_more {
            let more: usize = node.more.values().sum();
            let each: Vec<String> =
                node.more.iter().map(|(state, count)| format!("{count} {}", word(*state, None))).collect();
            let told = format!("… {more} more: {}", each.join(", "));
            let lead = format!("{below}└─ ");
            let told = shortened(&told, self.width().saturating_sub(count(&lead)));
            self.write(&format!("{lead}{}", self.ink(Tone::Quiet, &told)));
        }
    }

    /// A node with what there is to say of it, which goes on under it where the line is full.
    fn node(&mut self, node: &NodeSnapshot, lead: &str, under: &str) {
        let (sign, tone) = sign(node);
        let kind = match node.kind {
            NodeKind::Supervisor | NodeKind::Dynamic => " (supervisor)",
            NodeKind::Worker => "",
        };
        let width = self.width();
        let name = shortened(&format!("{}{kind}", clip(&node.name)), width.saturating_sub(count(lead) + 2));
        let mut at = count(lead) + 2 + count(&name);
        let mut line = format!("{lead}{} {name}", self.ink(tone, sign));
        for Fact { tone, fact, lasts } in self.facts(node) {
            // How long something lasts is worth more than the end of its name.
            let room = width.saturating_sub(count(under) + 1 + count(&lasts));
            let fact = format!("{}{lasts}", shortened(&fact, room));
            // With the comma that may come after it.
            if at + 2 + count(&fact) + 1 > width {
                self.write(&format!("{line},"));
                line = under.to_owned();
                at = count(under);
            } else {
                line.push_str(", ");
                at += 2;
            }
            at += count(&fact);
            line.push_str(&self.ink(tone, &fact));
        }
        self.write(&line);
    }

    fn width(&self) -> usize {
        self.look.width.map_or(usize::MAX, |width| width.max(WIDTH_MIN))
    }

    fn write(&mut self, line: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// What there is to say of a node that is not as usual.
    fn facts(&self, node: &NodeSnapshot) -> Vec<Fact> {
        let mut facts = Vec::new();
        if node.state != NodeState::Up {
            let (tone, fact) = (sign(node).1, word(node.state, node.held_by).to_owned());
            facts.push(Fact { tone, fact, lasts: self.lasts(self.at.since(node.since)) });
        }
        match node.duty {
            Duty::Open => {}
            Duty::Paused => facts.push(Fact::new(Tone::Warn, "paused by an operator")),
            Duty::Draining => facts.push(Fact::new(Tone::Warn, "draining")),
        }
        if node.restarts > 0 {
            let restarts = if node.restarts == 1 { "restart" } else { "restarts" };
            facts.push(Fact::new(Tone::Plain, format!("{} {restarts}", node.restarts)));
        }
        if let Some(breaker) = &node.standing.breaker
            && breaker.state != BreakerWord::Closed
        {
            let (tone, word) =
                if breaker.state == BreakerWord::Open { (Tone::Bad, "open") } else { (Tone::Warn, "half open") };
            let lasts = breaker.wait.map_or_else(String::new, |wait| self.lasts(wait.0));
            facts.push(Fact { tone, fact: format!("breaker {} {word}", clip(&breaker.guard)), lasts });
        }
        if let Some(left) = node.standing.budget_left {
            facts.push(Fact::new(Tone::Plain, format!("{left} left")));
        }
        facts.extend(node.mailbox.iter().flat_map(crowd));
        for work in node.work.iter().take(WORKS_SHOWN) {
            facts.push(Fact { tone: Tone::Quiet, fact: clip(&work.what), lasts: self.lasts(work.lasts.0) });
        }
        if node.work.len() > WORKS_SHOWN {
            facts.push(Fact::new(Tone::Quiet, format!("{} more", node.work.len() - WORKS_SHOWN)));
        }
        if let Some(failure) = &node.last_failure {
            let ago = if self.look.ages { format!(" {} ago", span(self.at.since(failure.at))) } else { String::new() };
            let fact = format!("last failure{ago}: {}: {}", failure.class, clip(&failure.reason));
            facts.push(Fact::new(Tone::Bad, fact));
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
        NodeState::Up if !node.duty.is_open() => ("◐", Tone::Warn),
        NodeState::Up => ("●", Tone::Good),
        NodeState::Waiting | NodeState::Starting => ("○", Tone::Plain),
        NodeState::Backoff | NodeState::Paused | NodeState::Parked => ("◌", Tone::Warn),
        NodeState::Stuck => ("✗", Tone::Bad),
        NodeState::Stopping | NodeState::Done => ("·", Tone::Quiet),
    }
}

fn word(state: NodeState, held_by: Option<Hold>) -> &'static str {
    match (state, held_by) {
        (NodeState::Waiting, _) => "waiting",
        (NodeState::Backoff, _) => "in its back-off",
        (NodeState::Paused, Some(Hold::Breaker)) => "held back by a breaker",
        (NodeState::Paused, Some(Hold::Budget)) => "held back by a budget",
        (NodeState::Paused, None) => "held back",
        (NodeState::Parked, _) => "stopped until it is resumed",
        (NodeState::Starting, _) => "starting",
        (NodeState::Up, _) => "up",
        (NodeState::Stuck, _) => "stuck",
        (NodeState::Stopping, _) => "stopping",
        (NodeState::Done, _) => "done",
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// At most so many characters; where some are missing, the last one says so.
fn shortened(text: &str, max: usize) -> String {
    if count(text) <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
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

/// What there is to say of a mailbox that is not empty, or was full.
fn crowd(mailbox: &Depth) -> impl Iterator<Item = Fact> + use<> {
    let Depth { queued, max, refused, dropped } = *mailbox;
    let facts = [
        (queued as u64, Tone::Plain, format!("{queued}/{max} in its mailbox")),
        (refused, Tone::Bad, format!("{refused} refused")),
        (dropped, Tone::Bad, format!("{dropped} dropped")),
    ];
    facts.into_iter().filter(|(count, ..)| *count > 0).map(|(_, tone, fact)| Fact::new(tone, fact))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAIN: Look = Look { colours: false, ages: false, width: None };

    fn picture(at: i64) -> TreeSnapshot {
        let node = json!({
            "name": "writer", "kind": "worker", "state": "up", "generation": 3, "restarts": 2, "since": 0,
            "duty": "draining", "mailbox": { "queued": 3, "max": 256, "refused": 4 },
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
        let drawn = tree(&picture(7_200_000_000), Look { ages: true, ..PLAIN });
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "● agents (supervisor)");
        assert_eq!(
            lines[1],
            "├─ ◐ writer, draining, 2 restarts, breaker llm/x open for 9 s, $0.50 left, 3/256 in its mailbox, 4 refused, \
             draft [2J for 1 min, b for 1 s, 1 more, last failure 2 h ago: hung: no word"
        );
        assert_eq!(lines[2], "└─ ◌ reviewer, stopped until it is resumed for 2 h");
    }

    #[test]
    fn without_ages_time_changes_nothing_and_colours_are_only_painted_when_asked_for() {
        let plain = PLAIN;
        assert_eq!(tree(&picture(1), plain), tree(&picture(90_000_000), plain));
        assert!(!tree(&picture(1), plain).contains('\u{1b}'));
        assert!(tree(&picture(1), Look { colours: true, ..PLAIN }).contains("\u{1b}[32m●"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_is_lost_of_what_fits_on_one() {
        let drawn = tree(&picture(7_200_000_000), Look { ages: true, width: Some(44), ..PLAIN });
        assert_eq!(
            drawn,
            "● agents (supervisor)\n\
             ├─ ◐ writer, draining, 2 restarts,\n\
             │       breaker llm/x open for 9 s,\n\
             │       $0.50 left, 3/256 in its mailbox,\n\
             │       4 refused, draft [2J for 1 min,\n\
             │       b for 1 s, 1 more,\n\
             │       last failure 2 h ago: hung: no word\n\
             └─ ◌ reviewer,\n        \
             stopped until it is resumed for 2 h\n"
        );
        for width in 0..120 {
            let drawn = tree(&picture(0), Look { ages: true, width: Some(width), ..PLAIN });
            assert!(drawn.lines().all(|line| line.chars().count() <= width.max(WIDTH_MIN)), "{width}:\n{drawn}");
        }
    }

    #[test]
    fn how_long_a_work_lasts_is_shown_however_long_its_name_is() {
        let mut picture = picture(0);
        picture.root.children[0].work.truncate(1);
        picture.root.children[0].work[0].what = "posts[1]/draft#1/write of run e8400b0452c38ceb13c5".to_owned();
        let drawn = tree(&picture, Look { ages: true, width: Some(44), ..PLAIN });
        assert!(drawn.contains("\n│       posts[1]/draft#1/write o… for 1 min,\n"), "{drawn}");
    }

    #[test]
    fn who_is_not_shown_is_counted() {
        let mut picture = picture(0);
        picture.root = picture.root.trimmed(1, 1);
        picture.root.more.insert(NodeState::Backoff, 7);
        let drawn = tree(&picture, PLAIN);
        assert!(
            drawn.contains("├─ ◐ writer")
                && drawn.ends_with("└─ … 8 more: 7 in its back-off, 1 stopped until it is resumed\n"),
            "{drawn}"
        );
    }
}
