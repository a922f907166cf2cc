//! The letters as a fold of their stream. Invariant: an id has one entry at most, the latest; what is
//! remembered of letters that are closed, and of commands that have not died often enough, is bounded.

use std::collections::{BTreeMap, VecDeque};

use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};
use storage::journal::Version;

use super::{Death, Event, HISTORY_MAX, Kind, Letter, LetterId};

/// The most letters that are remembered, the open ones apart.
pub(super) const CLOSED_MAX: usize = 10_000;
/// The most commands whose deaths are counted.
pub(super) const DYING_MAX: usize = 10_000;

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// It waits for somebody to replay or discard it.
    Open,
    /// It was put into circulation again.
    Replayed {
        /// When.
        settled: Timestamp,
        /// By whom.
        by: String,
    },
    /// It was given up, or settled.
    Discarded {
        /// When.
        settled: Timestamp,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
}

/// A letter, with its place in the list and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, which grows from letter to letter.
    pub place: u64,
    /// The letter.
    #[serde(flatten)]
    pub letter: Letter,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// The last event that is in it.
    pub(super) seen: Version,
    entries: BTreeMap<u64, Entry>,
    places: BTreeMap<LetterId, u64>,
    /// The deaths of commands that are in circulation still.
    dying: BTreeMap<LetterId, Vec<Death>>,
    /// The same by age.
    ages: VecDeque<LetterId>,
}

impl Book {
    /// Takes up the next event; one that it has seen changes nothing.
    pub(super) fn fold(&mut self, version: Version, event: Event) {
        if version.0 != self.seen.0 + 1 {
            return;
        }
        self.seen = version;
        match event {
            Event::Died { id, death } => self.died(id, death),
            Event::Dead(letter) => self.dead(version.0, letter),
            Event::Replayed { id, at, by } => self.close(&id, Fate::Replayed { settled: at, by }),
            Event::Discarded { id, at, by, reason } => self.close(&id, Fate::Discarded { settled: at, by, reason }),
        }
    }

    /// Passes over an event that cannot be read.
    pub(super) fn skip(&mut self, version: Version) {
        if version.0 == self.seen.0 + 1 {
            self.seen = version;
        }
    }

    fn died(&mut self, id: LetterId, death: Death) {
        if !self.dying.contains_key(&id) {
            self.ages.push_back(id.clone());
        }
        let deaths = self.dying.entry(id).or_default();
        deaths.push(death);
        let spare = deaths.len().saturating_sub(HISTORY_MAX);
        deaths.drain(..spare);
        while self.dying.len() > DYING_MAX {
            let Some(eldest) = self.ages.pop_front() else { break };
            self.dying.remove(&eldest);
        }
    }

    fn dead(&mut self, place: u64, mut letter: Letter) {
        self.dying.remove(&letter.id);
        self.ages.retain(|id| *id != letter.id);
        // One that was replayed and died again keeps its history.
        if let Some(before) = self.places.insert(letter.id.clone(), place).and_then(|at| self.entries.remove(&at)) {
            letter.deaths.splice(..0, before.letter.deaths);
            let spare = letter.deaths.len().saturating_sub(HISTORY_MAX);
            letter.deaths.drain(..spare);
        }
        self.entries.insert(place, Entry { place, letter, fate: Fate::Open });
        let closed = self.entries.values().filter(|entry| entry.fate != Fate::Open);
        let spare = (self.entries.len() > CLOSED_MAX).then(|| closed.map(|entry| entry.place).next()).flatten();
        if let Some(entry) = spare.and_then(|place| self.entries.remove(&place)) {
            self.places.remove(&entry.letter.id);
        }
    }

    fn close(&mut self, id: &LetterId, fate: Fate) {
        let entry = self.places.get(id).and_then(|place| self.entries.get_mut(place));
        if let Some(entry) = entry.filter(|entry| entry.fate == Fate::Open) {
            entry.fate = fate;
        }
    }

    /// The deaths of a command that is in circulation.
    pub(super) fn deaths(&self, id: &LetterId) -> &[Death] {
        self.dying.get(id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find(&self, id: &LetterId) -> Option<&Entry> {
        self.entries.get(self.places.get(id)?)
    }

    /// Whether a command is out of circulation: its letter is open, or was discarded.
    pub(super) fn holds(&self, id: &LetterId) -> bool {
        self.find(id)
            .is_some_and(|entry| entry.letter.kind == Kind::Command && !matches!(entry.fate, Fate::Replayed { .. }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The letters before a place, or all, the newest first.
    pub(super) fn newest(&self, before: Option<u64>) -> impl Iterator<Item = &Entry> {
        self.entries.range(..before.unwrap_or(u64::MAX)).rev().map(|(_, entry)| entry)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.fate == Fate::Open)
    }
}
