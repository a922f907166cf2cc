//! Taking runs on. Invariant: one key names one run for ever; the same order
//! under the same key is the same run, and another order under it is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use actors::durable::{AskError, Origin};
use actors::letters::LetterId;
use agents::run::{Act, Command, Order, Refusal, RunId, State, Terms};
use agents::workflow::{ANNOUNCE, Known, Workflow, WorkflowVersion, check};
use policies::document;
use serde_json::Value;
use storage::journal::{TraceId, Version};

use super::{Checked, System};

/// A run that is asked for.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id; see [`run_id`].
    pub id: String,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What it is given.
    pub inputs: BTreeMap<String, Value>,
    /// Who asks.
    pub principal: String,
    /// How it is to be carried out.
    pub terms: Terms,
}

/// A run that was taken on, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether it was there already.
    pub repeated: bool,
}

/// Why a run was not taken on, or not told something.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The key names another order.
    #[error(
        "the key already names another run (`{0}`), with another workflow, other inputs or other terms; use a new key"
    )]
    Taken(String),
    /// It does not fit.
    #[error("{0}")]
    Refused(Refusal),
    /// There is no room to remember it.
    #[error("the journal is full, so no new run is accepted; free space and ask again")]
    Full,
    /// It killed the run's actor too often.
    #[error("the run cannot take this: it is the dead letter {0}; see callboard letters show {0}")]
    Dead(LetterId),
    /// Not now.
    #[error("the run cannot be reached now: {0}; ask again")]
    Unavailable(String),
}

/// The id of the run that a key names: the same for the same key.
#[must_use]
pub fn run_id(principal: &str, key: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(principal.as_bytes());
    hasher.update(&[0]);
    hasher.update(key.as_bytes());
    let hex = hasher.finalize().to_hex();
    hex.get(..20).unwrap_or_default().to_owned()
}

impl System {
    /// Checks a workflow's text against what this system has.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn workflow(&self, file: &str, text: &str) -> Result<Arc<Workflow>, Vec<document::Error>> {
        check(file, text, &self.known).map(Arc::new)
    }

    /// The built-in workflow.
    ///
    /// # Errors
    /// Everything that is wrong with it in this system.
    pub fn announce(&self) -> Result<Arc<Workflow>, Vec<document::Error>> {
        let pinned = self.announce.get_or_init(|| {
            // What the check gives depends on the names alone, and most systems of a process have the same.
            static FIRST: OnceLock<(Known, Checked)> = OnceLock::new();
            let (known, first) = FIRST.get_or_init(|| (self.known.clone(), built_in(&self.known)));
            if *known == self.known { first.clone() } else { built_in(&self.known) }
        });
        pinned.clone().map(|(_, workflow)| workflow)
    }

    fn version(&self, workflow: &Arc<Workflow>) -> WorkflowVersion {
        match self.announce.get() {
            Some(Ok((version, announce))) if Arc::ptr_eq(announce, workflow) => version.clone(),
            _ => workflow.version(),
        }
    }

    /// Takes a run on; it is durable when this returns.
    ///
    /// # Errors
    /// [`AcceptError`]; nothing was taken on then.
    pub async fn accept(&self, new: NewRun) -> Result<Taken, AcceptError> {
        let order = Order {
            id: RunId::new(new.id.clone()),
            version: self.version(&new.workflow),
            workflow: new.workflow,
            inputs: new.inputs,
            principal: new.principal.clone(),
            terms: new.terms,
        };
        let mut chance = self.world.chance("trace");
        let origin = Origin { principal: new.principal, trace: TraceId(chance.id()), cause: None };
        let command = Command::new(Act::Accept(Box::new(order.clone())));
        match self.runs.ask(&new.id, origin, command).await {
            Ok(_) => Ok(Taken { repeated: false }),
            Err(AskError::Refused(Refusal::Exists(_))) => self.repeated(&order).await,
            Err(error) => Err(why(error)),
        }
    }

    async fn repeated(&self, order: &Order) -> Result<Taken, AcceptError> {
        let id = order.id.as_str();
        let known = self.state(id).await.map_err(AcceptError::Unavailable)?;
        let same = known.order.as_ref().is_some_and(|known| {
            let bound = order.workflow.bind(order.inputs.clone());
            let same_terms = known.terms == order.terms;
            same_terms && known.version == order.version && bound.is_ok_and(|inputs| inputs == known.inputs)
        });
        if same { Ok(Taken { repeated: true }) } else { Err(AcceptError::Taken(id.to_owned())) }
    }

    /// A run's state, folded from its stream.
    ///
    /// # Errors
    /// Why it cannot be read, in a sentence.
    pub async fn state(&self, run: &str) -> Result<Arc<State>, String> {
        self.state_at(run).await.map(|(state, _)| state)
    }

    /// A run's state, and how many events it was folded from.
    ///
    /// # Errors
    /// As [`System::state`].
    pub async fn state_at(&self, run: &str) -> Result<(Arc<State>, Version), String> {
        let mut folded = self.folds.take(run);
        loop {
            let page = self.run_events(run, folded.version, STATE_PAGE).await?;
            self.folds.fold(&mut folded, &page)?;
            if page.len() < STATE_PAGE {
                let (state, version) = (Arc::clone(&folded.state), folded.version);
                if version > Version::NONE {
                    self.folds.keep(run, folded);
                }
                return Ok((state, version));
            }
        }
    }
}

/// The built-in workflow, checked for a system that has these names.
fn built_in(known: &Known) -> Checked {
    let workflow = check("workflows/announce.toml", ANNOUNCE, known).map(Arc::new)?;
    Ok((workflow.version(), workflow))
}

/// Events read at once when a run's state is folded for a reader.
const STATE_PAGE: usize = 256;

pub(super) fn why(error: AskError<Refusal>) -> AcceptError {
    match error {
        AskError::Refused(refusal) => AcceptError::Refused(refusal),
        AskError::Full => AcceptError::Full,
        AskError::Dead(letter) => AcceptError::Dead(letter),
        other => AcceptError::Unavailable(other.to_string()),
    }
}
