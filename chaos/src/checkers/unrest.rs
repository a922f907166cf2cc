//! When something else than a crash kept the process from its work. Invariant: it errs on the side
//! of unrest, so that a checker that leaves these times out blames nobody who is innocent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::violation::micros;
use crate::fault::{ActorEffect, DiskEffect, Fault, ProviderEffect};
use crate::history::{History, Seen, Sighting};
use crate::plan::Planned;

/// After a restart, what it took along has stopped and is back within this: the longest shutdown of
/// the tree and its longest back-off, with room to spare.
pub const SETTLED_AFTER: Duration = Duration::from_secs(30);

const MICROS_PER_MILLI: u64 = 1_000;

/// What unrest does to the work under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toll {
    /// It may be lost and begun anew.
    Loses,
    /// It may be lost, and what was allowed may be carried out much later.
    Delays,
}

/// A time of unrest, both ends included.
#[derive(Clone, Copy, Debug)]
struct Span {
    from_us: u64,
    until_us: u64,
    toll: Toll,
    /// Whether it goes on over the death of the process.
    outlives: bool,
}

/// All times of unrest.
#[derive(Debug, Default)]
pub(super) struct Unrest {
    spans: Vec<Span>,
}

impl Unrest {
    /// Reads the faults that struck and the restarts that were told. What lasts until the process
    /// is started again ends with its crash; a disk that is full stays so.
    pub(super) fn of(history: &History) -> Self {
        let planned: BTreeMap<u32, &Planned> = history.plan.faults.iter().map(|one| (one.number, one)).collect();
        let mut spans: Vec<Span> = Vec::new();
        for Sighting { at_us, what } in &history.seen {
            match what {
                Seen::Struck { number } => {
                    spans.extend(planned.get(number).into_iter().flat_map(|one| struck(one, *at_us)));
                }
                Seen::Restarted { .. } | Seen::Escalated { .. } => spans.push(settling(*at_us, Toll::Loses)),
                Seen::Crashed { .. } => {
                    for span in spans.iter_mut().filter(|span| !span.outlives && span.until_us > *at_us) {
                        span.until_us = *at_us;
                    }
                }
                _ => {}
            }
        }
        Self { spans }
    }

    /// Whether there was any unrest from the one moment to the other.
    pub(super) fn within(&self, from_us: u64, until_us: u64) -> bool {
        self.spans.iter().any(|span| span.from_us <= until_us && from_us <= span.until_us)
    }

    /// Whether what was allowed earlier may be carried out only now.
    pub(super) fn delays(&self, at_us: u64) -> bool {
        self.spans.iter().any(|span| span.toll == Toll::Delays && span.from_us <= at_us && at_us <= span.until_us)
    }
}

fn settling(at_us: u64, toll: Toll) -> Span {
    Span { from_us: at_us, until_us: at_us.saturating_add(micros(SETTLED_AFTER)), toll, outlives: false }
}

fn struck(planned: &Planned, at_us: u64) -> Vec<Span> {
    let later = |millis: u64| at_us.saturating_add(millis.saturating_mul(MICROS_PER_MILLI));
    match planned.fault {
        Fault::Actor { effect, .. } => vec![match effect {
            ActorEffect::Panic | ActorEffect::Error | ActorEffect::Kill => settling(at_us, Toll::Loses),
            ActorEffect::Flood { .. } => settling(at_us, Toll::Delays),
            ActorEffect::Slow { by_ms } => settling(later(by_ms), Toll::Delays).since(at_us),
            ActorEffect::Hang => lasting(at_us),
        }],
        // For this process it lasts, and for those that come before there is room again.
        Fault::Disk { effect: DiskEffect::Full { for_ms } } => {
            let full = Span { outlives: true, ..settling(later(for_ms), Toll::Delays).since(at_us) };
            vec![lasting(at_us), full]
        }
        Fault::Disk { effect: DiskEffect::SyncError | DiskEffect::AppendError } => vec![lasting(at_us)],
        // A wrong answer is whole and well for the provider, and may be of no use. What kills an agent takes
        // the agent's other calls along.
        Fault::Provider { effect: ProviderEffect::Wrong | ProviderEffect::Poison, hits } => {
            let over_us = planned.at_ms.saturating_add(hits.for_ms).saturating_mul(MICROS_PER_MILLI);
            vec![settling(over_us.max(at_us), Toll::Loses).since(at_us)]
        }
        Fault::Provider { .. } | Fault::Platform { .. } | Fault::Clock { .. } | Fault::Crash { .. } => Vec::new(),
    }
}

/// Until the process is started again.
fn lasting(at_us: u64) -> Span {
    Span { from_us: at_us, until_us: u64::MAX, toll: Toll::Delays, outlives: false }
}

impl Span {
    fn since(self, from_us: u64) -> Self {
        Self { from_us, ..self }
    }
}
