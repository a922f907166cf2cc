//! Whose turn it is among those that wait for the same thing. Invariant: at any moment one of them is at the
//! front, the one with the least rank, and of equals the one that came first; it hears so, and so does the
//! one that was there before it. Who gives up is out at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use policies::priority::Rank;
use tokio::sync::Notify;

use super::lock;

/// A line of those that wait. It is as long as there are tasks that wait, each of which somebody bounds.
#[derive(Default)]
pub(super) struct Turns(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: BTreeMap<(Rank, u64), Arc<Notify>>,
    came: u64,
}

/// A place in the line, left when it is dropped.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    place: (Rank, u64),
    moved: Arc<Notify>,
}

impl Turns {
    /// Joins the line.
    pub(super) fn join(&self, rank: Rank) -> Turn<'_> {
        let moved = Arc::new(Notify::new());
        let mut line = lock(&self.0);
        line.came += 1;
        let place = (rank, line.came);
        let front = line.waiting.first_key_value().filter(|(front, _)| **front > place);
        if let Some((_, passed)) = front {
            passed.notify_one();
        }
        line.waiting.insert(place, Arc::clone(&moved));
        Turn { turns: self, place, moved }
    }

    /// Whether somebody waits who would be let through before a newcomer of this rank.
    pub(super) fn is_behind(&self, rank: Rank) -> bool {
        lock(&self.0).waiting.first_key_value().is_some_and(|((front, _), _)| *front <= rank)
    }
}

impl Turn<'_> {
    /// Resolves once it is at the front, or no longer there.
    pub(super) async fn is_front(&self, wanted: bool) {
        while self.front() != wanted {
            self.moved.notified().await;
        }
    }

    fn front(&self) -> bool {
        lock(&self.turns.0).waiting.first_key_value().is_some_and(|(front, _)| *front == self.place)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut line = lock(&self.turns.0);
        line.waiting.remove(&self.place);
        // Whoever is at the front now may not have been before; to hear it twice does no harm.
        if let Some((_, front)) = line.waiting.first_key_value() {
            front.notify_one();
        }
    }
}
