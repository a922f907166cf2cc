//! Many seeds, each played twice in processes of their own. Invariant: a seed
//! counts as replayed only when both processes ended well and told the same.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::stage::Played;

/// How often each seed is played.
const PLAYS: usize = 2;

/// What to play.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The program that plays one seed: `PROGRAM ARGUMENTS… SEED`, and prints it as JSON.
    pub program: PathBuf,
    /// Its arguments before the seed.
    pub arguments: Vec<String>,
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Processes at once.
    pub processes: usize,
}

/// Two plays of one seed that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// What the first told.
    pub one: Played,
    /// What the second told.
    pub other: Played,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were played twice with the same trace.
    pub replayed: u64,
    /// Seeds whose plays differ.
    pub diverged: Vec<Divergence>,
    /// Seeds with a run that did not finish.
    pub unfinished: Vec<Played>,
    /// Journal events over all seeds, counted once a seed.
    pub events: u64,
    /// Simulated milliseconds over all seeds, counted once a seed.
    pub elapsed_ms: u64,
    /// Different traces.
    pub traces: std::collections::BTreeSet<String>,
}

/// A process told nothing that can be understood.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// It could not be run.
    #[error("seed {seed}: the process cannot be run")]
    Run {
        /// The seed.
        seed: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("seed {seed} failed: {said}")]
    Failed {
        /// The seed.
        seed: u64,
        /// Its standard error.
        said: String,
    },
    /// A task was lost.
    #[error("a task of the campaign was lost")]
    Lost(#[from] tokio::task::JoinError),
}

impl Campaign {
    /// Plays every seed twice.
    ///
    /// # Errors
    /// [`CampaignError`], at the first seed that could not be played.
    pub async fn run(&self, runs: u32) -> Result<Summary, CampaignError> {
        let places = Arc::new(Semaphore::new(self.processes.max(1)));
        let mut plays = JoinSet::new();
        for seed in self.first..self.first + self.seeds {
            let (this, places) = (self.clone(), Arc::clone(&places));
            plays.spawn(async move { this.twice(seed, &places).await });
        }
        let mut summary = Summary::default();
        while let Some(play) = plays.join_next().await {
            let (one, other) = play??;
            summary.events += one.events;
            summary.elapsed_ms += one.elapsed_ms;
            summary.traces.insert(one.trace.clone());
            if one.finished != runs {
                summary.unfinished.push(one.clone());
            }
            if one == other {
                summary.replayed += 1;
            } else {
                summary.diverged.push(Divergence { one, other });
            }
        }
        Ok(summary)
    }

    async fn twice(&self, seed: u64, places: &Semaphore) -> Result<(Played, Played), CampaignError> {
        let mut told = Vec::with_capacity(PLAYS);
        for _ in 0..PLAYS {
            // The semaphore is never closed.
            let _place = places.acquire().await.ok();
            told.push(self.once(seed).await?);
        }
        match (told.pop(), told.pop()) {
            (Some(other), Some(one)) => Ok((one, other)),
            _ => Err(CampaignError::Failed { seed, said: "it was not played twice".to_owned() }),
        }
    }

    async fn once(&self, seed: u64) -> Result<Played, CampaignError> {
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .arg(seed.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| CampaignError::Run { seed, source })?;
        let failed = |said: String| CampaignError::Failed { seed, said };
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
    }
}
