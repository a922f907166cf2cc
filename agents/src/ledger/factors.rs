//! What is known of how models count, shared by the ledger, which learns it of the journal, with whoever
//! reserves. Invariant: it is a fold of intents and outcomes, of as many models as there are names of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policies::calibration::Calibration;
use policies::tokens::Tokens;

/// The most models that it is known of; what comes after them is reserved as unknown.
const MODELS_MAX: usize = 1_000;

/// What was seen of each model's bills. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Factors(Arc<Mutex<BTreeMap<String, Calibration>>>);

impl Factors {
    /// What was seen of a model.
    #[must_use]
    pub fn of(&self, model: &str) -> Calibration {
        self.lock().get(model).copied().unwrap_or_default()
    }

    pub(super) fn observe(&self, model: &str, counted: Tokens, used: Tokens) {
        let mut known = self.lock();
        if let Some(calibration) = known.get_mut(model) {
            calibration.observe(counted, used);
        } else if known.len() < MODELS_MAX {
            known.entry(model.to_owned()).or_default().observe(counted, used);
        }
    }

    pub(super) fn all(&self) -> BTreeMap<String, Calibration> {
        self.lock().clone()
    }

    pub(super) fn set(&self, known: BTreeMap<String, Calibration>) {
        *self.lock() = known;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Calibration>> {
        // Each entry is whole at any time, so a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
