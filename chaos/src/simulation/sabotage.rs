//! Systems broken on purpose: each lacks one thing that a promise stands on, and the checker of that
//! promise must find out. Invariant: a sabotage touches the system only, never the books of the client,
//! the provider or the platform.

use std::io;
use std::sync::Arc;

use gateway::system::Parts;
use policies::intensity::{Intensity, RESTARTS_MAX};
use policies::tree::NodePolicy;
use serde::{Deserialize, Serialize};
use storage::disk::{Disk, File};

use super::parts::PRICE;
use crate::aims::Invariant;

/// The price table's key of a model that costs nothing.
const FREE: &str = "local";

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sabotage {
    /// No file is synced: what is acknowledged is in the cache at best.
    NoSync,
    /// A post in doubt is sent again, without asking for the first one.
    PostsWithoutAsking,
    /// Money is counted when it is spent, not before.
    ReservesNothing,
    /// Every post is approved by nobody.
    SkipsApproval,
    /// A supervisor restarts for ever.
    IgnoresIntensity,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NoSync, Self::PostsWithoutAsking, Self::ReservesNothing, Self::SkipsApproval, Self::IgnoresIntensity];

    /// Its name on the command line and in plans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSync => "no_sync",
            Self::PostsWithoutAsking => "posts_without_asking",
            Self::ReservesNothing => "reserves_nothing",
            Self::SkipsApproval => "skips_approval",
            Self::IgnoresIntensity => "ignores_intensity",
        }
    }

    /// The checker that must find out, and the shipped experiment in which it shows.
    #[must_use]
    pub fn betrayed(self) -> (Invariant, &'static str) {
        match self {
            Self::NoSync => (Invariant::AcknowledgedSurvives, include_str!("../../experiments/crash-mid-post.toml")),
            Self::PostsWithoutAsking => {
                (Invariant::NoDoublePost, include_str!("../../experiments/crash-in-recovery.toml"))
            }
            Self::ReservesNothing => (Invariant::NoBudgetOverrun, include_str!("../../experiments/budget-race.toml")),
            Self::SkipsApproval => {
                (Invariant::ApprovalFirst, include_str!("../../experiments/approval-under-crash.toml"))
            }
            Self::IgnoresIntensity => {
                (Invariant::RestartsBounded, include_str!("../../experiments/tree-meltdown.toml"))
            }
        }
    }

    /// Takes it out of the parts.
    pub(super) fn apply(self, parts: &mut Parts) {
        match self {
            Self::NoSync => parts.disk = Arc::new(Liar(Arc::clone(&parts.disk))),
            Self::ReservesNothing => {
                let models = &mut parts.policies.prices.models;
                if let Some(free) = models.get(FREE).cloned() {
                    models.insert(PRICE.to_owned(), free);
                }
            }
            Self::IgnoresIntensity => {
                for node in parts.policies.tree.nodes.values_mut() {
                    match node {
                        NodePolicy::Supervisor(policy) => policy.intensity = endless(policy.intensity),
                        NodePolicy::Dynamic(policy) => policy.intensity = endless(policy.intensity),
                        NodePolicy::Worker(_) => {}
                    }
                }
            }
            // The publisher is told so where it is made, and the order where it is asked for.
            Self::PostsWithoutAsking | Self::SkipsApproval => {}
        }
    }
}

/// As many restarts as a policy can say.
fn endless(intensity: Intensity) -> Intensity {
    Intensity { restarts: RESTARTS_MAX, ..intensity }
}

/// A disk that says that it has synced, and has not.
struct Liar(Arc<dyn Disk>);

struct LyingFile(Box<dyn File>);

impl Disk for Liar {
    fn open(&self, path: &str) -> io::Result<Box<dyn File>> {
        self.0.open(path).map(|file| Box::new(LyingFile(file)) as Box<dyn File>)
    }

    fn open_existing(&self, path: &str) -> io::Result<Box<dyn File>> {
        self.0.open_existing(path)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send>> {
        self.0.lock(path)
    }

    fn entropy(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.0.entropy(buffer)
    }
}

impl File for LyingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What comes first is synced after all, so that a start finds a journal to open.
        let first = self.0.is_empty()?;
        self.0.append(bytes)?;
        if first { self.0.sync() } else { Ok(()) }
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.0.reserve(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.rewrite(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
}
