//! Waking, resting and the races between them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const REST_AFTER: Duration = Duration::from_millis(20);

/// A directory whose actors rest soon, and how often it woke one.
fn directory(rig: &Rig) -> (Directory<Tally>, Arc<AtomicUsize>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let (spine, counted) = (rig.spine.clone(), Arc::clone(&wakes));
    let options = Options { rest_after: Some(REST_AFTER), ..Options::default() };
    let spawner: Spawner<Tally> = Arc::new(move |_, id| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (spine, options) = (spine.clone(), options.clone());
        Box::pin(async move {
            spine.world.yield_point().await;
            Ok(Durable::start(&spine, &id, Arc::new(Alone), options, None).await?)
        })
    });
    (Directory::new(rig.spine.world.clone(), spawner), wakes)
}

async fn add(directory: &Directory<Tally>, id: &str, n: u64) -> Asked<Tally> {
    directory.ask(id, Origin::system(), Command::Add(n)).await
}

#[tokio::test(start_paused = true)]
async fn wakes_once_for_all_who_ask_and_keeps_nothing_of_who_rests() {
    let rig = Rig::new(1);
    let (directory, wakes) = directory(&rig);
    let asks = (0..10).map(|_| add(&directory, "a", 1));
    let sums: BTreeSet<_> = futures::future::join_all(asks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=10).collect());
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert_eq!(directory.depths().into_iter().collect::<Vec<_>>(), [("a".to_owned(), 0)]);
    tokio::time::sleep(REST_AFTER * 3).await;
    assert!(directory.depths().is_empty());
    assert!(directory.is_empty());
    assert_eq!(rig.spine.world.tasks(), 1, "only the committer is left");
    assert_eq!(add(&directory, "a", 1).await, Ok(11));
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
}

/// Askers whose pauses end around the time that the actors rest; every command must be taken
/// exactly once. Returns how often an actor was woken, and the trace.
fn race(seed: u64) -> (usize, u64) {
    const ASKERS: u64 = 4;
    const ASKS: u64 = 12;
    const IDS: u64 = 2;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let rig = Rig::new(seed);
        let (directory, wakes) = directory(&rig);
        let world = rig.spine.world.clone();
        let askers = (0..ASKERS).map(|asker| {
            let (directory, world) = (directory.clone(), world.clone());
            let mut chance = world.chance("asker");
            world.clone().spawn("asker", async move {
                let id = (asker % IDS).to_string();
                for _ in 0..ASKS {
                    // Mostly to the very tick: the actor's own timer fires in it too.
                    let late = Duration::from_millis(chance.below(5) / 4);
                    tokio::time::sleep(REST_AFTER + late).await;
                    world.yield_point().await;
                    add(&directory, &id, 1).await.unwrap();
                }
            })
        });
        for asker in askers.collect::<Vec<_>>() {
            asker.await.unwrap();
        }
        for id in 0..IDS {
            assert_eq!(add(&directory, &id.to_string(), 0).await, Ok(ASKERS * ASKS / IDS), "seed {seed}");
        }
        (wakes.load(Ordering::Relaxed), world.trace_hash().unwrap())
    })
}

#[test]
fn no_command_is_lost_between_rest_and_wake() {
    let mut traces = BTreeSet::new();
    let mut woken = 0;
    for seed in 0..200 {
        let (wakes, trace) = race(seed);
        woken += wakes;
        traces.insert(trace);
    }
    assert!(woken > 1000, "woken only {woken} times: the race was not run");
    assert!(traces.len() > 190, "only {} orders were tried", traces.len());
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..20 {
        assert_eq!(race(seed), race(seed), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_its_asker_and_the_next_command_wakes_it_again() {
    let rig = Rig::new(1);
    let (directory, wakes) = directory(&rig);
    add(&directory, "a", 2).await.unwrap();
    let lost = directory.ask("a", Origin::system(), Command::Panic).await;
    assert!(matches!(lost, Err(AskError::Lost { .. })));
    assert_eq!(add(&directory, "a", 1).await, Ok(3));
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_elsewhere_is_waited_for() {
    let rig = Rig::new(1);
    let elsewhere: Spawner<Tally> = Arc::new(|_, _| Box::pin(async { Err(WakeError::Elsewhere) }));
    let directory = Directory::new(rig.spine.world.clone(), elsewhere);
    let publishes = directory.clone();
    let handle = rig.start(busy_for_ever()).await.unwrap();
    rig.spine.world.spawn("supervisor", async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        publishes.publish("t", handle);
    });
    assert_eq!(add(&directory, "t", 1).await, Ok(1));
    assert_eq!(rig.spine.world.elapsed().as_secs(), 3);
    let Err(AskError::NotStarted(reason)) = add(&directory, "other", 1).await else { panic!("started") };
    assert_eq!(reason, "not started within 30s");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_or_panics_is_said_and_tried_anew() {
    let rig = Rig::new(1);
    let fails: Spawner<Tally> = Arc::new(|_, id| {
        Box::pin(async move {
            assert_ne!(id, "panics", "on purpose");
            Err(WakeError::Failed("no room in the tree".to_owned()))
        })
    });
    let directory = Directory::new(rig.spine.world.clone(), fails);
    for _ in 0..2 {
        let said = add(&directory, "t", 1).await;
        assert_eq!(said, Err(AskError::NotStarted("no room in the tree".to_owned())));
    }
    let said = add(&directory, "panics", 1).await;
    assert_eq!(said, Err(AskError::NotStarted("its start panicked".to_owned())));
    assert!(directory.is_empty());
}
