//! Waking the runs that have work to do. Invariant: whenever the supervisor of the runs has come up,
//! at the start of the process or after a failure of its branch, every unfinished run comes to life.

use std::time::Duration;

use actors::durable::Directory;
use actors::latest::Watcher;
use agents::aggregator::Reports;
use agents::run::Run;
use storage::journal::Journal;
use supervisor::Tree;

/// How long the aggregator is waited for, to fold what it has missed: a rebuild of some ten million
/// events.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Knows the runs, and how to wake them.
#[derive(Clone)]
pub(super) struct Waker {
    pub(super) journal: Journal,
    pub(super) reports: Reports,
    pub(super) runs: Directory<Run>,
}

impl Waker {
    /// Wakes the runs that were under way, as the journal has it now.
    pub(super) async fn wake(&self) -> Result<(), String> {
        let head = self.journal.head();
        if !self.reports.reach(head, CATCH_UP_MAX).await {
            return Err(format!("the aggregator did not reach event {head} within {CATCH_UP_MAX:?}"));
        }
        for id in self.reports.moving().map_err(|error| error.to_string())? {
            if let Err(error) = self.runs.live(&id).await {
                tracing::error!(run = id, %error, "a run under way could not be woken");
            }
        }
        Ok(())
    }

    /// Wakes them again each time that their supervisor has come up again, until the tree has ended.
    pub(super) async fn stay(self, tree: Tree, runs_up: Watcher<u64>) {
        tokio::select! {
            biased;
            _ = tree.wait() => {}
            () = self.wake_again(runs_up) => {}
        }
    }

    async fn wake_again(&self, mut runs_up: Watcher<u64>) {
        while runs_up.next().await.is_ok() {
            while let Err(error) = self.wake().await {
                tracing::error!(error, "the runs under way could not be woken; it is tried again");
                tokio::time::sleep(TRY_EVERY).await;
            }
        }
    }
}
