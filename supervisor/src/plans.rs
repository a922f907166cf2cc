//! The plans in force, one for each supervisor of a tree. Invariant: they are of one policy, and are
//! replaced all at once by those of another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policies::reshape::Reshaping;
use policies::tree::TreePolicy;

use crate::board::NodeId;
use crate::plan::SupervisorPlan;
use crate::tree::TreeError;

/// Counts the policies that a tree was held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition(u64);

pub(crate) struct Plans {
    edition: AtomicU64,
    now: Mutex<Now>,
}

struct Now {
    policy: TreePolicy,
    plans: BTreeMap<NodeId, Arc<SupervisorPlan>>,
}

impl Plans {
    pub(crate) fn new(policy: TreePolicy, root: &Arc<SupervisorPlan>) -> Self {
        Self { edition: AtomicU64::new(1), now: Mutex::new(Now { policy, plans: by_node(root) }) }
    }

    /// Which policy is in force now.
    pub(crate) fn edition(&self) -> Edition {
        Edition(self.edition.load(Ordering::Acquire))
    }

    /// Has a supervisor take its plan in force up, which `begin` is given where there is one, and which
    /// stays in force until that returns.
    pub(crate) fn take_up<T>(&self, node: NodeId, begin: impl FnOnce(Edition, Option<&Arc<SupervisorPlan>>) -> T) -> T {
        let now = self.now();
        begin(self.edition(), now.plans.get(&node))
    }

    /// Puts those of another policy in their place, as `plan` makes them from what that does to the
    /// shape of the tree. The supervisors that there are then.
    pub(crate) fn replace(
        &self,
        policy: &TreePolicy,
        plan: impl FnOnce(&Reshaping) -> Result<Arc<SupervisorPlan>, TreeError>,
    ) -> Result<Vec<NodeId>, TreeError> {
        let mut now = self.now();
        let reshaping = Reshaping::of(&now.policy, policy);
        if !reshaping.stays(&policy.root) {
            return Err(TreeError::OtherRoot { name: policy.root.clone() });
        }
        let plans = by_node(&plan(&reshaping)?);
        let supervisors = plans.keys().copied().collect();
        *now = Now { policy: policy.clone(), plans };
        self.edition.fetch_add(1, Ordering::Release);
        Ok(supervisors)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // What is behind it is replaced as a whole, so a poisoned lock is still good.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_node(root: &Arc<SupervisorPlan>) -> BTreeMap<NodeId, Arc<SupervisorPlan>> {
    root.all().into_iter().map(|plan| (plan.node, plan)).collect()
}
