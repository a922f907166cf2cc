//! The tree as the supervisors need it: the policy's nodes, each with its place on the
//! board and its factory.
//!
//! Invariant: a plan is complete; whatever a policy lacks is refused here, before anything
//! is started.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use policies::intensity::Intensity;
use policies::reaction::Reactions;
use policies::reshape::{Fate, Reshaping};
use policies::tree::{NodePolicy, TreePolicy, WorkerPolicy};

use crate::board::{Board, NodeId};
use crate::books::{Regime, Rules};
use crate::child::Factory;
use crate::snapshot::NodeKind;
use crate::stop::KILL_WAIT;
use crate::tree::TreeError;

/// What a supervisor needs beyond its children's time to stop.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(1);

/// A supervisor and what is below it.
pub(crate) struct SupervisorPlan {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) regime: Regime,
    pub(crate) intensity: Intensity,
    /// In start order.
    pub(crate) children: Vec<Arc<ChildPlan>>,
    /// For children that come at run time.
    pub(crate) template: Option<Template>,
}

/// A child of a supervisor.
pub(crate) struct ChildPlan {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) rules: Rules,
    /// How long it may take to stop before it is killed.
    pub(crate) shutdown: Duration,
    /// How long a kill for a hang may take before it is reported as stuck.
    pub(crate) kill: Duration,
    pub(crate) maker: Maker,
}

/// What starts a child.
#[derive(Clone)]
pub(crate) enum Maker {
    Worker(Factory),
    Supervisor(Arc<SupervisorPlan>),
}

/// What the children of a dynamic supervisor have in common.
pub(crate) struct Template {
    pub(crate) limit: usize,
    pub(crate) rules: Rules,
    pub(crate) shutdown: Duration,
    pub(crate) kill: Duration,
}

/// Lays out the tree on the board, in start order.
pub(crate) fn plan(
    policy: &TreePolicy,
    factories: &BTreeMap<String, Factory>,
    board: &Board,
) -> Result<Arc<SupervisorPlan>, TreeError> {
    let place = |name: &str, parent: Option<NodeId>, kind: NodeKind| {
        // Two places for one node would make a cycle, or a child with two supervisors.
        board.add(parent, name, kind).map_err(|_| TreeError::TwoPlaces { name: name.to_owned() })
    };
    Planner { policy, factories, place: &place }.supervisor(&policy.root, None)
}

/// The tree that it becomes under another policy: who stays is where it is on the board, and all others
/// have places of their own there. The policy must have been [`rehearse`]d.
pub(crate) fn replan(
    policy: &TreePolicy,
    factories: &BTreeMap<String, Factory>,
    board: &Board,
    reshaping: &Reshaping,
) -> Result<Arc<SupervisorPlan>, TreeError> {
    let place = |name: &str, parent: Option<NodeId>, kind: NodeKind| {
        let stays = board.find(name).filter(|_| reshaping.stays(name)).map(|(node, ..)| node);
        let moves = reshaping.fate(name) == Some(Fate::Moves);
        Ok(stays.unwrap_or_else(|| board.succeed(parent, name, kind, moves)))
    };
    Planner { policy, factories, place: &place }.supervisor(&policy.root, None)
}

/// Whether a tree can be planned like this, without a place for anything.
pub(crate) fn rehearse(
    policy: &TreePolicy,
    factories: &BTreeMap<String, Factory>,
    board: &Board,
) -> Result<(), TreeError> {
    let placed = RefCell::new(BTreeSet::new());
    let place = |name: &str, _: Option<NodeId>, _: NodeKind| {
        let is_first = placed.borrow_mut().insert(name.to_owned());
        is_first.then(|| board.root()).ok_or_else(|| TreeError::TwoPlaces { name: name.to_owned() })
    };
    Planner { policy, factories, place: &place }.supervisor(&policy.root, None).map(drop)
}

/// Where a node is on the board: its name, its parent, its kind.
type Place<'a> = dyn Fn(&str, Option<NodeId>, NodeKind) -> Result<NodeId, TreeError> + 'a;

struct Planner<'a> {
    policy: &'a TreePolicy,
    factories: &'a BTreeMap<String, Factory>,
    place: &'a Place<'a>,
}

impl Planner<'_> {
    fn supervisor(&self, name: &str, parent: Option<NodeId>) -> Result<Arc<SupervisorPlan>, TreeError> {
        let not_a_supervisor = || TreeError::NotASupervisor { name: name.to_owned() };
        let (kind, regime, intensity) = match self.node(name)? {
            NodePolicy::Supervisor(own) => {
                (NodeKind::Supervisor, Regime::Declared(own.strategy, own.auto_shutdown), own.intensity)
            }
            NodePolicy::Dynamic(own) => (NodeKind::Dynamic, Regime::Dynamic, own.intensity),
            NodePolicy::Worker(_) => return Err(not_a_supervisor()),
        };
        let node = (self.place)(name, parent, kind)?;
        let children = self.policy.children(name).iter();
        let children = children.map(|child| self.child(child, node)).collect::<Result<_, _>>()?;
        let template = self.policy.dynamic(name).map(|own| Template {
            limit: own.limit as usize,
            rules: rules(&NodePolicy::Worker(own.child.clone()), self.policy.child_reactions(name)),
            shutdown: own.child.shutdown.0,
            kill: kill_within(&own.child),
        });
        let name = name.to_owned();
        Ok(Arc::new(SupervisorPlan { node, name, regime, intensity, children, template }))
    }

    fn child(&self, name: &str, parent: NodeId) -> Result<Arc<ChildPlan>, TreeError> {
        let policy = self.node(name)?;
        let (node, maker, shutdown, kill) = match policy {
            NodePolicy::Worker(own) => {
                let factory = self.factories.get(name).cloned();
                let factory = factory.ok_or_else(|| TreeError::NoFactory { name: name.to_owned() })?;
                let node = (self.place)(name, Some(parent), NodeKind::Worker)?;
                (node, Maker::Worker(factory), own.shutdown.0, kill_within(own))
            }
            NodePolicy::Supervisor(_) | NodePolicy::Dynamic(_) => {
                let plan = self.supervisor(name, Some(parent))?;
                let shutdown = plan.stop_max();
                (plan.node, Maker::Supervisor(plan), shutdown, KILL_WAIT)
            }
        };
        let rules = rules(policy, self.policy.reactions(name));
        Ok(Arc::new(ChildPlan { node, name: name.to_owned(), rules, shutdown, kill, maker }))
    }

    fn node(&self, name: &str) -> Result<&NodePolicy, TreeError> {
        self.policy.node(name).ok_or_else(|| TreeError::NotDeclared { name: name.to_owned() })
    }
}

impl ChildPlan {
    /// The same child of a dynamic supervisor, held to another template.
    pub(crate) fn under(&self, template: &Template) -> Self {
        let (rules, shutdown, kill) = (template.rules.clone(), template.shutdown, template.kill);
        Self { node: self.node, name: self.name.clone(), rules, shutdown, kill, maker: self.maker.clone() }
    }
}

impl SupervisorPlan {
    /// It and every supervisor below it.
    pub(crate) fn all(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let below = self.children.iter().filter_map(|child| match &child.maker {
            Maker::Supervisor(plan) => Some(plan.all()),
            Maker::Worker(_) => None,
        });
        std::iter::once(Arc::clone(self)).chain(below.flatten()).collect()
    }

    /// The longest that it may take to stop its children, one after the other; those of a
    /// dynamic supervisor stop side by side.
    fn stop_max(&self) -> Duration {
        let declared: Duration = self.children.iter().map(|child| child.shutdown + KILL_WAIT).sum();
        let dynamic = self.template.as_ref().map_or(Duration::ZERO, |each| each.shutdown + KILL_WAIT);
        declared + dynamic + SUPERVISOR_MARGIN
    }
}

fn rules(policy: &NodePolicy, reactions: Reactions) -> Rules {
    Rules {
        restart: policy.restart(),
        backoff: policy.backoff(),
        allowance: policy.allowance(),
        reactions: Arc::new(reactions),
        significant: policy.significant(),
    }
}

fn kill_within(policy: &WorkerPolicy) -> Duration {
    policy.liveness.map_or(KILL_WAIT, |liveness| liveness.killed_within.0)
}
