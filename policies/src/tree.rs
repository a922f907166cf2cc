//! The supervision tree as data.
//!
//! A [`TreePolicy`] that was read is a tree: every child is declared, has one
//! parent, and is reached from the root. Every mistake is found where it stands
//! in the text, and all of them at once.

mod check;
mod kin;
mod moved;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    backoff::Backoff,
    breaker::BreakerPolicy,
    choice::PoolPolicy,
    document,
    fallback::StandIn,
    intensity::{Allowance, Intensity},
    liveness::Liveness,
    mailbox::MailboxPolicy,
    poison::PoisonPolicy,
    reaction::{Amendments, Reactions},
    span::{Rate, Span},
    strategy::{RestartKind, Strategy},
};

pub(crate) use kin::resolve;

/// The text of the tree compiled in, `defaults/tree.toml`.
pub const BUILTIN: &str = include_str!("../defaults/tree.toml");
/// What the tree compiled in is called in errors.
pub const BUILTIN_LABEL: &str = "the built-in tree";

/// The supervision tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreePolicy {
    /// The name of the node that supervises all others.
    pub root: String,
    /// What failures lead to, where a worker does not say otherwise.
    #[serde(skip_serializing_if = "Amendments::is_empty")]
    pub on: Amendments,
    /// All nodes by name.
    pub nodes: BTreeMap<String, NodePolicy>,
}

/// One node of the tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodePolicy {
    /// Supervises children that the policy names.
    Supervisor(SupervisorPolicy),
    /// Supervises children that come at run time.
    Dynamic(DynamicPolicy),
    /// Does the work.
    Worker(WorkerPolicy),
}

/// A supervisor whose children the policy names: `[supervisor.name]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisorPolicy {
    /// What it restarts when one child fails.
    pub strategy: Strategy,
    /// How many restarts it makes before it gives up.
    pub intensity: Intensity,
    /// When it ends because significant children have.
    pub auto_shutdown: AutoShutdown,
    /// Its children in start order.
    pub children: Vec<String>,
    /// After which ends it is itself restarted.
    pub restart: RestartKind,
    /// How long its own supervisor waits before restarting it.
    pub backoff: Backoff,
    /// How often it may be restarted itself, or `None` for as often as its supervisor's intensity allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
    /// Whether its end counts for its own supervisor's `auto_shutdown`.
    pub significant: bool,
}

/// A supervisor whose children come at run time, each on its own
/// (`one_for_one`): `[dynamic.name]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicPolicy {
    /// The most children at once.
    pub limit: u32,
    /// How many restarts it makes before it gives up.
    pub intensity: Intensity,
    /// What each child is started with.
    pub child: WorkerPolicy,
    /// How long a child must have had nothing to do before it rests: it ends, takes no memory, and is
    /// started again when somebody speaks to it.
    pub rest_after: Span,
    /// After which ends it is itself restarted.
    pub restart: RestartKind,
    /// How long its own supervisor waits before restarting it.
    pub backoff: Backoff,
    /// How often it may be restarted itself, or `None` for as often as its supervisor's intensity allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
    /// Whether its end counts for its own supervisor's `auto_shutdown`.
    pub significant: bool,
}

impl Default for DynamicPolicy {
    fn default() -> Self {
        Self {
            limit: 1_000,
            intensity: Intensity::default(),
            child: WorkerPolicy::default(),
            rest_after: Span::from_secs(60),
            restart: RestartKind::default(),
            backoff: Backoff::default(),
            allowance: None,
            significant: false,
        }
    }
}

/// A worker: `[worker.name]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerPolicy {
    /// After which ends it is restarted.
    pub restart: RestartKind,
    /// How long its supervisor waits before restarting it.
    pub backoff: Backoff,
    /// How often it may be restarted itself, or `None` for as often as its supervisor's intensity allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
    /// What its failures lead to.
    #[serde(skip_serializing_if = "Amendments::is_empty")]
    pub on: Amendments,
    /// How long it may take to stop before it is killed.
    pub shutdown: Span,
    /// How many messages may wait for it, and what becomes of one more.
    pub mailbox: MailboxPolicy,
    /// When a message that kills it is taken out of circulation.
    pub poison: PoisonPolicy,
    /// Whether its end counts for its supervisor's `auto_shutdown`.
    pub significant: bool,
    /// When it counts as hung, or `None` for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Liveness>,
    /// An agent's own breaker, in front of that of its model, or `None` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerPolicy>,
    /// How often an agent may make a call, or `None` for as often as its model's guard allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The models that an agent speaks with instead of its own, or `None` for its own alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolPolicy>,
    /// Who stands in for an agent while it cannot act, the first choice first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<StandIn>,
}

impl Default for WorkerPolicy {
    fn default() -> Self {
        Self {
            restart: RestartKind::default(),
            backoff: Backoff::default(),
            allowance: None,
            on: Amendments::default(),
            shutdown: Span::from_secs(5),
            mailbox: MailboxPolicy::default(),
            poison: PoisonPolicy::default(),
            significant: false,
            liveness: None,
            breaker: None,
            rate: None,
            pool: None,
            fallback: Vec::new(),
        }
    }
}

/// When a supervisor ends by itself because significant children have ended
/// and are not restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// Never.
    #[default]
    Never,
    /// After the first of them.
    AnySignificant,
    /// After the last of them.
    AllSignificant,
}

impl TreePolicy {
    /// The tree compiled in, `defaults/tree.toml`.
    ///
    /// # Errors
    /// None once this crate's tests pass: the file is part of the build.
    pub fn builtin() -> Result<Self, Vec<document::Error>> {
        Self::read(BUILTIN_LABEL, BUILTIN)
    }

    /// Reads a tree from TOML.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn read(file_label: &str, text: &str) -> Result<Self, Vec<document::Error>> {
        check::read(file_label, text)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&NodePolicy> {
        self.nodes.get(name)
    }

    /// The supervisor of that name.
    pub fn supervisor(&self, name: &str) -> Option<&SupervisorPolicy> {
        match self.node(name)? {
            NodePolicy::Supervisor(policy) => Some(policy),
            NodePolicy::Dynamic(_) | NodePolicy::Worker(_) => None,
        }
    }

    /// The dynamic supervisor of that name.
    pub fn dynamic(&self, name: &str) -> Option<&DynamicPolicy> {
        match self.node(name)? {
            NodePolicy::Dynamic(policy) => Some(policy),
            NodePolicy::Supervisor(_) | NodePolicy::Worker(_) => None,
        }
    }

    /// The worker of that name.
    pub fn worker(&self, name: &str) -> Option<&WorkerPolicy> {
        match self.node(name)? {
            NodePolicy::Worker(policy) => Some(policy),
            NodePolicy::Supervisor(_) | NodePolicy::Dynamic(_) => None,
        }
    }

    /// The models that a worker chooses among; none where it has no choice.
    pub fn pool(&self, name: &str) -> &[String] {
        self.worker(name).and_then(|policy| policy.pool.as_ref()).map_or(&[], |pool| &pool.models)
    }

    /// Who stands in for a worker; nobody for what is no worker.
    pub fn fallback(&self, name: &str) -> &[StandIn] {
        self.worker(name).map_or(&[], |policy| &policy.fallback)
    }

    /// The children that the policy names for a node, in start order.
    pub fn children(&self, name: &str) -> &[String] {
        self.supervisor(name).map_or(&[], |policy| &policy.children)
    }

    /// Who supervises the node; nobody supervises the root.
    pub fn parent(&self, name: &str) -> Option<&str> {
        let mut supervisors = self.nodes.keys();
        supervisors.find(|supervisor| self.children(supervisor).iter().any(|child| child == name)).map(String::as_str)
    }

    /// What the failures of a worker lead to; any other node's are as the tree says for all.
    pub fn reactions(&self, name: &str) -> Reactions {
        self.reactions_of(self.worker(name))
    }

    /// What the failures of the children of a dynamic supervisor lead to.
    pub fn child_reactions(&self, name: &str) -> Reactions {
        self.reactions_of(self.dynamic(name).map(|policy| &policy.child))
    }

    fn reactions_of(&self, worker: Option<&WorkerPolicy>) -> Reactions {
        let general = Reactions::default().amended(&self.on);
        worker.map_or_else(|| general.clone(), |own| general.clone().amended(&own.on))
    }

    /// All nodes in start order: a supervisor before its children, each child
    /// with all that is below it before the next.
    pub fn start_order(&self) -> Vec<&str> {
        self.below(&self.root)
    }

    /// This node and all below it, in start order.
    pub fn below<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut next = vec![name];
        // A tree built by hand may have a cycle; one that was read has none.
        while let Some(name) = next.pop().filter(|_| order.len() < self.nodes.len()) {
            order.push(name);
            next.extend(self.children(name).iter().rev().map(String::as_str));
        }
        order
    }
}

impl NodePolicy {
    /// After which ends the node is restarted.
    pub const fn restart(&self) -> RestartKind {
        match self {
            Self::Supervisor(policy) => policy.restart,
            Self::Dynamic(policy) => policy.restart,
            Self::Worker(policy) => policy.restart,
        }
    }

    /// How long its supervisor waits before restarting it.
    pub const fn backoff(&self) -> Backoff {
        match self {
            Self::Supervisor(policy) => policy.backoff,
            Self::Dynamic(policy) => policy.backoff,
            Self::Worker(policy) => policy.backoff,
        }
    }

    /// How often it may be restarted itself.
    pub const fn allowance(&self) -> Option<Allowance> {
        match self {
            Self::Supervisor(policy) => policy.allowance,
            Self::Dynamic(policy) => policy.allowance,
            Self::Worker(policy) => policy.allowance,
        }
    }

    /// Whether its end counts for its supervisor's `auto_shutdown`.
    pub const fn significant(&self) -> bool {
        match self {
            Self::Supervisor(policy) => policy.significant,
            Self::Dynamic(policy) => policy.significant,
            Self::Worker(policy) => policy.significant,
        }
    }

    /// How long it may take to stop before it is killed; a supervisor takes
    /// what its children take.
    pub const fn shutdown(&self) -> Option<Span> {
        match self {
            Self::Worker(policy) => Some(policy.shutdown),
            Self::Supervisor(_) | Self::Dynamic(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
