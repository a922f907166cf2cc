//! What the walks of one run have come to so far, so that the next one evaluates only what is new.
//!
//! Invariant: everything here follows from the run's order and from outcomes that it had at the time.
//! A walk goes on past a step only when that is settled, and an outcome never changes: so whatever was
//! evaluated once stays as it is when more outcomes come.

use std::collections::BTreeMap;

use minijinja::Value;

use super::advance::ReadyStep;
use super::path::StepPath;

/// See the module.
#[derive(Debug, Default)]
pub struct Settled {
    /// What stands at the beginning: the inputs and the workflow's data.
    pub(super) ground: Option<(Value, Value)>,
    outputs: BTreeMap<StepPath, Output>,
    asked: BTreeMap<StepPath, ReadyStep>,
    /// By the step and the name of what was evaluated for it.
    values: BTreeMap<(StepPath, &'static str), Value>,
}

/// A step that is done.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) value: Value,
    /// How many steps it came to, itself and those in it.
    pub(super) steps: usize,
}

impl Settled {
    pub(super) fn output(&self, path: &StepPath) -> Option<&Output> {
        self.outputs.get(path)
    }

    pub(super) fn settle(&mut self, path: &StepPath, output: Output) {
        self.asked.remove(path);
        self.outputs.insert(path.clone(), output);
    }

    pub(super) fn asked(&self, path: &StepPath) -> Option<&ReadyStep> {
        self.asked.get(path)
    }

    pub(super) fn ask(&mut self, step: ReadyStep) {
        self.asked.insert(step.path.clone(), step);
    }

    /// A value that belongs to a step, evaluated when it is asked for the first time.
    pub(super) fn value<E>(
        &mut self,
        path: &StepPath,
        field: &'static str,
        evaluate: impl FnOnce() -> Result<Value, E>,
    ) -> Result<Value, E> {
        let key = (path.clone(), field);
        if let Some(value) = self.values.get(&key) {
            return Ok(value.clone());
        }
        let value = evaluate()?;
        self.values.insert(key, value.clone());
        Ok(value)
    }
}
