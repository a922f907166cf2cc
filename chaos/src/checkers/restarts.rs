//! Restarts keep to their intensity, and nothing is left without a supervisor. Invariant: the
//! windows are counted as the policy says, with the built-in tree's figures; a supervisor that is
//! started again counts from nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::document;
use policies::failure::FailureClass;
use policies::intensity::{Intensity, Verdict, Window};
use policies::strategy;
use policies::tree::{NodePolicy, TreePolicy};

use super::violation::{Moment, Violation, micros};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// A supervisor past its intensity tells that it gives up within this.
pub const ESCALATED_WITHIN: Duration = Duration::from_secs(1);

/// Classes that use up no restarts: see `docs/supervision.md`.
const FREE: [FailureClass; 4] =
    [FailureClass::ProviderDown, FailureClass::RateLimited, FailureClass::BudgetSpent, FailureClass::Shutdown];

/// Takes the moment of a sighting for the moment of the supervisor's decision.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found: Vec<_> = history.seen.iter().filter_map(orphans).collect();
    match TreePolicy::builtin() {
        Ok(tree) => found.extend(melted(history, &tree)),
        Err(errors) => {
            let errors = document::lines(&errors);
            found.push(violation(0, format!("the built-in tree cannot be read: {errors}")));
        }
    }
    found
}

fn orphans(sighting: &Sighting) -> Option<Violation> {
    match sighting.what {
        Seen::Over { orphans, .. } if orphans > 0 => Some(violation(
            sighting.at_us,
            format!("{orphans} actors are alive at {} without a supervisor; there may be 0", Moment(sighting.at_us)),
        )),
        _ => None,
    }
}

fn melted(history: &History, tree: &TreePolicy) -> Vec<Violation> {
    let mut windows: BTreeMap<&str, Window> = BTreeMap::new();
    let mut found = Vec::new();
    for (place, Sighting { at_us, what }) in history.seen.iter().enumerate() {
        match what {
            Seen::Crashed { .. } | Seen::Ready { .. } => windows.clear(),
            Seen::Escalated { supervisor } => {
                windows.remove(supervisor.as_str());
            }
            Seen::Restarted { child, supervisor, class } => {
                forget(&mut windows, tree, supervisor, child);
                if FREE.iter().any(|free| free.as_str() == class) {
                    continue;
                }
                let Some(intensity) = intensity(tree, supervisor) else {
                    let message = format!("`{child}` was restarted by `{supervisor}`, which the tree does not have");
                    found.push(violation(*at_us, message));
                    continue;
                };
                let window = windows.entry(supervisor).or_insert_with(|| Window::new(intensity));
                let exceeded = window.record(Duration::from_micros(*at_us)) == Verdict::Exceeded;
                if exceeded && !gave_up(&history.seen[place..], supervisor, *at_us) {
                    found.push(exceeding(supervisor, child, intensity, *at_us));
                }
            }
            _ => {}
        }
    }
    found
}

fn intensity(tree: &TreePolicy, supervisor: &str) -> Option<Intensity> {
    match tree.node(supervisor)? {
        NodePolicy::Supervisor(policy) => Some(policy.intensity),
        NodePolicy::Dynamic(policy) => Some(policy.intensity),
        NodePolicy::Worker(_) => None,
    }
}

/// Forgets the windows of the supervisors that this restart starts anew.
fn forget(windows: &mut BTreeMap<&str, Window>, tree: &TreePolicy, supervisor: &str, child: &str) {
    let Some(policy) = tree.supervisor(supervisor) else { return };
    let mut anew = strategy::affected(policy.strategy, &policy.children, &child.to_owned());
    // Each node is its parent's child once, so the tree's size bounds the walk.
    while let Some(name) = anew.pop() {
        windows.remove(name.as_str());
        anew.extend(tree.children(&name).iter().cloned());
    }
}

fn gave_up(rest: &[Sighting], supervisor: &str, at_us: u64) -> bool {
    let due_us = at_us.saturating_add(micros(ESCALATED_WITHIN));
    let mut soon = rest.iter().take_while(|sighting| sighting.at_us <= due_us);
    soon.any(|sighting| matches!(&sighting.what, Seen::Escalated { supervisor: who } if who == supervisor))
}

fn exceeding(supervisor: &str, child: &str, intensity: Intensity, at_us: u64) -> Violation {
    let message = format!(
        "`{supervisor}` restarted `{child}` at {}, one restart more than its {} within {:?}, and did not give up",
        Moment(at_us),
        intensity.restarts,
        intensity.within.0
    );
    violation(at_us, message)
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::RestartsBounded, at_us, message }
}
