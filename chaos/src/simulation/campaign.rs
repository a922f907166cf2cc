//! Many plays, each in a process of its own, twice. Invariant: a play counts only when two processes
//! told the same trace; where they differ, the first line in which they do is named.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::report::Verdict;

/// What the process of one play tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What was found.
    pub verdict: Verdict,
    /// How many things happened; see [`super::Played::events`].
    pub events: u64,
    /// The time of the processor that it took, in microseconds; 0 where the system does not tell.
    pub cpu_us: u64,
    /// Simulated milliseconds.
    pub elapsed_ms: u64,
    /// Lives of the system.
    pub lives: u32,
}

/// One play, as the program is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A seed of an experiment.
    Seed {
        /// The experiment's file; the calm one without it.
        experiment: Option<PathBuf>,
        /// The seed.
        seed: u64,
    },
    /// A plan, written down, judged by all that its experiment names, or by all checkers.
    Plan(PathBuf),
}

/// How plays are made.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The program: `PROGRAM act …` makes a play and prints what it [`Told`].
    pub program: PathBuf,
    /// Processes at once.
    pub processes: usize,
}

/// A process told nothing that can be understood.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// It could not be run.
    #[error("{ask:?}: the process cannot be run")]
    Run {
        /// The play.
        ask: Ask,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("{ask:?} failed: {said}")]
    Failed {
        /// The play.
        ask: Ask,
        /// Its standard error.
        said: String,
    },
    /// A task was lost.
    #[error("a task of the campaign was lost")]
    Lost(#[from] tokio::task::JoinError),
}

impl Campaign {
    /// Makes all plays, each twice, and hands each to `each` as it comes.
    ///
    /// # Errors
    /// [`CampaignError`], at the first play that could not be made.
    pub async fn run(&self, asks: Vec<Ask>, mut each: impl FnMut(&Ask, &Told)) -> Result<Vec<Told>, CampaignError> {
        let places = Arc::new(Semaphore::new(self.processes.max(1)));
        let mut plays = JoinSet::new();
        for ask in asks {
            let (this, places) = (self.clone(), Arc::clone(&places));
            plays.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire().await.ok();
                this.twice(&ask).await.map(|told| (ask, told))
            });
        }
        let mut all = Vec::new();
        while let Some(play) = plays.join_next().await {
            let (ask, told) = play??;
            each(&ask, &told);
            all.push(told);
        }
        Ok(all)
    }

    /// Makes a play twice; the verdict says where the second went another way.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn twice(&self, ask: &Ask) -> Result<Told, CampaignError> {
        let mut one = self.once(ask, None).await?;
        let other = self.once(ask, None).await?;
        if one.verdict.trace != other.verdict.trace {
            one.verdict.diverged = Some(self.divergence(ask).await?);
        }
        Ok(one)
    }

    /// Makes a play once; `lines` is where its trace goes, line by line.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn once(&self, ask: &Ask, lines: Option<&Path>) -> Result<Told, CampaignError> {
        let lines = lines.map(|path| path.display().to_string());
        let more: Vec<&str> = lines.iter().flat_map(|path| ["--lines", path.as_str()]).collect();
        self.with(ask, &more).await
    }

    /// Makes a play once, with more words to the program.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn with(&self, ask: &Ask, more: &[&str]) -> Result<Told, CampaignError> {
        let mut command = Command::new(&self.program);
        command.arg("act");
        match ask {
            Ask::Seed { experiment, seed } => {
                command.arg("--seed").arg(seed.to_string()).args(experiment);
            }
            Ask::Plan(plan) => {
                command.arg("--plan").arg(plan);
            }
        }
        // Plays panic on purpose, often, and nobody reads what they say of it.
        command.env("RUST_BACKTRACE", "0");
        let output = command.args(more).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.map_err(|source| CampaignError::Run { ask: ask.clone(), source })?;
        let failed = |said: String| CampaignError::Failed { ask: ask.clone(), said };
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
    }

    /// The first line in which two plays differ.
    async fn divergence(&self, ask: &Ask) -> Result<String, CampaignError> {
        let failed = |source| CampaignError::Run { ask: ask.clone(), source };
        let folder = std::env::temp_dir().join(format!("callboard-chaos-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut texts = Vec::new();
        for file in ["one", "other"] {
            let path = folder.join(file);
            self.once(ask, Some(&path)).await?;
            texts.push(std::fs::read_to_string(&path).map_err(failed)?);
        }
        // What is left behind is in the system's own folder for such things.
        let _ = std::fs::remove_dir_all(&folder);
        let (one, other) = (texts.first().map_or("", String::as_str), texts.get(1).map_or("", String::as_str));
        Ok(first_difference(one, other))
    }
}

fn first_difference(one: &str, other: &str) -> String {
    let (mut ones, mut others) = (one.lines(), other.lines());
    for number in 1_u64.. {
        match (ones.next(), others.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let shown =
                    |line: Option<&str>| line.map_or_else(|| "nothing more".to_owned(), |line| format!("`{line}`"));
                return format!("line {number} is {} in one play and {} in another", shown(one), shown(other));
            }
        }
    }
    "two further plays were alike; play it again".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\nc", "a\nx\nc"), "line 2 is `b` in one play and `x` in another");
        assert_eq!(first_difference("a", "a\nb"), "line 2 is nothing more in one play and `b` in another");
        assert!(first_difference("a", "a").contains("alike"));
    }
}
