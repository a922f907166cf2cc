//! One play of a plan: lives of the system, one after the other, on one disk. Invariant: everything
//! that happens follows from the plan; the same plan leaves the same trace and the same history.

use std::sync::Arc;
use std::time::Duration;

use policies::money::Money;
use serde::{Deserialize, Serialize};
use storage::disk::sim::SimDisk;

use super::board::Board;
use super::client::Client;
use super::life::{Cast, End, Remains};
use super::model::Provider;
use super::parts::{PartsError, built_in};
use super::sabotage::Sabotage;
use super::scene::Scene;
use crate::fault::Loss;
use crate::history::{History, Seen};
use crate::plan::Plan;

/// From a death to the next start, as a service manager has it: twice as long after each start that failed.
const START_AFTER: Duration = Duration::from_millis(200);
const START_AFTER_MAX: Duration = Duration::from_secs(2);
/// Starts in a row that end without the system having been ready.
const START_TRIES_MAX: u32 = 40;

/// What a play came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// What was seen.
    pub history: History,
    /// The trace, line by line, if it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// The hash over everything that happened, in its order and time.
    pub trace: String,
    /// How much was put in an order: turns of actors and tasks, operations on the disk, the client's
    /// requests, times that were waited for, lines of the trace and sightings.
    pub events: u64,
    /// Lives of the process.
    pub lives: u32,
    /// Simulated milliseconds.
    pub elapsed_ms: u64,
}

/// Why a play cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// No runtime.
    #[error("the simulation's runtime cannot be made")]
    Runtime(#[from] std::io::Error),
    /// No parts.
    #[error(transparent)]
    Parts(#[from] PartsError),
}

/// How a play is made, beside its plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    /// Whether the lines of its trace are kept.
    pub lines: bool,
    /// What the system lacks, on purpose.
    pub sabotage: Option<Sabotage>,
}

/// Plays a plan in this process. Others may have been played in it before: what the runtime's and ractor's
/// tables keep between them (numbers of tasks and actors) is in nothing that is seen. That is why a campaign
/// plays each seed in two processes, in which not the same has gone before it. Not two at once: names of
/// actors are the process's.
///
/// # Errors
/// [`PlayError`]; what goes wrong in the system is in the history.
pub fn play(plan: &Plan, made: Made) -> Result<Played, PlayError> {
    let policies = built_in()?;
    let scene = Scene::new(plan, SimDisk::new(), made.lines);
    let board = Arc::new(Board::new(scene.clone(), plan.workload.platform));
    let cast = Cast {
        scene: scene.clone(),
        provider: Arc::new(Provider::new(scene.clone(), policies.prices, plan)),
        client: Client::new(scene.clone(), Arc::clone(&board), plan),
        board,
        plan: plan.clone(),
        sabotage: made.sabotage,
    };
    let budget = plan.workload.budget.or(policies.budget.workspace.total).unwrap_or(Money::ZERO);
    let mut hasher = blake3::Hasher::new();
    let (mut life, mut steps, mut broken) = (0, 0, None);
    let mut failed_starts = 0;
    loop {
        life += 1;
        let ready_before = scene.readies();
        let (end, remains) = one_life(&cast, life)?;
        scene.order_last_words();
        let Remains { trace, steps: taken } = remains;
        hasher.update(&trace.to_le_bytes());
        steps += taken;
        failed_starts = if scene.readies() > ready_before { 0 } else { failed_starts + 1 };
        match end {
            End::Over => break,
            End::Died => {}
            End::Fell(why) => {
                scene.see(Seen::Crashed { point: None, loss: Loss::KeepAll });
                if failed_starts >= START_TRIES_MAX {
                    broken = Some(format!("it did not start {failed_starts} times in a row: {why}"));
                    break;
                }
                tracing::info!(life, why, "the process gave up");
            }
        }
        scene.bury(plan.seed, life);
        scene.pass_time(start_after(failed_starts));
        if scene.now() >= Duration::from_millis(plan.duration_ms + plan.quiet_ms) {
            broken = Some("it was not up at the end of the quiet time".to_owned());
            break;
        }
    }
    let elapsed_ms = u64::try_from(scene.now().as_millis()).unwrap_or(u64::MAX);
    let operations = scene.disk().counters().operations;
    let history = History { plan: plan.clone(), budget, seen: scene.take(), broken };
    hasher.update(serde_json::to_string(&history.seen).unwrap_or_default().as_bytes());
    let events = steps + operations + scene.beside() + history.seen.len() as u64;
    Ok(Played {
        history,
        lines: scene.take_lines(),
        trace: hasher.finalize().to_hex().to_string(),
        events,
        lives: life,
        elapsed_ms,
    })
}

fn start_after(failed_starts: u32) -> Duration {
    START_AFTER.saturating_mul(2_u32.saturating_pow(failed_starts)).min(START_AFTER_MAX)
}

fn one_life(cast: &Cast, life: u32) -> Result<(End, Remains), PlayError> {
    // Time alone: a driver of sockets that nobody has would be asked by a system call at each step.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let lived = runtime.block_on(async {
        let lived = cast.live(life).await;
        // Time comes from the runtime, and what goes with it may still look at the clock.
        cast.scene.stop();
        lived
    });
    Ok(lived?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::read;
    use crate::fault::{Fault, Point};
    use crate::plan::{Planned, expand};

    #[test]
    fn a_death_while_the_journal_opens_is_one_death_and_one_life() {
        for point in [Point::AppendBefore, Point::AppendAfter, Point::SyncBefore, Point::SyncAfter] {
            let mut plan = expand(&read("calm.toml", include_str!("calm.toml")).unwrap(), 1);
            plan.workload.arrivals.truncate(1);
            let fault = Fault::Crash { point: Some(point), nth: 1, loss: Loss::LoseUnsynced };
            plan.faults = vec![Planned { number: 0, at_ms: 0, fault }];
            let played = play(&plan, Made::default()).unwrap();
            let seen = played.history.seen.iter();
            let deaths = seen.filter(|sighting| matches!(sighting.what, Seen::Crashed { .. })).count();
            assert_eq!((deaths, played.lives), (1, 2), "{point:?}");
        }
    }
}
