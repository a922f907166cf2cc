//! Two worlds of one seed agree in everything; worlds of two seeds do not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::transport::unplugged;

/// Runs on a runtime of its own, single-threaded and with a paused clock.
fn simulate<T>(seed: u64, run: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { run(World::simulated(seed, unplugged())).await })
}

/// The order in which four tasks of three steps each get their turns.
fn interleaving(seed: u64) -> (Vec<(u64, u32)>, u64) {
    simulate(seed, async |world| {
        let turns = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..4).map(|task| {
            let (world, turns) = (world.clone(), Arc::clone(&turns));
            world.clone().spawn("worker", async move {
                for step in 0..3 {
                    world.yield_point().await;
                    turns.lock().unwrap().push((task, step));
                    world.trace(format_args!("{task} {step}"));
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(world.tasks(), 0);
        let turns = turns.lock().unwrap().clone();
        (turns, world.trace_hash().unwrap())
    })
}

#[test]
fn one_seed_gives_one_interleaving_and_one_trace() {
    for seed in 0..50 {
        assert_eq!(interleaving(seed), interleaving(seed), "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_interleavings_and_other_traces() {
    let runs: Vec<_> = (0..50).map(interleaving).collect();
    assert!(runs.iter().map(|run| &run.0).collect::<BTreeSet<_>>().len() > 40);
    assert!(runs.iter().map(|run| run.1).collect::<BTreeSet<_>>().len() > 40);
}

#[test]
fn chance_follows_from_seed_name_and_turn() {
    let draws = |seed, name: &'static str| {
        simulate(seed, async |world| {
            world.chance("another stream does not disturb").id();
            [world.chance(name).id(), world.chance(name).id()]
        })
    };
    let [first, second] = draws(1, "ids");
    assert_eq!(draws(1, "ids"), [first, second]);
    assert_ne!(first, second, "asked twice, it is another stream");
    assert_ne!(draws(1, "jitter")[0], first);
    assert_ne!(draws(2, "ids")[0], first);
    assert_ne!(draws(reboot(1, 1), "ids")[0], first);
    assert_ne!(reboot(1, 1), reboot(1, 2));
}

#[test]
fn chance_keeps_within_its_bounds() {
    let mut chance = chance::Chance::derived(7, "bounds", 0);
    let units: Vec<f64> = (0..1000).map(|_| chance.unit()).collect();
    assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
    assert!(units.iter().any(|unit| *unit < 0.1) && units.iter().any(|unit| *unit > 0.9));
    let seen: BTreeSet<u64> = (0..100).map(|_| chance.below(3)).collect();
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    assert_eq!(chance.below(0), 0);
}

#[test]
fn simulated_time_follows_the_runtime_and_jumps_only_on_the_wall() {
    simulate(0, async |world| {
        assert_eq!(world.now().to_string(), "2026-01-01T00:00:00Z");
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(world.elapsed(), Duration::from_secs(90));
        assert_eq!(world.now().since(EPOCH), Duration::from_secs(90));
        world.jump(-30_000);
        assert_eq!(world.now().since(EPOCH), Duration::from_secs(60));
        assert_eq!(world.elapsed(), Duration::from_secs(90));
    });
}

#[test]
fn simulated_blocking_work_runs_in_place_and_its_panic_is_an_error() {
    simulate(0, async |world| {
        let here = std::thread::current().id();
        assert_eq!(world.blocking("where", || std::thread::current().id()).await, Ok(here));
        let lost = world.blocking("fails", || panic!("on purpose")).await.unwrap_err();
        assert_eq!(lost, Lost { name: "fails", reason: "panicked: on purpose".to_owned() });
        assert!(matches!(world.thread("loop", || {}), Err(ThreadError::Simulated("loop"))));
    });
}

#[tokio::test]
async fn the_real_world_has_threads_entropy_and_no_trace() {
    let world = World::real(WorldOptions::default()).unwrap();
    assert!(!world.is_simulated());
    assert!(world.now() > EPOCH);
    assert_ne!(world.chance("ids").id(), world.chance("ids").id());
    let here = std::thread::current().id();
    assert_ne!(world.blocking("where", || std::thread::current().id()).await, Ok(here));
    let lost = world.blocking("fails", || panic!("on purpose")).await.unwrap_err();
    assert_eq!(lost.reason, "panicked: on purpose");
    world.thread("once", || {}).unwrap().join().unwrap();
    world.trace("nothing");
    assert_eq!(world.trace_hash(), None);
}

#[test]
fn a_task_is_counted_until_it_ends_or_is_aborted() {
    simulate(0, async |world| {
        let ends = world.spawn("ends", async { 7 });
        let waits = world.spawn("waits", std::future::pending::<()>());
        assert_eq!(world.tasks(), 2);
        assert_eq!(ends.await.unwrap(), 7);
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert_eq!(world.tasks(), 0);
    });
}
