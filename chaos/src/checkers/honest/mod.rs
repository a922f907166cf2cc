//! A small honest model of the system: it plays a plan as a system without faults of its own would,
//! and leaves the history that would be seen. Invariant: a history follows from its seed, and no
//! checker finds anything in it.

mod disaster;
mod model;
mod plan;
mod work;

pub(crate) use plan::plan;

use crate::history::History;

/// What a good system shows under this seed.
pub(crate) fn history(seed: u64) -> History {
    model::play(&plan(seed))
}

/// A stream of chance, good enough for tests.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// From 0 to one below n.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Once in n times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
