//! The one record of every node: its actor, and what the live picture shows of it.
//!
//! Invariant: the lock is held for look-ups only, never across an await; whoever finds a
//! supervisor dead can find here every actor that was below it.

mod census;
mod reshape;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actors::world::World;
use policies::document::closest;
use policies::instant::Timestamp;
use policies::span::Span;
use ractor::ActorCell;
use tokio::sync::Notify;

use crate::books::History;
use crate::child::Gauge;
use crate::gate::Gate;
use crate::prospects::{Hold, Standing};
use crate::snapshot::{Duty, LastFailure, NodeKind, NodeSnapshot, NodeState, Work};
use crate::stop::Forced;

/// A node of the tree; a later one has a greater id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u64);

#[cfg(test)]
impl NodeId {
    pub(crate) fn of(number: u64) -> Self {
        Self(number)
    }
}

/// A node's place among its siblings: they start in the order of their ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) rank: u64,
    pub(crate) id: NodeId,
}

/// The name is in use already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameTaken;

/// What a supervisor's books say of a child, for the picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) state: NodeState,
    pub(crate) generation: u64,
    pub(crate) restarts: u64,
    /// What its start is put off by.
    pub(crate) held_by: Option<Hold>,
    /// An operator stopped it.
    pub(crate) stopped: bool,
    pub(crate) duty: Duty,
    /// Whether new work may begin, as far as its own supervisor knows.
    pub(crate) takes_work: bool,
}

impl View {
    /// Whether an operator said that it is to begin nothing.
    const fn is_held(&self) -> bool {
        self.stopped || !self.duty.is_open()
    }

    /// What its gate and those below it depend on.
    const fn turns(&self) -> (bool, bool, bool) {
        (self.takes_work, self.is_held(), self.state.is_down())
    }

    /// A node that nobody said anything of, in this state.
    pub(crate) fn of(state: NodeState, generation: u64) -> Self {
        let (stopped, duty, takes_work) = (false, Duty::Open, true);
        Self { state, generation, restarts: 0, held_by: None, stopped, duty, takes_work }
    }
}

struct Entry {
    name: String,
    kind: NodeKind,
    parent: Option<NodeId>,
    rank: u64,
    children: BTreeSet<Seat>,
    view: View,
    last_failure: Option<LastFailure>,
    since: Timestamp,
    gauge: Arc<OnceLock<Gauge>>,
    /// Open while this node and all above it take work.
    gate: Gate,
    cell: Option<ActorCell>,
    /// Nodes that had its name before it, and may not have ended yet.
    predecessors: Vec<NodeId>,
}

#[derive(Default)]
struct Nodes {
    entries: BTreeMap<NodeId, Entry>,
    /// The latest node of each name.
    names: BTreeMap<String, NodeId>,
    /// The gates of declared workers, those that the tree has no more and may have again included.
    gates: BTreeMap<String, Gate>,
    added: u64,
    forced: Vec<Forced>,
}

/// Shared by every supervisor of one tree.
pub(crate) struct Board {
    world: World,
    nodes: Mutex<Nodes>,
    changed: Notify,
}

impl Board {
    pub(crate) fn new(world: World) -> Self {
        Self { world, nodes: Mutex::default(), changed: Notify::new() }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a node after its elder siblings.
    pub(crate) fn add(&self, parent: Option<NodeId>, name: &str, kind: NodeKind) -> Result<NodeId, NameTaken> {
        let since = self.world.now();
        let nodes = &mut *self.nodes();
        if nodes.names.contains_key(name) {
            return Err(NameTaken);
        }
        let id = nodes.add(parent, name, kind, since);
        self.changed.notify_one();
        Ok(id)
    }

    /// Removes a node and all below it.
    pub(crate) fn remove(&self, id: NodeId) {
        let nodes = &mut *self.nodes();
        for id in nodes.below(id).into_iter().rev().chain([id]) {
            nodes.remove(id);
        }
        self.changed.notify_one();
    }

    /// What a node has been through, and what an operator said of it.
    pub(crate) fn history(&self, id: NodeId) -> History {
        let nodes = self.nodes();
        nodes.entries.get(&id).map_or_else(History::default, |entry| {
            let View { generation, restarts, stopped, duty, .. } = entry.view;
            // What was to drain has ended with its supervisor.
            let drained = duty == Duty::Draining;
            let duty = if drained { Duty::Open } else { duty };
            History { generation, restarts, stopped: stopped || drained, duty }
        })
    }

    pub(crate) fn record(&self, id: NodeId, view: View) {
        let now = self.world.now();
        let nodes = &mut *self.nodes();
        let Some(entry) = nodes.entries.get_mut(&id).filter(|entry| entry.view != view) else { return };
        let turns = entry.view.turns() != view.turns();
        if entry.view.state != view.state || entry.view.generation != view.generation {
            entry.since = now;
        }
        entry.view = view;
        if turns {
            nodes.turn_gates(id);
        }
        self.changed.notify_one();
    }

    pub(crate) fn record_failure(&self, id: NodeId, failure: &crate::Failure) {
        let at = self.world.now();
        if let Some(entry) = self.nodes().entries.get_mut(&id) {
            let (class, reason) = (failure.class, failure.message.clone());
            entry.last_failure = Some(LastFailure { class, reason, at });
            self.changed.notify_one();
        }
    }

    /// Notes the actor of a node's current generation.
    pub(crate) fn set_cell(&self, id: NodeId, cell: ActorCell, gauge: Arc<OnceLock<Gauge>>) {
        if let Some(entry) = self.nodes().entries.get_mut(&id) {
            entry.cell = Some(cell);
            entry.gauge = gauge;
        }
    }

    /// Forgets the actor of a generation that has ended.
    pub(crate) fn clear_cell(&self, id: NodeId) {
        if let Some(entry) = self.nodes().entries.get_mut(&id) {
            entry.cell = None;
            entry.gauge = Arc::default();
        }
    }

    pub(crate) fn cell(&self, id: NodeId) -> Option<ActorCell> {
        self.nodes().entries.get(&id)?.cell.clone()
    }

    /// The node of this name, its kind, and its supervisor's actor.
    pub(crate) fn find(&self, name: &str) -> Option<(NodeId, NodeKind, Option<ActorCell>)> {
        let nodes = self.nodes();
        let id = *nodes.names.get(name)?;
        let entry = nodes.entries.get(&id)?;
        let supervisor = entry.parent.and_then(|parent| nodes.entries.get(&parent)?.cell.clone());
        Some((id, entry.kind, supervisor))
    }

    /// The name of the node that is meant: its own, or that behind the names of some that are above it,
    /// as in `agents.writer`; else the nearest name that there is.
    pub(crate) fn meant(&self, path: &str) -> Result<String, Option<String>> {
        let nodes = self.nodes();
        if nodes.names.contains_key(path) {
            return Ok(path.to_owned());
        }
        let (above, name) = path.rsplit_once('.').map_or(("", path), |(above, name)| (above, name));
        let is_below = |id: &NodeId| above.rsplit('.').all(|part| nodes.names_above(*id).any(|name| name == part));
        match nodes.names.get(name).filter(|id| is_below(id)) {
            Some(_) => Ok(name.to_owned()),
            None => Err(closest(name, nodes.names.keys().map(String::as_str)).map(str::to_owned)),
        }
    }

    /// The node above all others: the first that was added.
    pub(crate) fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// The gate of a node.
    pub(crate) fn gate(&self, id: NodeId) -> Gate {
        self.nodes().entries.get(&id).map_or_else(Gate::default, |entry| entry.gate.clone())
    }

    /// Whether this node and all below it have nothing under way and no message waiting.
    pub(crate) fn is_quiet(&self, id: NodeId) -> bool {
        let nodes = self.nodes();
        let mut all = nodes.below(id);
        all.push(id);
        all.iter().filter_map(|id| nodes.entries.get(id)).all(|entry| {
            let queued = entry.gauge.get().map_or(0, |gauge| gauge().queued);
            queued == 0 && entry.gate.is_idle()
        })
    }

    /// Kills every actor below a supervisor that has ended, which ractor does not do for
    /// those that were draining. Does not wait; returns the actors killed.
    pub(crate) fn kill_below(&self, id: NodeId) -> Vec<ActorCell> {
        let now = self.world.now();
        let nodes = &mut *self.nodes();
        let mut killed = Vec::new();
        for id in nodes.below(id) {
            let Some(entry) = nodes.entries.get_mut(&id) else { continue };
            killed.extend(entry.cell.clone());
            if entry.view.state != NodeState::Done {
                entry.view.state = NodeState::Done;
                entry.since = now;
            }
        }
        killed.iter().for_each(ActorCell::kill);
        self.changed.notify_one();
        killed
    }

    /// Notes a child that did not stop by itself.
    pub(crate) fn note_forced(&self, forced: Forced) {
        self.nodes().forced.push(forced);
    }

    /// Takes what was noted since the last call.
    pub(crate) fn take_forced(&self) -> Vec<Forced> {
        std::mem::take(&mut self.nodes().forced)
    }

    /// Resolves when something has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Every node, each before its children, with its parent.
    pub(crate) fn order(&self) -> Vec<(NodeId, Option<NodeId>)> {
        let nodes = self.nodes();
        let mut order = Vec::with_capacity(nodes.entries.len());
        let mut open: Vec<_> = nodes.entries.keys().next().map(|root| (*root, None)).into_iter().collect();
        while let Some((id, parent)) = open.pop() {
            order.push((id, parent));
            if let Some(entry) = nodes.entries.get(&id) {
                open.extend(entry.children.iter().rev().map(|child| (child.id, Some(id))));
            }
        }
        order
    }

    /// These nodes without their children, as they are now; those that are gone are left out.
    pub(crate) fn draw(&self, part: &[(NodeId, Option<NodeId>)]) -> Vec<(NodeId, Option<NodeId>, NodeSnapshot)> {
        let nodes = self.nodes();
        part.iter().filter_map(|(id, parent)| Some((*id, *parent, nodes.entries.get(id)?.draw()))).collect()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.now()
    }
}

impl Entry {
    fn draw(&self) -> NodeSnapshot {
        NodeSnapshot {
            name: self.name.clone(),
            kind: self.kind,
            state: self.view.state,
            generation: self.view.generation,
            restarts: self.view.restarts,
            held_by: self.view.held_by,
            duty: self.view.duty,
            last_failure: self.last_failure.clone(),
            since: self.since,
            mailbox: self.gauge.get().map(|gauge| gauge()),
            work: self.gate.shown().into_iter().map(|(what, lasts)| Work { what, lasts: Span(lasts) }).collect(),
            standing: Standing::default(),
            children: Vec::new(),
            more: BTreeMap::new(),
        }
    }
}

impl Nodes {
    fn add(&mut self, parent: Option<NodeId>, name: &str, kind: NodeKind, since: Timestamp) -> NodeId {
        let id = NodeId(self.added);
        let rank = self.added;
        self.added += 1;
        self.names.insert(name.to_owned(), id);
        let above = parent.and_then(|parent| self.entries.get_mut(&parent));
        let is_declared = above.as_ref().is_none_or(|above| above.kind == NodeKind::Supervisor);
        // What is below one that goes down is done, until that one comes back.
        let is_down = |above: &Entry| above.view.state.is_down() || above.view.state == NodeState::Stopping;
        let state =
            if above.as_ref().is_some_and(|above| is_down(above)) { NodeState::Done } else { NodeState::Waiting };
        let is_open = above.is_none_or(|above| {
            above.children.insert(Seat { rank, id });
            above.gate.is_open()
        });
        let gate = match kind {
            NodeKind::Worker if is_declared => self.gates.entry(name.to_owned()).or_default().clone(),
            _ => Gate::default(),
        };
        gate.set_open(is_open);
        gate.set_down(false);
        let entry = Entry {
            name: name.to_owned(),
            kind,
            parent,
            rank,
            children: BTreeSet::new(),
            view: View::of(state, 0),
            last_failure: None,
            since,
            gauge: Arc::default(),
            gate,
            cell: None,
            predecessors: Vec::new(),
        };
        self.entries.insert(id, entry);
        id
    }

    fn remove(&mut self, id: NodeId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(parent) = entry.parent.and_then(|parent| self.entries.get_mut(&parent)) {
            parent.children.remove(&Seat { rank: entry.rank, id });
        }
        if self.names.get(&entry.name) != Some(&id) {
            return;
        }
        match entry.predecessors.iter().rev().find(|old| self.entries.contains_key(old)) {
            Some(old) => self.names.insert(entry.name, *old),
            None => self.names.remove(&entry.name),
        };
        entry.gate.set_open(false);
        entry.gate.set_down(false);
    }

    /// Opens and closes the gates from this node downwards, as those above it and its own say, and notes
    /// which of them no operator closed.
    fn turn_gates(&mut self, id: NodeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(entry) = self.entries.get(&id) else { continue };
            // Whoever leaves has no say about the gate that its heir has of it.
            if self.names.get(&entry.name) != Some(&id) {
                continue;
            }
            let above = entry.parent.and_then(|parent| self.entries.get(&parent));
            entry.gate.set_open(entry.view.takes_work && above.is_none_or(|above| above.gate.is_open()));
            let held_above = above.is_some_and(|above| !above.gate.is_open() && !above.gate.is_down());
            let down = entry.view.state.is_down() || above.is_some_and(|above| above.gate.is_down());
            entry.gate.set_down(down && !entry.view.is_held() && !held_above);
            open.extend(entry.children.iter().rev().map(|seat| seat.id));
        }
    }

    /// The names of a node's supervisor, of that one's, and so on.
    fn names_above(&self, id: NodeId) -> impl Iterator<Item = &str> {
        let mut at = self.entries.get(&id);
        std::iter::from_fn(move || {
            at = at?.parent.and_then(|parent| self.entries.get(&parent));
            at.map(|entry| entry.name.as_str())
        })
    }

    /// Every node below this one, elder first.
    fn below(&self, id: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if let Some(entry) = self.entries.get(&id) {
                found.extend(entry.children.iter().map(|seat| seat.id));
                open.extend(entry.children.iter().map(|seat| seat.id));
            }
        }
        found
    }
}
