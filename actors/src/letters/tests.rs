use std::sync::Arc;

use policies::poison::PoisonPolicy;
use proptest::prelude::*;
use storage::disk::sim::{Loss, SimDisk};
use storage::journal::{INDEX_VERSION, Journal, Options};
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

use super::book::Book;
use super::*;
use crate::telemetry::Metrics;
use crate::transport::unplugged;
use crate::world::World;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn death(micros: i64) -> Death {
    Death::new(at(micros), "run/r", FailureClass::Bug, "it panicked", true)
}

fn letter(id: &str, kind: Kind, deaths: usize) -> Letter {
    Letter {
        id: id.into(),
        at: at(0),
        kind,
        stream: "run/r".to_owned(),
        what: "draft".to_owned(),
        child: "writer".to_owned(),
        in_doubt: false,
        content: Value::Null,
        deaths: (0..deaths).map(|n| death(n as i64)).collect(),
    }
}

/// A register in a life of its own: another seed, as after each start.
fn register(disk: &SimDisk, life: u64) -> Letters {
    let world = World::simulated(life, unplugged());
    let index = MemoryShelves::new().open("index", INDEX_VERSION).unwrap();
    let (journal, committer, _) =
        Journal::open(Arc::new(disk.clone()), index, Options::default(), world.now()).unwrap();
    world.spawn("committer", committer.run());
    Letters::new(world, journal, Metrics::new())
}

const GIST: &str = "loss of attempt 1";

#[tokio::test(start_paused = true)]
async fn a_command_is_out_of_circulation_after_its_last_death_and_still_is_after_a_crash() {
    let disk = SimDisk::new();
    let stream = StreamId::from("run/r");
    for number in 1..=3_u32 {
        let before = register(&disk, number.into());
        before.catch_up().await.unwrap();
        assert_eq!(before.holds(&stream, Version(7), GIST), None, "{number}");
        before.died(&stream, Version(7), GIST, death(number.into())).await;
        // The process dies, and what was not synced is lost.
        disk.power_cut(Loss::LoseUnsynced);
    }
    let register = register(&disk, 9);
    register.catch_up().await.unwrap();
    let id = register.holds(&stream, Version(7), GIST).unwrap();
    assert_eq!(register.holds(&stream, Version(8), GIST), None, "in another state it is another command");
    assert_eq!(register.holds(&stream, Version(7), "start"), None);
    let entry = register.find(&id).await.unwrap().unwrap();
    let times: Vec<i64> = entry.letter.deaths.iter().map(|death| death.at.micros()).collect();
    assert_eq!((times, entry.letter.kind), (vec![1, 2, 3], Kind::Command));
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_settled_once_and_a_second_word_changes_nothing() {
    let disk = SimDisk::new();
    let (register, stream) = (register(&disk, 1), StreamId::from("run/r"));
    register.govern(PoisonPolicy { deaths: 1, ..PoisonPolicy::default() });
    register.died(&stream, Version(1), GIST, death(1)).await;
    let id = register.holds(&stream, Version(1), GIST).unwrap();
    let replayed = || Event::Replayed { id: id.clone(), at: at(2), by: "ann".to_owned() };
    let settled = register.settle(replayed(), "ann").await.unwrap().unwrap();
    assert!(matches!(&settled, Settled::Now(entry) if matches!(entry.fate, Fate::Replayed { .. })), "{settled:?}");
    assert_eq!(register.holds(&stream, Version(1), GIST), None);
    let discarded = Event::Discarded { id: id.clone(), at: at(3), by: "bob".to_owned(), reason: String::new() };
    let settled = register.settle(discarded, "bob").await.unwrap().unwrap();
    assert!(matches!(&settled, Settled::Before(entry) if matches!(entry.fate, Fate::Replayed { .. })), "{settled:?}");
    assert_eq!(
        register.settle(Event::Replayed { id: "none".into(), at: at(3), by: String::new() }, "x").await.unwrap(),
        None
    );
    // It kills again, and is the same letter again with its whole history.
    register.died(&stream, Version(1), GIST, death(4)).await;
    let entry = register.find(&id).await.unwrap().unwrap();
    assert_eq!((entry.fate, entry.letter.deaths.len()), (Fate::Open, 2));
}

#[tokio::test(start_paused = true)]
async fn a_policy_may_give_up_what_is_poison_at_once() {
    let disk = SimDisk::new();
    let (register, stream) = (register(&disk, 1), StreamId::from("run/r"));
    register.govern(PoisonPolicy { deaths: 1, then: policies::poison::Then::Fail, ..PoisonPolicy::default() });
    register.died(&stream, Version(1), GIST, death(1)).await;
    let id = register.holds(&stream, Version(1), GIST).unwrap();
    assert!(matches!(register.find(&id).await.unwrap().unwrap().fate, Fate::Discarded { .. }));
    assert_eq!(register.page(None, true, 9).await.unwrap(), []);
    assert_eq!(register.page(None, false, 9).await.unwrap().len(), 1);
}

#[test]
fn a_letter_keeps_the_beginning_of_what_is_long() {
    assert_eq!(content(&"short"), Value::from("short"));
    let long = content(&"ä".repeat(CONTENT_BYTES_MAX));
    assert_eq!(long["bytes"], 2 * CONTENT_BYTES_MAX + 2);
    assert!(long["begins"].as_str().unwrap().len() <= CONTENT_BYTES_MAX);
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let mut book = Book::default();
    for version in 1..=9 {
        book.fold(Version(version), Event::Dead(letter(&format!("l{version}"), Kind::Effect, 1)));
    }
    let places = |before| book.newest(before).take(4).map(|entry| entry.place).collect::<Vec<_>>();
    assert_eq!((places(None), places(Some(6)), places(Some(2))), (vec![9, 8, 7, 6], vec![5, 4, 3, 2], vec![1]));
}

#[derive(Clone, Debug)]
enum Step {
    Died(u8),
    Dead(u8),
    Replayed(u8),
    Discarded(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_u8).prop_map(Step::Died),
        (0..4_u8).prop_map(Step::Dead),
        (0..4_u8).prop_map(Step::Replayed),
        (0..4_u8).prop_map(Step::Discarded),
    ];
    prop::collection::vec(step, 0..60)
}

fn event(step: &Step) -> Event {
    let id = |number: &u8| LetterId::from(number.to_string().as_str());
    let (at, by) = (at(1), "ann".to_owned());
    match step {
        Step::Died(number) => Event::Died { id: id(number), death: death(1) },
        Step::Dead(number) => Event::Dead(letter(&number.to_string(), Kind::Command, 1)),
        Step::Replayed(number) => Event::Replayed { id: id(number), at, by },
        Step::Discarded(number) => Event::Discarded { id: id(number), at, by, reason: String::new() },
    }
}

proptest! {
    /// Whatever happens in whatever order: an id has one entry, only an open letter is settled, a command
    /// is held exactly while its letter is open or was discarded, and what is read twice counts once.
    #[test]
    fn a_letter_has_one_fate(steps in steps()) {
        let mut book = Book::default();
        let mut fates: std::collections::BTreeMap<u8, Option<bool>> = std::collections::BTreeMap::new();
        for (version, step) in (1..).zip(&steps) {
            book.fold(Version(version), event(step));
            book.fold(Version(version), event(step));
            match step {
                Step::Died(_) => {}
                Step::Dead(number) => drop(fates.insert(*number, None)),
                Step::Replayed(number) => {
                    if let Some(fate) = fates.get_mut(number) {
                        fate.get_or_insert(true);
                    }
                }
                Step::Discarded(number) => {
                    if let Some(fate) = fates.get_mut(number) {
                        fate.get_or_insert(false);
                    }
                }
            }
            for number in 0..4 {
                let id = LetterId::from(number.to_string().as_str());
                let fate = fates.get(&number);
                prop_assert_eq!(book.find(&id).is_some(), fate.is_some());
                prop_assert_eq!(book.holds(&id), fate.is_some_and(|fate| *fate != Some(true)));
            }
            let open = fates.values().filter(|fate| fate.is_none()).count();
            prop_assert_eq!(book.open().count(), open);
            prop_assert_eq!(book.newest(None).count(), fates.len());
        }
    }
}
