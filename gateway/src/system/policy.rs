//! The policies in force, and how they become others while the system runs. Invariant: what is in force
//! is one version as a whole, and it is in the journal before it is applied; whatever cannot be read,
//! or may not change, leaves everything as it is.

mod version;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actors::latest::{Latest, Watcher};
use agents::agent::AgentSpec;
use agents::conduct::{PUBLISHER_GUARD, Stage};
use policies::budget::BudgetPolicy;
use policies::document::{self, Error};
use policies::fallback::StandIn;
use policies::plan::{Change, Effect, Rules, plan};
use policies::tree::TreePolicy;
use serde::Serialize;
use storage::journal::AppendError;
use supervisor::{Tree, TreeError};

pub use version::{Cause, Edition, HISTORY_MAX};
pub(super) use version::{Past, Settled, settle};
pub use watch::watch;

use super::System;
use crate::config::Config;
use crate::policy::{Documents, Policies};

/// What the policies of a system were read from, so that they can be read again.
#[derive(Clone, Debug)]
pub struct Governed {
    /// The configuration that names their files, and that they must fit.
    pub config: Config,
    /// Their texts at the start.
    pub documents: Documents,
}

/// Where new policies come from.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The files, as they are now.
    Files,
    /// These texts.
    Documents(Box<Documents>),
    /// What was in force before the present version, or as this one.
    Rollback(Option<u64>),
}

/// What a reload came to.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// The version in force now.
    pub version: u64,
    /// Whether anything was applied.
    pub applied: bool,
    /// What is different, or would be.
    pub changes: Vec<Change>,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The system does not know where its policies are from.
    #[error("the policies of this system come from no files, so there is nothing to read again")]
    Ungoverned,
    /// There is no such version.
    #[error("there is no version {0} of the policies; `callboard policy history` lists them")]
    Unknown(u64),
    /// There is nothing to go back to.
    #[error("this is the first version of the policies, so there is none to go back to")]
    First,
    /// The texts have faults.
    #[error("{}", document::lines(.0))]
    Faults(Vec<Error>),
    /// Something may not change while the system runs.
    #[error("{}", refusals(.0))]
    Refused(Vec<Change>),
    /// The running tree cannot become what it is to be.
    #[error("nothing was applied: {0}")]
    Unfit(TreeError),
    /// Another reload was faster.
    #[error("the policies were changed by another at the same time; look at them, and ask again")]
    Overtaken,
    /// The version could not be written down or read.
    #[error("the journal does not take or give the policies: {0}")]
    Journal(String),
}

fn refusals(changes: &[Change]) -> String {
    let refused = changes.iter().filter_map(|change| match &change.effect {
        Effect::Refused { why } => Some(format!("`{}` cannot change: {why}", change.key)),
        _ => None,
    });
    format!("nothing was applied: {}", refused.collect::<Vec<_>>().join("; "))
}

/// The policies in force, for those who decide by them.
pub(super) struct InForce {
    tree: Latest<Arc<TreePolicy>>,
    budget: Latest<BudgetPolicy>,
    now: Mutex<Now>,
    config: Option<Config>,
}

struct Now {
    version: u64,
    policies: Policies,
    /// None where the policies come from no files.
    past: Option<Past>,
}

impl InForce {
    pub(super) fn new(policies: &Policies, config: Option<Config>, version: u64, past: Option<Past>) -> Self {
        Self {
            tree: Latest::new(Arc::new(policies.tree.clone())),
            budget: Latest::new(policies.budget.clone()),
            now: Mutex::new(Now { version, policies: policies.clone(), past }),
            config,
        }
    }

    /// The tree's policy, as it is in force.
    pub(super) fn tree(&self) -> Watcher<Arc<TreePolicy>> {
        self.tree.watch()
    }

    /// The limits, as they are in force.
    pub(super) fn budget(&self) -> Watcher<BudgetPolicy> {
        self.budget.watch()
    }

    fn with<T>(&self, look: impl FnOnce(&mut Now) -> T) -> T {
        look(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a version in force, unless a later one is.
    fn apply(&self, version: u64, policies: Policies, past: Past, stage: &Stage, tree: &Tree) {
        self.with(|now| {
            if version <= now.version {
                return;
            }
            // Before the tree, since whoever is started by that takes its settings along.
            stage.guards.govern(policies.guards_in_force());
            stage.govern(&policies.tree);
            for (name, agent) in &stage.agents {
                agent.respecify(held_to(&agent.spec(), name, &policies));
            }
            if let Err(error) = tree.govern(&policies.tree) {
                // It was asked before whether they fit.
                tracing::error!(%error, "the tree does not take the policies; they are in force from the next start");
            }
            self.tree.set(Arc::new(policies.tree.clone()));
            self.budget.set(policies.budget.clone());
            *now = Now { version, policies, past: Some(past) };
        });
    }
}

/// What an agent is under these policies.
pub(super) fn held_to(spec: &AgentSpec, name: &str, policies: &Policies) -> AgentSpec {
    let (timeout, silence_max) = (policies.timeout(&spec.guard), policies.silence_max(name));
    AgentSpec { timeout, silence_max, terms: policies.terms(name), ..spec.clone() }
}

/// A model that nobody needed at the start was not loaded then, so it cannot be used before the next one.
fn refuse_strangers(changes: &mut [Change], tree: &TreePolicy, stage: &Stage) {
    for change in changes {
        let worker = match &change.effect {
            Effect::Starts { .. } => Some(change.key.as_str()),
            _ => change
                .key
                .strip_prefix("worker.")
                .and_then(|key| key.strip_suffix(".fallback").or_else(|| key.strip_suffix(".pool.models"))),
        };
        let Some(worker) = worker else { continue };
        let stand_ins = tree.fallback(worker).iter().filter_map(|stand_in| match stand_in {
            StandIn::Model(name) => Some(name),
            StandIn::Agent(_) => None,
        });
        let stranger = tree.pool(worker).iter().chain(stand_ins).find(|name| !stage.models.contains_key(*name));
        if let Some(name) = stranger {
            let why = format!("the model `{name}` was not loaded at the start; stop the server and start it anew");
            change.effect = Effect::Refused { why };
        }
    }
}

/// Who in the tree uses a guard, itself or through one that inherits it.
fn behind(stage: &Stage, guard: &str) -> Vec<String> {
    let agents = stage.agents.iter().map(|(name, agent)| (name.clone(), agent.spec().guard.clone()));
    let publishers = stage.publishers.keys().map(|name| (name.clone(), format!("{PUBLISHER_GUARD}/{name}")));
    let uses = |used: &str| used == guard || guard == "default" || used.starts_with(&format!("{guard}/"));
    let names: BTreeMap<String, String> = agents.chain(publishers).collect();
    names.into_iter().filter(|(_, used)| uses(used)).map(|(name, _)| name).collect()
}

impl System {
    /// The version of the policies that is in force; 0 where they have none.
    pub fn policy_version(&self) -> u64 {
        self.in_force.with(|now| now.version)
    }

    /// Whether what is in force is what its files said when they were read last.
    pub fn follows_its_files(&self) -> bool {
        self.in_force.with(|now| now.past.as_ref().is_none_or(|past| past.documents.say_as(&past.files)))
    }

    /// Reads new policies, checks them, and puts them in force as one version; on trial, it only says
    /// what would change.
    ///
    /// # Errors
    /// [`ReloadError`]; what was in force still is.
    pub async fn reload(&self, wanted: Wanted, on_trial: bool, principal: &str) -> Result<Reloaded, ReloadError> {
        let config = self.in_force.config.clone().ok_or(ReloadError::Ungoverned)?;
        let (version, old, past) = self.in_force.with(|now| (now.version, now.policies.clone(), now.past.clone()));
        let past = past.ok_or(ReloadError::Ungoverned)?;
        let (documents, cause) = self.documents(wanted, version, &config).await?;
        let new = Policies::of(&config, &documents).map_err(ReloadError::Faults)?;
        let mut changes = plan(rules(&old), rules(&new), |guard| behind(&self.stage, guard));
        refuse_strangers(&mut changes, &new.tree, &self.stage);
        let is_same = documents.say_as(&past.documents);
        if on_trial || is_same {
            return Ok(Reloaded { version, applied: false, changes });
        }
        if changes.iter().any(Change::is_refused) {
            return Err(ReloadError::Refused(changes));
        }
        self.tree.fits(&new.tree).map_err(ReloadError::Unfit)?;
        // What is rolled back to holds until the files say something new.
        let files = if matches!(cause, Cause::Rollback { .. }) { past.files } else { documents.clone() };
        let past = Past { documents, files };
        let written =
            version::write(&self.world, &self.journal, &self.workspace, principal, version, cause, &past).await;
        let version = written.map_err(|error| match error {
            AppendError::Conflict { .. } => ReloadError::Overtaken,
            error => ReloadError::Journal(error.to_string()),
        })?;
        self.in_force.apply(version, new, past, &self.stage, &self.tree);
        Ok(Reloaded { version, applied: true, changes })
    }

    async fn documents(&self, wanted: Wanted, now: u64, config: &Config) -> Result<(Documents, Cause), ReloadError> {
        match wanted {
            Wanted::Documents(documents) => Ok((*documents, Cause::Reload)),
            Wanted::Files => {
                let config = config.clone();
                let read = self.world.blocking("policy.read", move || Documents::read(&config)).await;
                let documents = read.map_err(|error| ReloadError::Journal(error.to_string()))?;
                Ok((documents.map_err(ReloadError::Faults)?, Cause::Reload))
            }
            Wanted::Rollback(to) => {
                let to = to.map_or_else(|| now.checked_sub(1).filter(|to| *to > 0).ok_or(ReloadError::First), Ok)?;
                let past = version::read(&self.world, &self.journal, &self.workspace, to).await;
                let past = past.map_err(ReloadError::Journal)?.ok_or(ReloadError::Unknown(to))?;
                Ok((past.documents, Cause::Rollback { to }))
            }
        }
    }

    /// The newest versions, the newest first, at most [`HISTORY_MAX`].
    ///
    /// # Errors
    /// Why they cannot be read, in a sentence.
    pub async fn policy_history(&self) -> Result<Vec<Edition>, String> {
        version::history(&self.world, &self.journal, &self.workspace).await
    }
}

fn rules(policies: &Policies) -> Rules<'_> {
    let Policies { tree, guards, prices, budget } = policies;
    Rules { tree, guards, prices, budget }
}
