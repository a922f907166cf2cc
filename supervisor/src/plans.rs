//! The plans in force, one for each supervisor of a tree. Invariant: they are of one policy, and are
//! replaced all at once by those of another of the same shape.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::board::NodeId;
use crate::plan::SupervisorPlan;
use crate::tree::TreeError;

/// Counts the policies that a tree was held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition(u64);

pub(crate) struct Plans {
    edition: AtomicU64,
    plans: Mutex<BTreeMap<NodeId, Arc<SupervisorPlan>>>,
}

impl Plans {
    pub(crate) fn new(root: &Arc<SupervisorPlan>) -> Self {
        Self { edition: AtomicU64::new(1), plans: Mutex::new(by_node(root)) }
    }

    /// Which policy is in force now.
    pub(crate) fn edition(&self) -> Edition {
        Edition(self.edition.load(Ordering::Acquire))
    }

    pub(crate) fn of(&self, node: NodeId) -> Option<Arc<SupervisorPlan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// Puts those of another policy in their place, if each supervisor has the children that it had.
    pub(crate) fn replace(&self, root: &Arc<SupervisorPlan>) -> Result<(), TreeError> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let new = by_node(root);
        let differs =
            |node: &NodeId, plan: &Arc<SupervisorPlan>| new.get(node).is_none_or(|new| !new.has_children_of(plan));
        if let Some((_, plan)) = plans.iter().find(|(node, plan)| differs(node, plan)) {
            return Err(TreeError::OtherShape { name: plan.name.clone() });
        }
        *plans = new;
        self.edition.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

fn by_node(root: &Arc<SupervisorPlan>) -> BTreeMap<NodeId, Arc<SupervisorPlan>> {
    root.all().into_iter().map(|plan| (plan.node, plan)).collect()
}

impl SupervisorPlan {
    /// Whether both have the same children, in the same order.
    fn has_children_of(&self, other: &Self) -> bool {
        self.children.iter().map(|child| child.node).eq(other.children.iter().map(|child| child.node))
    }
}
