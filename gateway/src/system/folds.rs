//! The states of runs, as readers have folded them. Invariant: a state that is kept is the fold of its
//! run's first events, and a reader folds on from there what has come since: nobody is told less than
//! the journal has.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actors::durable::Recent;
use actors::entity::Entity;
use agents::run::{Run, State};
use storage::journal::{Event, Version};

/// What all states that are kept were folded from, in bytes; the one that was read last is kept
/// longest.
const BYTES_MAX: usize = 8 << 20;

/// States by their runs, the one that was read last at the end.
#[derive(Default)]
pub(super) struct Folds {
    kept: Mutex<VecDeque<(String, Folded)>>,
    recent: Recent,
}

/// A state, and how far it is folded.
#[derive(Clone, Default)]
pub(super) struct Folded {
    pub(super) state: Arc<State>,
    pub(super) version: Version,
    bytes: usize,
}

impl Folds {
    /// None yet, of a journal that these events were written to moments ago.
    pub(super) fn new(recent: Recent) -> Self {
        Self { recent, ..Self::default() }
    }

    /// Folds what came next.
    ///
    /// # Errors
    /// What cannot be understood, in a sentence.
    pub(super) fn fold(&self, folded: &mut Folded, events: &[Event]) -> Result<(), String> {
        let state = Arc::make_mut(&mut folded.state);
        for event in events {
            Run::evolve(state, &*self.recent.read::<Run>(event)?);
            folded.version = event.version;
            folded.bytes += event.payload.len();
        }
        Ok(())
    }

    /// What was kept for a run, or the state before its first event.
    pub(super) fn take(&self, run: &str) -> Folded {
        let mut kept = self.kept();
        let place = kept.iter().rposition(|(of, _)| of == run);
        place.and_then(|place| kept.remove(place)).map(|(_, folded)| folded).unwrap_or_default()
    }

    /// Keeps a state for the next reader of its run, as long as there is room.
    pub(super) fn keep(&self, run: &str, folded: Folded) {
        let mut kept = self.kept();
        // Another reader may have been quicker, and further.
        if folded.bytes > BYTES_MAX || kept.iter().any(|(of, other)| of == run && other.version >= folded.version) {
            return;
        }
        kept.retain(|(of, _)| of != run);
        kept.push_back((run.to_owned(), folded));
        let mut bytes: usize = kept.iter().map(|(_, folded)| folded.bytes).sum();
        while bytes > BYTES_MAX
            && let Some((_, folded)) = kept.pop_front()
        {
            bytes -= folded.bytes;
        }
    }

    /// Nothing panics under this lock, so that a poisoned one is still sound.
    fn kept(&self) -> MutexGuard<'_, VecDeque<(String, Folded)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(version: u64, bytes: usize) -> Folded {
        Folded { version: Version(version), bytes, ..Folded::default() }
    }

    #[test]
    fn what_was_kept_is_taken_once_and_the_furthest_stays() {
        let folds = Folds::default();
        folds.keep("a", folded(3, 1));
        folds.keep("a", folded(2, 1));
        assert_eq!(folds.take("a").version, Version(3));
        assert_eq!(folds.take("a").version, Version::NONE);
    }

    #[test]
    fn the_room_is_bounded_and_the_longest_unread_goes_first() {
        let folds = Folds::default();
        folds.keep("large", folded(9, BYTES_MAX + 1));
        folds.keep("a", folded(1, BYTES_MAX / 2));
        folds.keep("b", folded(1, BYTES_MAX / 2));
        folds.keep("c", folded(1, BYTES_MAX / 2));
        let kept = |run| folds.take(run).version > Version::NONE;
        assert_eq!([kept("large"), kept("a"), kept("b"), kept("c")], [false, false, true, true]);
    }
}
