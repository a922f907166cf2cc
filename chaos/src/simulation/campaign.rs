//! Many plays, each twice, in two processes that each make a few. Invariant: a play counts only when two
//! processes told the same trace, one in which other plays went before it and one in which others did;
//! where they differ, the first line in which they do is named.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::act::read_plan;
use crate::report::Verdict;

/// Plays that a process makes, one after the other: the pages of a program, its allocator and its tables
/// are cold at first, which is a third of what a play takes that is alone.
const PLAYS_PER_PROCESS: usize = 16;

/// How long a play may take, of the time of day; one that takes milliseconds and never ends is a failure too.
const PLAY_TIME_MAX: Duration = Duration::from_secs(120);

/// What a process tells of a play.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What was found.
    pub verdict: Verdict,
    /// How many things happened; see [`super::Played::events`].
    pub events: u64,
    /// The time of the processor that it took, in microseconds, of the first in a process with its start; 0 where
    /// the system does not tell.
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
    #[error("{asks:?}: the process cannot be run")]
    Run {
        /// The plays.
        asks: Vec<Ask>,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("{asks:?} failed: {said}")]
    Failed {
        /// The plays.
        asks: Vec<Ask>,
        /// Its standard error.
        said: String,
    },
    /// A task was lost.
    #[error("a task of the campaign was lost")]
    Lost(#[from] tokio::task::JoinError),
}

impl CampaignError {
    fn silent(ask: &Ask) -> Self {
        Self::Failed { asks: vec![ask.clone()], said: "it told nothing".to_owned() }
    }
}

impl Ask {
    /// The seed that is played; 0 for a plan that cannot be read.
    fn seed(&self) -> u64 {
        match self {
            Self::Seed { seed, .. } => *seed,
            Self::Plan(plan) => read_plan(plan).map_or(0, |saved| saved.plan.seed),
        }
    }
}

impl Told {
    /// What is known of a play that told nothing.
    fn nothing(ask: &Ask, why: String) -> Self {
        Self { verdict: Verdict::unplayed(ask.seed(), why), events: 0, cpu_us: 0, elapsed_ms: 0, lives: 0 }
    }
}

impl Campaign {
    /// Makes all plays, each twice, and hands each to `each` as it comes.
    ///
    /// # Errors
    /// [`CampaignError`], at the first play that could not be made.
    pub async fn run(&self, asks: Vec<Ask>, mut each: impl FnMut(&Ask, &Told)) -> Result<Vec<Told>, CampaignError> {
        let places = Arc::new(Semaphore::new(self.processes.max(1)));
        let mut plays = JoinSet::new();
        // As many as go, so that small campaigns too show what one play leaves to the next.
        let each_process = asks.len().div_ceil(self.processes.max(1)).clamp(1, PLAYS_PER_PROCESS);
        for some in asks.chunks(each_process) {
            let (this, places, some) = (self.clone(), Arc::clone(&places), some.to_vec());
            plays.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire().await.ok();
                this.each_twice(some).await
            });
        }
        let mut all = Vec::new();
        while let Some(some) = plays.join_next().await {
            for (ask, told) in some?? {
                each(&ask, &told);
                all.push(told);
            }
        }
        Ok(all)
    }

    /// Makes a play twice, in processes of its own; the verdict says where the second went another way.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn twice(&self, ask: &Ask) -> Result<Told, CampaignError> {
        let told = self.each_twice(vec![ask.clone()]).await?.pop();
        told.map(|(_, told)| told).ok_or_else(|| CampaignError::silent(ask))
    }

    /// Makes some plays in a process, and once more in another, in the other order.
    async fn each_twice(&self, asks: Vec<Ask>) -> Result<Vec<(Ask, Told)>, CampaignError> {
        let backwards: Vec<Ask> = asks.iter().rev().cloned().collect();
        let ones = self.some(&asks).await?;
        let others = self.some(&backwards).await?;
        let mut told = Vec::with_capacity(asks.len());
        for ((ask, mut one), other) in asks.into_iter().zip(ones).zip(others.into_iter().rev()) {
            one.verdict.unplayed = one.verdict.unplayed.or(other.verdict.unplayed);
            one.verdict.diverged = one.verdict.diverged.or(other.verdict.diverged);
            if one.verdict.apart().is_none() && one.verdict.trace != other.verdict.trace {
                let first = self.divergence(&ask).await;
                one.verdict.diverged = Some(first.unwrap_or_else(|error| format!("nobody knows where: {error}")));
            }
            told.push((ask, one));
        }
        Ok(told)
    }

    /// Makes some plays in one process, in their order. Of those that end it or do not end, the verdict says so.
    async fn some(&self, asks: &[Ask]) -> Result<Vec<Told>, CampaignError> {
        let together = match self.act(asks, &[]).await {
            Err(CampaignError::Failed { said, .. }) => said,
            told => return told,
        };
        if let [ask] = asks {
            return Ok(vec![Told::nothing(ask, together)]);
        }
        // Whoever ended the process is found alone, and is no fault of the others.
        let mut all = Vec::with_capacity(asks.len());
        for ask in asks {
            all.push(match self.with(ask, &[]).await {
                Err(CampaignError::Failed { said, .. }) => Told::nothing(ask, said),
                told => told?,
            });
        }
        let are_well = all.iter().all(|told| told.verdict.unplayed.is_none());
        if let Some(last) = all.last_mut().filter(|_| are_well) {
            let before = asks.len() - 1;
            last.verdict.diverged = Some(format!("alone it is played, and after {before} others not: {together}"));
        }
        Ok(all)
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
        let mut told = self.act(std::slice::from_ref(ask), more).await?;
        told.pop().ok_or_else(|| CampaignError::silent(ask))
    }

    /// One process, which makes these plays one after the other and tells each in a line.
    async fn act(&self, asks: &[Ask], more: &[&str]) -> Result<Vec<Told>, CampaignError> {
        let mut command = Command::new(&self.program);
        command.arg("act");
        let mut of = None;
        for ask in asks {
            match ask {
                Ask::Seed { experiment, seed } => {
                    command.arg("--seed").arg(seed.to_string());
                    of = experiment.as_ref();
                }
                Ask::Plan(plan) => {
                    command.arg("--plan").arg(plan);
                }
            }
        }
        // Plays panic on purpose, often, and nobody reads what they say of it. What one frees the next one takes
        // anew: to give it back in between would be a twentieth of their time.
        command.args(of).args(more).env("RUST_BACKTRACE", "0").env("MIMALLOC_PURGE_DELAY", "-1");
        let failed = |said: String| CampaignError::Failed { asks: asks.to_vec(), said };
        let time_max = PLAY_TIME_MAX * u32::try_from(asks.len()).unwrap_or(u32::MAX);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(time_max, output).await;
        let output = output.map_err(|_| failed(format!("it did not end in {} s", time_max.as_secs())))?;
        let output = output.map_err(|source| CampaignError::Run { asks: asks.to_vec(), source })?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        let told: Result<Vec<Told>, _> = lines.lines().map(serde_json::from_str).collect();
        let told = told.map_err(|error| failed(error.to_string()))?;
        if told.len() != asks.len() {
            return Err(failed(format!("it told of {} plays of {}", told.len(), asks.len())));
        }
        Ok(told)
    }

    /// The first line in which two plays differ.
    async fn divergence(&self, ask: &Ask) -> Result<String, CampaignError> {
        let failed = |source| CampaignError::Run { asks: vec![ask.clone()], source };
        // Two plays may differ at once, of one seed even.
        let name = blake3::hash(format!("{ask:?}").as_bytes()).to_hex();
        let folder = std::env::temp_dir().join(format!("callboard-chaos-{}-{name}", std::process::id()));
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
    "two plays in processes of their own were alike: what went before it in the same process shows".to_owned()
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
