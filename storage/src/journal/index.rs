//! Where the events of each stream are, and so which version it has.
//!
//! Recent events are held in memory, and go to a shelf in portions together with the sequence
//! reached. A shelf's entry is a few places of one stream, under `stream NUL version of the first`.
//! Streams at rest take no memory.
//!
//! Invariant: shelf and memory together cover exactly the durable events.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use foldhash::fast::RandomState;

use super::event::{Seq, StreamId, Version};
use super::frame::Fields;
use super::segment::Position;
use crate::views::{Changes, Shelf, ShelfError, after_prefix};

/// Places in one entry of the shelf at most, which bounds the size of its values.
const ENTRY_RUNS_MAX: usize = 256;
/// Entries that are read from the shelf at once.
const PAGE_ENTRIES: usize = 16;
const RUN_BYTES: usize = 28;

/// Events of one stream that lie in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Version,
    pub(super) count: u32,
    pub(super) at: Position,
}

impl Run {
    pub(super) fn last(&self) -> Version {
        Version(self.first.0 + u64::from(self.count) - 1)
    }
}

pub(super) struct StreamIndex {
    shelf: Arc<dyn Shelf>,
    recent: RwLock<Recent>,
    unindexed_max: usize,
}

/// What is not on the shelf yet. Looked up by name alone, so the map's order never shows.
#[derive(Default)]
struct Recent {
    streams: HashMap<StreamId, Vec<Run>, RandomState>,
    runs: usize,
    reached: Seq,
}

impl StreamIndex {
    pub(super) fn new(shelf: Arc<dyn Shelf>, unindexed_max: usize) -> Self {
        Self { shelf, recent: RwLock::default(), unindexed_max }
    }

    /// The last event on the shelf; zero when it is empty.
    pub(super) fn on_shelf(&self) -> Result<Seq, ShelfError> {
        Ok(self.shelf.sequence()?.unwrap_or(Seq::ZERO))
    }

    pub(super) fn version(&self, stream: &StreamId) -> Result<Version, ShelfError> {
        if let Some(last) = self.recent().streams.get(stream).and_then(|runs| runs.last()) {
            return Ok(last.last());
        }
        let (from, to) = (key(stream, Version::NONE), after(stream));
        let Some((_, value)) = self.shelf.range(&from..&to, 1, true)?.pop() else {
            return Ok(Version::NONE);
        };
        let last = unpack(&value)?.pop();
        Ok(last.map_or(Version::NONE, |run| run.last()))
    }

    /// The places of a stream's events after a version: enough for `events_max` events, if there are.
    pub(super) fn runs(
        &self,
        stream: &StreamId,
        after_version: Version,
        events_max: usize,
    ) -> Result<Vec<Run>, ShelfError> {
        // Memory first: what moves to the shelf in between is then seen twice, and not missed.
        let recent = self.recent().streams.get(stream).cloned().unwrap_or_default();
        let reaches = |run: &Run| run.first <= after_version.plus(1);
        let mut runs = if recent.first().is_some_and(reaches) {
            Vec::new()
        } else {
            self.runs_on_shelf(stream, after_version, events_max)?
        };
        let known = runs.last().map_or(after_version, Run::last);
        runs.extend(recent.into_iter().filter(|run| run.last() > known));
        Ok(runs)
    }

    fn runs_on_shelf(
        &self,
        stream: &StreamId,
        after_version: Version,
        events_max: usize,
    ) -> Result<Vec<Run>, ShelfError> {
        let (wanted, end) = (after_version.plus(1), after(stream));
        // The entry that holds the first wanted version is the last one that begins at or before it.
        let (from, to) = (key(stream, Version::NONE), key(stream, wanted.plus(1)));
        let holder = self.shelf.range(&from..&to, 1, true)?.pop();
        let mut from = holder.map_or(from, |(key, _)| key);
        let mut runs: Vec<Run> = Vec::new();
        let mut events = 0;
        loop {
            let page = self.shelf.range(&from..&end, PAGE_ENTRIES, false)?;
            for (_, value) in &page {
                for run in unpack(value)?.into_iter().filter(|run| run.last() >= wanted) {
                    events += (run.last().0 + 1 - run.first.max(wanted).0) as usize;
                    runs.push(run);
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE_ENTRIES && events < events_max => {
                    from.clone_from(last);
                    from.push(0);
                }
                _ => return Ok(runs),
            }
        }
    }

    /// Takes in durable events, all up to and including `reached`.
    pub(super) fn record(&self, runs: impl IntoIterator<Item = (StreamId, Run)>, reached: Seq) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        for (stream, run) in runs {
            recent.streams.entry(stream).or_default().push(run);
            recent.runs += 1;
        }
        recent.reached = reached;
    }

    /// Moves what is in memory to the shelf if there is much of it.
    pub(super) fn flush_if_due(&self) -> Result<(), ShelfError> {
        if self.recent().runs < self.unindexed_max { Ok(()) } else { self.flush() }
    }

    /// Moves what is in memory to the shelf. Only the committer calls it, so nothing is added
    /// meanwhile.
    pub(super) fn flush(&self) -> Result<(), ShelfError> {
        let (changes, reached) = {
            let recent = self.recent();
            if recent.runs == 0 {
                return Ok(());
            }
            let mut changes = Changes::new();
            for (stream, runs) in &recent.streams {
                for portion in runs.chunks(ENTRY_RUNS_MAX) {
                    changes.put(key(stream, portion[0].first), pack(portion));
                }
            }
            (changes, recent.reached)
        };
        self.shelf.apply(&changes, reached)?;
        *self.recent.write().unwrap_or_else(PoisonError::into_inner) = Recent { reached, ..Recent::default() };
        Ok(())
    }

    /// Empties the shelf, so that the next opening fills it anew.
    pub(super) fn discard(&self) -> Result<(), ShelfError> {
        self.shelf.clear()
    }

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Visits every place on a shelf, with its stream.
pub(super) fn visit(shelf: &dyn Shelf, mut visit: impl FnMut(&str, &Run)) -> Result<(), ShelfError> {
    let (mut from, end) = (Vec::new(), after_prefix(&[]));
    loop {
        let page = shelf.range(&from..&end, PAGE_ENTRIES, false)?;
        for (key, value) in &page {
            // The name ends at the NUL before the version.
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            for run in unpack(value)? {
                visit(&String::from_utf8_lossy(name), &run);
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE_ENTRIES => from = [last.as_slice(), &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

fn key(stream: &StreamId, version: Version) -> Vec<u8> {
    [stream.as_str().as_bytes(), &[0], &version.0.to_be_bytes()].concat()
}

/// The first key after all of a stream. Names hold no NUL, so no other stream's keys lie before it.
fn after(stream: &StreamId) -> Vec<u8> {
    [stream.as_str().as_bytes(), &[1]].concat()
}

fn pack(runs: &[Run]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(runs.len() * RUN_BYTES);
    for run in runs {
        bytes.extend_from_slice(&run.first.0.to_le_bytes());
        bytes.extend_from_slice(&run.count.to_le_bytes());
        bytes.extend_from_slice(&run.at.segment.0.to_le_bytes());
        bytes.extend_from_slice(&run.at.offset.to_le_bytes());
    }
    bytes
}

fn unpack(value: &[u8]) -> Result<Vec<Run>, ShelfError> {
    let run = |bytes: &[u8]| {
        let mut fields = Fields(bytes);
        let (first, count) = (Version(fields.u64()?), fields.u32().filter(|count| *count > 0)?);
        let at = Position { segment: Seq(fields.u64()?), offset: fields.u64()? };
        Some(Run { first, count, at })
    };
    let runs: Option<Vec<Run>> = value.chunks(RUN_BYTES).map(run).collect();
    runs.ok_or_else(|| ShelfError::Damaged {
        shelf: "of the journal's streams".to_owned(),
        reason: "an entry has an impossible length".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::Shelves;
    use crate::views::memory::MemoryShelves;

    fn run(first: u64, count: u32) -> Run {
        let at = Position { segment: Seq(1), offset: first * 100 };
        Run { first: Version(first), count, at }
    }

    fn index() -> StreamIndex {
        StreamIndex::new(MemoryShelves::new().open("streams", 1).unwrap(), 8)
    }

    #[test]
    fn places_are_found_in_memory_and_on_the_shelf() {
        let index = index();
        let (a, b) = (StreamId::from("a"), StreamId::from("a/b"));
        assert_eq!(index.version(&a).unwrap(), Version::NONE);
        for first in 0..1000 {
            index.record([(a.clone(), run(first * 2 + 1, 2)), (b.clone(), run(first + 1, 1))], Seq(first * 3 + 3));
            if first % 300 == 299 {
                index.flush().unwrap();
            }
        }
        assert_eq!(index.on_shelf().unwrap(), Seq(2700));
        assert_eq!((index.version(&a).unwrap(), index.version(&b).unwrap()), (Version(2000), Version(1000)));
        for after in [0, 1, 2, 599, 600, 601, 1799, 1800, 1999] {
            let runs = index.runs(&a, Version(after), usize::MAX).unwrap();
            assert_eq!(runs.first(), Some(&run(after / 2 * 2 + 1, 2)), "after {after}");
            assert_eq!(runs.len() as u64, 1000 - after / 2, "after {after}");
        }
        assert_eq!(index.runs(&a, Version(2000), 10).unwrap(), []);
        assert_eq!(index.runs(&StreamId::from("c"), Version(0), 10).unwrap(), []);
    }

    #[test]
    fn memory_is_emptied_when_much_is_in_it() {
        let index = index();
        for seq in 1..=20 {
            index.record([(StreamId::from(format!("s{seq}")), run(1, 1))], Seq(seq));
            index.flush_if_due().unwrap();
            assert!(index.recent().runs < 8);
        }
        assert_eq!(index.on_shelf().unwrap(), Seq(16));
    }
}
