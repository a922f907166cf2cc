//! How often an effect has failed, and with whom. Invariant: what failed with a model of a pool is held
//! against that model, wherever the pool has it by then, and against nobody else.

use std::collections::BTreeMap;

use super::state::{Leaf, Phase};

/// How often an effect has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// In all.
    pub all: u32,
    /// With each model of a pool, by its name.
    pub with: BTreeMap<String, u32>,
}

impl Failures {
    /// How often with this model of a pool.
    #[must_use]
    pub fn with(&self, model: &str) -> u32 {
        self.with.get(model).copied().unwrap_or_default()
    }

    /// How often with others than models of a pool.
    #[must_use]
    pub fn elsewhere(&self) -> u32 {
        self.with.values().fold(self.all, |left, failures| left.saturating_sub(*failures))
    }
}

impl Leaf {
    pub(super) fn failures(&self) -> Failures {
        Failures { all: self.failures, with: self.failed_with.clone() }
    }

    /// The model of a pool that the attempt under way is made with.
    pub(super) fn model(&self) -> Option<String> {
        let Phase::Open(intent) = &self.phase else { return None };
        intent.choice.as_ref().map(|choice| choice.model.clone())
    }
}
