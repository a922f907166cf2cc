//! Mailboxes and memory keep to their bounds, and no task is left at the end. Invariant: a history without an
//! end proves nothing, and says so. Memory follows from no seed, so it is judged beside the history.

use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

/// The most memory that a process may have had resident in all its plays, in KiB: some five times of what the
/// shipped experiments take, and far less than a mailbox, a cache or a table that grows without a bound.
pub const MEMORY_MAX_KIB: u64 = 512 << 10;

/// What is wrong with the most memory that a process has had by this time of a play.
#[must_use]
pub fn memory(at_us: u64, peak_kib: u64) -> Option<Violation> {
    let (peak, max, at) = (peak_kib >> 10, MEMORY_MAX_KIB >> 10, Moment(at_us));
    let message = || format!("the process had {peak} MiB resident by {at}; at most {max} MiB may be");
    (peak_kib > MEMORY_MAX_KIB).then(|| violation(at_us, message()))
}

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut over = false;
    for Sighting { at_us, what } in &history.seen {
        match what {
            Seen::Depth { child, queued, max } if queued > max => {
                let at = Moment(*at_us);
                found.push(violation(
                    *at_us,
                    format!("{queued} messages waited for `{child}` at {at}; at most {max} may"),
                ));
            }
            Seen::Over { tasks, .. } => {
                over = true;
                if *tasks > 0 {
                    let at = Moment(*at_us);
                    found.push(violation(*at_us, format!("{tasks} tasks had not ended at {at}; there may be 0")));
                }
            }
            _ => {}
        }
    }
    if !over {
        let last_us = history.seen.last().map_or(0, |sighting| sighting.at_us);
        let last = Moment(last_us);
        found.push(violation(last_us, format!("the history ends at {last} without telling what was left over")));
    }
    found
}

fn violation(at_us: u64, message: String) -> Violation {
    Violation { invariant: Invariant::Bounded, at_us, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_over_its_bound_is_told() {
        assert_eq!(memory(1, MEMORY_MAX_KIB), None);
        let found = memory(2_000_000, MEMORY_MAX_KIB + 1024).unwrap();
        assert_eq!((found.invariant, found.at_us), (Invariant::Bounded, 2_000_000));
        assert!(found.message.contains("513 MiB") && found.message.contains("at most 512 MiB"), "{}", found.message);
    }
}
