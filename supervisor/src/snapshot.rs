//! The tree's live picture, as plain data.
//!
//! Invariant: a snapshot is a copy; holding one holds nothing of the tree.

use std::collections::BTreeMap;

use actors::mailbox::Fill;
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::span::Span;
use serde::{Deserialize, Serialize};

use crate::prospects::{BreakerWord, Hold, Standing};

/// The whole tree at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeSnapshot {
    /// When the picture was taken.
    pub at: Timestamp,
    /// The root supervisor.
    pub root: NodeSnapshot,
}

impl TreeSnapshot {
    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<&NodeSnapshot> {
        self.root.find(name)
    }
}

/// One node of the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Its name, unique in the tree.
    pub name: String,
    /// Supervisor or worker.
    pub kind: NodeKind,
    /// Where it is in its life.
    pub state: NodeState,
    /// Which of its lives this is, from 1; 0 before the first start.
    pub generation: u64,
    /// How often it was restarted because it failed, over the tree's whole life.
    pub restarts: u64,
    /// What its restart is put off by, while it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Hold>,
    /// Whether it takes new work, as an operator said.
    #[serde(default, skip_serializing_if = "Duty::is_open")]
    pub duty: Duty,
    /// Its latest failure, if it ever failed.
    pub last_failure: Option<LastFailure>,
    /// Since when it has been in this state.
    pub since: Timestamp,
    /// Its mailbox, where its factory gave a gauge.
    pub mailbox: Option<Depth>,
    /// What it is at, the eldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<Work>,
    /// The breaker of what it calls and what is left of its budget.
    #[serde(flatten)]
    pub standing: Standing,
    /// Its children in start order.
    pub children: Vec<NodeSnapshot>,
    /// How many more children it has in which state, when not all are shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<NodeState, usize>,
}

impl NodeSnapshot {
    /// A tree of which nothing is known.
    pub(crate) fn absent(since: Timestamp) -> Self {
        Self {
            name: String::new(),
            kind: NodeKind::Supervisor,
            state: NodeState::Waiting,
            generation: 0,
            restarts: 0,
            held_by: None,
            duty: Duty::Open,
            last_failure: None,
            since,
            mailbox: None,
            work: Vec::new(),
            standing: Standing::default(),
            children: Vec::new(),
            more: BTreeMap::new(),
        }
    }

    /// The same to so many levels below it, with at most `children_max` children of each node; the others
    /// are counted. Those that are not as usual come before those that are.
    #[must_use]
    pub fn trimmed(mut self, depth: usize, children_max: usize) -> Self {
        let places = if depth == 0 { 0 } else { children_max };
        let all = std::mem::take(&mut self.children);
        let odd = all.iter().filter(|child| !child.is_as_usual()).count();
        let (mut odd_left, mut usual_left) = (places.min(odd), places.saturating_sub(odd));
        for child in all {
            let left = if child.is_as_usual() { &mut usual_left } else { &mut odd_left };
            if *left > 0 {
                *left -= 1;
                self.children.push(child.trimmed(depth - 1, children_max));
            } else {
                *self.more.entry(child.state).or_default() += 1;
            }
        }
        self
    }

    /// Whether there is nothing about it, and nothing below it, that an operator may want to look at.
    fn is_as_usual(&self) -> bool {
        let breaker = self.standing.breaker.as_ref();
        self.state == NodeState::Up
            && self.duty.is_open()
            && breaker.is_none_or(|breaker| breaker.state == BreakerWord::Closed)
            && self.last_failure.is_none()
            && self.children.iter().all(Self::is_as_usual)
    }

    /// This node and all below it: each before its children, those in start order.
    pub fn nodes(&self) -> impl Iterator<Item = &Self> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let node = left.pop()?;
            left.extend(node.children.iter().rev());
            Some(node)
        })
    }

    /// This node or the one of this name below it.
    pub fn find(&self, name: &str) -> Option<&NodeSnapshot> {
        self.nodes().find(|node| node.name == name)
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Keeps its declared children.
    Supervisor,
    /// Keeps children that come and go at run time.
    Dynamic,
    /// Does work.
    Worker,
}

/// Where a node is in its life. Every node is in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Down; starts when those before it are up.
    Waiting,
    /// Down; starts when its back-off is over.
    Backoff,
    /// Down; starts when the breaker or the budget that holds it back does so no more.
    Paused,
    /// Down; starts when an operator resumes it.
    Parked,
    /// Its factory runs.
    Starting,
    /// It works.
    Up,
    /// It was killed and runs on: its code blocks, and it ends when that returns.
    Stuck,
    /// It is being stopped, or about to be.
    Stopping,
    /// Down for good.
    Done,
}

impl NodeState {
    /// Whether it is down and does not come back by itself.
    pub(crate) const fn is_down(self) -> bool {
        matches!(self, Self::Parked | Self::Done)
    }

    /// As it is written in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Backoff => "backoff",
            Self::Paused => "paused",
            Self::Parked => "parked",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Stuck => "stuck",
            Self::Stopping => "stopping",
            Self::Done => "done",
        }
    }
}

/// Whether a node takes new work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// It does.
    #[default]
    Open,
    /// It does not until it is resumed; what is under way goes on.
    Paused,
    /// It does not; it is stopped when what is under way is finished.
    Draining,
}

impl Duty {
    /// Whether nothing is said against it.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// Something that a node is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// A step, or a word for what it is doing.
    pub what: String,
    /// For how long so far; of a word, since it last got on.
    pub lasts: Span,
}

/// A node's latest failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// Its class.
    pub class: FailureClass,
    /// What happened, for people.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How full a mailbox is, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// Messages waiting.
    pub queued: usize,
    /// Messages that may wait; what becomes of one more is policy.
    pub max: usize,
    /// Messages that were refused at the bound.
    #[serde(default)]
    pub refused: u64,
    /// Messages that were dropped for others at the bound.
    #[serde(default)]
    pub dropped: u64,
}

impl From<Fill> for Depth {
    fn from(fill: Fill) -> Self {
        let Fill { depth, bound, refused, dropped } = fill;
        Self { queued: depth, max: bound, refused, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: NodeState, children: Vec<NodeSnapshot>) -> NodeSnapshot {
        NodeSnapshot { name: name.to_owned(), state, children, ..NodeSnapshot::absent(Timestamp::EPOCH) }
    }

    fn runs(odd: &[usize]) -> NodeSnapshot {
        let state = |at| if odd.contains(&at) { NodeState::Backoff } else { NodeState::Up };
        let runs = (0..10_000).map(|at| node(&format!("run/{at}"), state(at), Vec::new())).collect();
        node("root", NodeState::Up, vec![node("runs", NodeState::Up, runs)])
    }

    #[test]
    fn of_many_children_the_odd_ones_are_shown_first_and_the_rest_is_counted() {
        let trimmed = runs(&[1, 7_000]).trimmed(5, 4);
        let runs = &trimmed.children[0];
        let names: Vec<_> = runs.children.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["run/0", "run/1", "run/2", "run/7000"]);
        assert_eq!(runs.more, [(NodeState::Up, 9_996)].into());
        let many: Vec<usize> = (0..50).collect();
        let trimmed = self::runs(&many).trimmed(5, 4);
        assert_eq!(trimmed.children[0].more, [(NodeState::Up, 9_950), (NodeState::Backoff, 46)].into());
    }

    #[test]
    fn what_is_too_deep_is_counted() {
        let trimmed = runs(&[3]).trimmed(1, 100);
        assert_eq!(trimmed.children[0].children, []);
        assert_eq!(trimmed.children[0].more.values().sum::<usize>(), 10_000);
        assert_eq!(runs(&[]).trimmed(0, 100).more, [(NodeState::Up, 1)].into());
        let whole = node("root", NodeState::Up, vec![node("a", NodeState::Done, Vec::new())]);
        assert_eq!(whole.clone().trimmed(usize::MAX, usize::MAX), whole);
    }
}
