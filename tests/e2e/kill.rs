//! kill -9 at random moments costs nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use agents::run::Event;

use crate::desk::{Desk, Provider, recorded_calls};

/// Kills in all.
const KILLS: u32 = 50;
/// Kills of one run, at most; then it may end.
const KILLS_OF_A_RUN: u32 = 10;
/// The longest that a process lives before it is killed.
const LIFE_MS_MAX: u64 = 1_200;

/// Moments follow from a fixed seed, so that a failure can be looked at again;
/// where in the program a kill lands does not.
fn moment(state: &mut u64) -> Duration {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    Duration::from_millis((*state >> 33) % LIFE_MS_MAX)
}

#[test]
fn after_fifty_kills_every_run_ends_each_post_is_there_once_and_no_recorded_call_was_made_again() {
    let provider_folder = tempfile::tempdir().unwrap();
    // Slow enough that most lives end before their run: a feed that overflows into archives proves no more.
    let provider = Provider::start(provider_folder.path(), &["--think-ms", "400"]);
    let desk = Desk::new(&provider.url);
    let (mut kills, mut runs, mut chance) = (0, 0, 4711_u64);
    while kills < KILLS {
        runs += 1;
        let brief = desk.brief(&format!("{runs}")).display().to_string();
        let mut of_this_run = 0;
        while kills < KILLS && of_this_run < KILLS_OF_A_RUN {
            let mut child =
                desk.command(&["run", &brief, "--plain"]).stdout(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(moment(&mut chance));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            of_this_run += 1;
        }
        desk.callboard(&["run", &brief, "--plain"]).good();
    }
    let events = desk.events();
    let count = |test: fn(&Event) -> bool| events.iter().filter(|event| test(event)).count();
    assert_eq!(count(|e| matches!(e, Event::Accepted(_))), runs, "every run was accepted once");
    assert_eq!(count(|e| matches!(e, Event::Finished(_))), runs, "every run ended");
    let feed = desk.feed();
    let ids: BTreeSet<_> = feed.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), feed.len(), "no post is there twice");
    assert_eq!(feed.len(), runs * 3, "three posts of each run");
    let served = provider.calls();
    for (call, attempts) in recorded_calls(&events) {
        let times = served.get(&call).copied().unwrap_or(0);
        assert!(times >= 1 && times <= attempts, "{call} was served {times} times for {attempts} attempts");
    }
}
