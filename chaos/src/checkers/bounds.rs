//! Mailboxes keep to their bounds, and no task is left at the end. Invariant: a history without an
//! end proves nothing, and says so.

use super::violation::{Moment, Violation};
use crate::aims::Invariant;
use crate::history::{History, Seen, Sighting};

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
