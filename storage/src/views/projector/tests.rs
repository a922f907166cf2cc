//! The projector, stopped at every kind of moment.

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use policies::instant::Timestamp;

use super::*;
use crate::disk::sim::SimDisk;
use crate::journal::{self, Batch, NewEvent, Options, RecordId, StreamId, TraceId, Write};
use crate::views::memory::MemoryShelves;
use crate::views::{Changes, Entry, Shelves};

const KILLS: u64 = 1_000;
const STREAMS: u64 = 7;

/// Counts each stream's events and chains all of them, so that an event that is
/// missed, doubled or out of order shows.
struct Chain;

impl Fold for Chain {
    fn name(&self) -> &str {
        "chain"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, shelf: &dyn Shelf, events: &[Event]) -> Result<Changes, FoldError> {
        let mut changes = Changes::new();
        for event in events {
            if event.kind == "unknown" {
                return Err(FoldError::Unknown {
                    seq: event.seq,
                    kind: event.kind.clone(),
                    schema: event.schema,
                    fold: self.name().to_owned(),
                });
            }
            let read = |key: &[u8]| changes.read(shelf, key).map_err(FoldError::Shelf);
            let link = read(b"chain")?.unwrap_or_default();
            let count = read(event.stream.as_str().as_bytes())?.map_or(0, |bytes| number(&bytes));
            let mut hasher = blake3::Hasher::new();
            hasher.update(&link);
            hasher.update(&event.seq.0.to_le_bytes());
            hasher.update(&event.payload);
            changes.put("chain", *hasher.finalize().as_bytes());
            changes.put(event.stream.as_str(), (count + 1).to_le_bytes());
        }
        Ok(changes)
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// A shelf whose process dies at its n-th write: before it, or just after.
struct Mortal {
    shelf: Arc<dyn Shelf>,
    /// Twice the writes left, and one more to die after the last of them.
    left: AtomicU64,
}

fn dead() -> ShelfError {
    ShelfError::Damaged { shelf: "chain".into(), reason: "killed".into() }
}

impl Shelf for Mortal {
    fn sequence(&self) -> Result<Option<Seq>, ShelfError> {
        self.shelf.sequence()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ShelfError> {
        self.shelf.get(key)
    }

    fn range(&self, keys: Range<&[u8]>, limit: usize, reverse: bool) -> Result<Vec<Entry>, ShelfError> {
        self.shelf.range(keys, limit, reverse)
    }

    fn apply(&self, changes: &Changes, reached: Seq) -> Result<(), ShelfError> {
        match self.left.load(Ordering::Relaxed) {
            0 => return Err(dead()),
            1 => {
                self.shelf.apply(changes, reached)?;
                return Err(dead());
            }
            left => self.left.store(left - 2, Ordering::Relaxed),
        }
        self.shelf.apply(changes, reached)
    }

    fn clear(&self) -> Result<(), ShelfError> {
        self.shelf.clear()
    }

    fn bytes(&self) -> u64 {
        self.shelf.bytes()
    }
}

/// Numbers without pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Runs `work` beside a journal on a simulated disk and its committer.
async fn with_journal(work: impl AsyncFnOnce(Journal)) {
    let index = MemoryShelves::new().open("journal", journal::INDEX_VERSION).unwrap();
    let disk = Arc::new(SimDisk::new());
    let now = Timestamp::from_micros(0);
    let (journal, committer, _) = Journal::open(disk, index, Options::default(), now).unwrap();
    tokio::join!(committer.run(), work(journal));
}

async fn append(journal: &Journal, id: u64, kind: &str, events: u64) {
    let event = |n: u64| NewEvent {
        kind: kind.into(),
        schema: 1,
        time: Timestamp::from_micros(0),
        principal: "tests".into(),
        trace: TraceId(1),
        cause: None,
        subject: None,
        payload: format!("[{id},{n}]").into_bytes(),
    };
    let batch = Batch {
        id: RecordId(u128::from(id) + 1),
        writes: vec![Write {
            stream: StreamId::from(format!("run/{}", id % STREAMS)),
            expected: None,
            events: (0..events).map(event).collect(),
        }],
        preconditions: Vec::new(),
    };
    journal.append(batch).await.unwrap();
}

fn projector(journal: &Journal, shelf: &Arc<dyn Shelf>) -> Projector {
    Projector::new(journal.clone(), Box::new(Chain), Arc::clone(shelf))
}

/// Runs until the shelf has reached the journal's head, or the view fails.
async fn catch_up(journal: &Journal, shelf: &Arc<dyn Shelf>) -> Result<(), ProjectorError> {
    let projector = projector(journal, shelf);
    let mut reached = projector.reached();
    let head = journal.head();
    tokio::select! {
        biased;
        ended = projector.run() => ended,
        _ = reached.wait_for(|reached| *reached >= head) => Ok(()),
    }
}

fn content(shelf: &Arc<dyn Shelf>) -> Vec<Entry> {
    shelf.range(b""..b"\xff", usize::MAX, false).unwrap()
}

fn fresh() -> Arc<dyn Shelf> {
    MemoryShelves::new().open("chain", 1).unwrap()
}

#[tokio::test]
async fn folds_every_event_once_whenever_it_is_killed() {
    with_journal(async |journal| {
        let shelf = fresh();
        let mut dice = Dice(7);
        let mut killed = 0;
        for id in 0..KILLS {
            append(&journal, id, "noted", 1 + dice.below(4)).await;
            let mortal: Arc<dyn Shelf> =
                Arc::new(Mortal { shelf: Arc::clone(&shelf), left: AtomicU64::new(dice.below(4)) });
            let mut run = pin!(projector(&journal, &mortal).run());
            for _ in 0..dice.below(4) {
                if let Poll::Ready(ended) = futures::poll!(run.as_mut()) {
                    assert!(matches!(ended, Err(ProjectorError::Shelf(_))));
                    killed += 1;
                    break;
                }
            }
        }
        assert!(killed > KILLS / 10, "{killed} were killed at a write");
        catch_up(&journal, &shelf).await.unwrap();
        let undisturbed = fresh();
        catch_up(&journal, &undisturbed).await.unwrap();
        assert_eq!(shelf.sequence().unwrap(), Some(journal.head()));
        assert_eq!(content(&shelf), content(&undisturbed));
        let counted: u64 =
            content(&shelf).iter().filter(|(key, _)| key.starts_with(b"run/")).map(|(_, count)| number(count)).sum();
        assert_eq!(counted, journal.head().0);
    })
    .await;
}

#[tokio::test]
async fn follows_what_is_appended_while_it_runs() {
    with_journal(async |journal| {
        let shelf = fresh();
        append(&journal, 0, "noted", 600).await;
        let projector = projector(&journal, &shelf);
        let mut reached = projector.reached();
        let appends = async {
            append(&journal, 1, "noted", 2).await;
            let head = journal.head();
            reached.wait_for(|reached| *reached == head).await.unwrap();
        };
        tokio::select! {
            biased;
            ended = projector.run() => ended.unwrap(),
            () = appends => {}
        }
        assert_eq!(shelf.sequence().unwrap(), Some(Seq(602)));
    })
    .await;
}

#[tokio::test]
async fn starts_over_when_the_shelf_is_ahead_of_the_journal() {
    with_journal(async |journal| {
        append(&journal, 0, "noted", 3).await;
        let shelf = fresh();
        let mut foreign = Changes::new();
        foreign.put("run/foreign", 9_u64.to_le_bytes());
        shelf.apply(&foreign, Seq(4)).unwrap();
        catch_up(&journal, &shelf).await.unwrap();
        let undisturbed = fresh();
        catch_up(&journal, &undisturbed).await.unwrap();
        assert_eq!(content(&shelf), content(&undisturbed));
    })
    .await;
}

#[tokio::test]
async fn stops_at_an_event_it_does_not_know_and_names_it() {
    with_journal(async |journal| {
        append(&journal, 0, "noted", 3).await;
        append(&journal, 1, "unknown", 1).await;
        let shelf = fresh();
        let Err(ProjectorError::Fold(error)) = catch_up(&journal, &shelf).await else {
            panic!("the unknown event was folded");
        };
        assert!(error.to_string().starts_with("event 4 (unknown, schema 1)"));
        assert_eq!(shelf.sequence().unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn ends_when_the_journal_is_closed() {
    with_journal(async |journal| {
        append(&journal, 0, "noted", 3).await;
        let shelf = fresh();
        let projector = projector(&journal, &shelf);
        journal.close().await;
        projector.run().await.unwrap();
        assert_eq!(shelf.sequence().unwrap(), Some(Seq(3)));
    })
    .await;
}
