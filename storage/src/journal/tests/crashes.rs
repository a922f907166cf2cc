//! Power cuts at any moment: what was acknowledged survives whole, and nothing is there by halves.

use std::collections::BTreeMap;

use super::*;
use crate::disk::sim::content::Dice;
use futures::future::join_all;

/// Histories that are tried.
const HISTORIES: u64 = 1000;
/// Lives of each, with a power cut at the end.
const LIVES: usize = 4;

/// What the outside world knows of a batch.
struct Known {
    batch: Batch,
    acknowledged: Option<Appended>,
}

struct History {
    machine: Machine,
    dice: Dice,
    known: BTreeMap<u128, Known>,
    seed: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let options = Options {
            segment_bytes: ByteSize(300 + dice.below(3000) as u64),
            unindexed_max: 1 + dice.below(20),
            group_events_max: 1 + dice.below(30),
            inline_max: ByteSize(200),
            reserve_bytes: ByteSize([0, 700, 5000][dice.below(3)]),
            ..small_reserve()
        };
        Self { machine: Machine::with(options), dice, known: BTreeMap::new(), seed }
    }

    fn batch(&mut self) -> Batch {
        let id = self.known.len() as u128 + 1;
        let writes = (0..=self.dice.below(2)).map(|_| {
            let stream = format!("s{}", self.dice.below(4));
            let events = (0..=self.dice.below(3)).map(|_| {
                let size = if self.dice.below(20) == 0 { self.dice.below(1500) } else { self.dice.below(100) };
                let subject = (self.dice.below(30) == 0).then(|| "ada".to_owned());
                // The trace says which batch an event is of.
                NewEvent { trace: TraceId(id), subject, ..event("x".repeat(size)) }
            });
            Write { stream: stream.into(), expected: None, events: events.collect() }
        });
        Batch { id: RecordId(id), writes: writes.collect(), preconditions: Vec::new() }
    }

    /// Submits waves of batches, old doubtful ones among them, until the power goes.
    async fn live(&mut self) {
        if self.dice.below(5) > 0 {
            self.machine.disk.power_off_after(self.dice.below(40) as u64);
        }
        let Ok((journal, committer, _)) = self.machine.open() else { return };
        let work = async {
            for _ in 0..1 + self.dice.below(5) {
                let doubtful: Vec<Batch> = self
                    .known
                    .values()
                    .filter(|known| known.acknowledged.is_none())
                    .map(|known| known.batch.clone())
                    .collect();
                let mut wave: Vec<Batch> = doubtful.into_iter().take(2).collect();
                for _ in 0..1 + self.dice.below(6) {
                    let batch = self.batch();
                    self.known.insert(batch.id.0, Known { batch: batch.clone(), acknowledged: None });
                    wave.push(batch);
                }
                let ids: Vec<u128> = wave.iter().map(|batch| batch.id.0).collect();
                let outcomes = join_all(wave.into_iter().map(|batch| journal.append(batch))).await;
                for (id, outcome) in ids.into_iter().zip(outcomes) {
                    if let Ok(appended) = outcome {
                        self.known.get_mut(&id).unwrap().acknowledged = Some(appended);
                    }
                }
            }
            if self.dice.below(4) == 0 {
                journal.close().await;
            }
        };
        let (work, committer) = (std::pin::pin!(work), std::pin::pin!(committer.run()));
        if let Either::Right((_, work)) = select(work, committer).await {
            work.await;
        }
    }

    fn cut_power(&mut self) {
        let loss = match self.dice.below(4) {
            0 => Loss::KeepAll,
            1 => Loss::LoseUnsynced,
            _ => Loss::Torn { seed: self.seed ^ self.dice.below(1 << 30) as u64 },
        };
        self.machine.disk.power_cut(loss);
        if self.dice.below(6) == 0 {
            self.machine.shelves = MemoryShelves::new();
        }
    }

    /// Holds what was promised against what is there; tells whether a torn tail was cut.
    fn check(&self) -> bool {
        let seed = self.seed;
        let (journal, _, opened) = self.machine.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let events = journal.read(Seq::FIRST, usize::MAX).unwrap();
        assert_eq!(events.len() as u64, journal.head().0, "seed {seed}");
        let mut streams: BTreeMap<StreamId, Vec<Event>> = BTreeMap::new();
        let mut batches: BTreeMap<u128, Vec<&Event>> = BTreeMap::new();
        for (nth, event) in events.iter().enumerate() {
            let stream = streams.entry(event.stream.clone()).or_default();
            assert_eq!((event.seq.0, event.version.0), (nth as u64 + 1, stream.len() as u64 + 1), "seed {seed}");
            stream.push(event.clone());
            batches.entry(event.trace.0).or_default().push(event);
        }
        for (stream, whole) in &streams {
            assert_eq!(&journal.read_stream(stream, Version::NONE, usize::MAX).unwrap(), whole, "seed {seed} {stream}");
        }
        for (id, known) in &self.known {
            let found = batches.remove(id).unwrap_or_default();
            let wrote = known
                .batch
                .writes
                .iter()
                .flat_map(|write| write.events.iter().map(|event| (&write.stream, &event.payload)));
            let whole = found.iter().map(|event| (&event.stream, &event.payload)).eq(wrote);
            assert!(whole || found.is_empty(), "seed {seed}: batch {id} is there by halves or twice");
            if let Some(appended) = &known.acknowledged {
                assert!(whole, "seed {seed}: batch {id} was acknowledged and is lost");
                assert_eq!(found[0].seq, appended.first, "seed {seed}: batch {id} has moved");
            }
        }
        assert!(batches.is_empty(), "seed {seed}: invented {batches:?}");
        opened.torn.is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn power_cuts_lose_nothing_acknowledged_and_leave_no_halves() {
    let (mut acknowledged, mut doubtful, mut torn) = (0, 0, 0);
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..LIVES {
            history.live().await;
            history.cut_power();
            torn += usize::from(history.check());
        }
        verify_chain(&history.machine.disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        acknowledged += history.known.values().filter(|known| known.acknowledged.is_some()).count();
        doubtful += history.known.values().filter(|known| known.acknowledged.is_none()).count();
    }
    // The campaign proves something only if all of these happened, and often.
    assert!(acknowledged > 5000 && doubtful > 1000 && torn > 200, "{acknowledged} {doubtful} {torn}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_recovering_changes_nothing() {
    for seed in 0..200 {
        let mut history = History::new(seed);
        history.live().await;
        history.cut_power();
        for changes in 0..12 {
            history.machine.disk.power_off_after(changes);
            drop(history.machine.open());
            history.machine.disk.power_cut(Loss::Torn { seed: seed * 100 + changes });
        }
        history.check();
    }
}
