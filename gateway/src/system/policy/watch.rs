//! Taking changed policy files up by itself. Invariant: a file is read again only when it has changed,
//! and a bad one is told once and disturbs nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{ReloadError, Wanted};
use crate::config::PolicyFiles;
use crate::system::System;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Who asks for the reload, in the journal.
const PRINCIPAL: &str = "system/watch";

/// What tells that a file has changed: when it was written, and its size; none while it is not there.
type Mark = Option<(SystemTime, u64)>;

/// Watches the files until the tree has ended, and says what came of each change.
pub async fn watch(system: Arc<System>, files: PolicyFiles, say: fn(&str)) {
    let tree = system.tree().clone();
    let mut seen = marks(&system, &files).await;
    loop {
        tokio::select! {
            biased;
            _ = tree.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = marks(&system, &files).await;
        if now == seen {
            continue;
        }
        seen = now;
        match system.reload(Wanted::Files, false, PRINCIPAL).await {
            Ok(reloaded) if reloaded.applied => {
                let limits_nothing = system.in_force.with(|now| now.policies.budget.limits_nothing());
                say(&told(reloaded.version, limits_nothing));
            }
            Ok(_) => {}
            Err(ReloadError::Overtaken) => {}
            Err(error) => say(&format!("the policy files have changed, and nothing was applied:\n{error}")),
        }
    }
}

/// What is said of a version that has come into force.
fn told(version: u64, limits_nothing: bool) -> String {
    let warning =
        if limits_nothing { "; warning: its budget has no limit, so nothing is limited any more" } else { "" };
    format!("the policy files have changed: version {version} is in force{warning}")
}

async fn marks(system: &System, files: &PolicyFiles) -> Vec<Mark> {
    let PolicyFiles { tree, guard, prices, budget, watch: _ } = files.clone();
    let files: Vec<PathBuf> = [tree, guard, prices, budget].into_iter().flatten().collect();
    let look = move || {
        let mark = |file: &PathBuf| file.metadata().ok().and_then(|of| Some((of.modified().ok()?, of.len())));
        files.iter().map(mark).collect()
    };
    // What could not be looked at is looked at again.
    system.world().blocking("policy.watch", look).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_limits_nothing_says_so() {
        assert_eq!(told(3, false), "the policy files have changed: version 3 is in force");
        assert!(
            told(3, true).ends_with("is in force; warning: its budget has no limit, so nothing is limited any more")
        );
    }
}
