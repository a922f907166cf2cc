//! The program is killed at random times and at crash points, between a provider and a platform that
//! live on; what the three sides saw is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use chaos::aims::Invariant;
use chaos::disk::command::Deaf;
use chaos::fault::{Fault, Hits, Loss, PlatformEffect, Point, ProviderEffect};
use chaos::history::{History, Seen};
use chaos::kill9::command::Summary;
use chaos::kill9::{Aim, INVARIANTS, Kill9Options, Medium, Played, Yard, plan, play};
use chaos::plan::{Approval, Planned, Platform};
use chaos::report::Verdict;

use crate::desk::{Desk, Provider, cache, chaos};

fn killed(options: &Kill9Options) -> History {
    let Played { history, .. } = killed_on(options, None);
    assert_eq!(history.broken, None);
    history
}

/// The same, on a disk that is deaf to some syncs.
fn killed_on(options: &Kill9Options, deaf_to: Option<Deaf>) -> Played {
    let folder = tempfile::tempdir().unwrap();
    let programs = (env!("CARGO_BIN_EXE_e2e-callboard"), env!("CARGO_BIN_EXE_e2e-chaos"));
    let mut yard = Yard::new(folder.path().join("yard"), PathBuf::from(programs.0), PathBuf::from(programs.1));
    (yard.models, yard.deaf_to) = (Some(cache()), deaf_to);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(play(plan(options), &yard, &|_| {})).unwrap()
}

/// Provider and platform do this while the program is killed, each so often at most.
fn meanwhile(providers: &[(ProviderEffect, u32)], platforms: &[(PlatformEffect, u32)]) -> Vec<Planned> {
    let hits = |count: u32| Hits { for_ms: 120_000, p: 0.3, count_max: Some(count) };
    let providers = providers.iter().map(|(effect, count)| Fault::Provider { effect: *effect, hits: hits(*count) });
    let platforms = platforms.iter().map(|(effect, count)| Fault::Platform { effect: *effect, hits: hits(*count) });
    (0..).zip(providers.chain(platforms)).map(|(number, fault)| Planned { number, at_ms: 0, fault }).collect()
}

/// How often provider and platform did something of the plan.
fn struck(history: &History) -> usize {
    let no_kill = |number: u32| {
        let planned = history.plan.faults.iter().find(|planned| planned.number == number).unwrap();
        !matches!(planned.fault, Fault::Crash { .. })
    };
    let struck = |seen: &Seen| matches!(seen, Seen::Struck { number } if no_kill(*number));
    history.seen.iter().filter(|sighting| struck(&sighting.what)).count()
}

/// Whether it was on a disk that loses; where none can be mounted, why not is told.
fn on_a_disk_that_loses(played: &Played) -> bool {
    match &played.medium {
        Medium::Refused(why) => eprintln!("skipped: {why}"),
        medium => assert_eq!(*medium, Medium::Losing),
    }
    played.medium == Medium::Losing
}

/// What must be true whatever the platform can do.
fn judge(history: &History, options: &Kill9Options) {
    let summary = Summary::of(history);
    assert_eq!(summary.kills.values().sum::<u32>(), options.cycles, "{summary}");
    assert_eq!(summary.acknowledged, options.runs as usize, "{summary}");
    assert_eq!(summary.ends, BTreeMap::from([("finished".to_owned(), options.runs)]), "{summary}");
    assert_eq!((summary.unfinished, summary.twice.len()), (0, 0), "{summary}");
    let mut reported = BTreeSet::new();
    for sighting in &history.seen {
        if let Seen::Reported { posts, .. } = &sighting.what {
            reported.extend(posts.clone());
        }
    }
    let posted = history.seen.iter().filter_map(|sighting| match &sighting.what {
        Seen::Posted { key, .. } => Some(key.clone()),
        _ => None,
    });
    let posted: BTreeSet<String> = posted.collect();
    assert_eq!(reported, posted, "what is said to be out is out, and the reverse");
    assert_eq!(posted.len(), options.runs as usize * 3, "three posts of each run");
    assert!(history.seen.windows(2).all(|pair| pair[0].at_us <= pair[1].at_us));
}

#[test]
fn a_careful_platform_has_every_post_once_after_any_kill() {
    let limited = ProviderEffect::Status { status: 429, retry_after_ms: Some(100) };
    // Fewer than the attempts that a step has, so that every run finishes.
    let faults =
        meanwhile(&[(limited, 1), (ProviderEffect::Cut, 1)], &[(PlatformEffect::Lost, 1), (PlatformEffect::Reset, 1)]);
    let options = Kill9Options { cycles: 8, runs: 4, seed: 11, faults, ..Kill9Options::default() };
    let history = killed(&options);
    judge(&history, &options);
    assert!(struck(&history) > 0, "provider and platform do what is planned");
    let verdict = Verdict::of(&history, &INVARIANTS, &[]);
    assert!(!verdict.is_failure(), "{:?}", verdict.violations);
}

#[test]
fn a_careless_platform_has_every_post_once_and_what_is_in_doubt_is_held() {
    let options = Kill9Options {
        cycles: 4,
        runs: 3,
        seed: 12,
        aims: vec![Aim { point: Point::PostAfterSend, nth: (1, 1) }],
        faults: meanwhile(&[], &[(PlatformEffect::Lost, 2), (PlatformEffect::Late { by_ms: 30_000 }, 1)]),
        platform: Platform::Careless,
        approval: Approval::Ask,
        ..Kill9Options::default()
    };
    let history = killed(&options);
    judge(&history, &options);
    assert!(Summary::of(&history).held > 0, "the program dies when a post was sent, so some are in doubt");
    assert!(history.seen.iter().any(|sighting| matches!(sighting.what, Seen::Questioned { .. })));
}

#[test]
fn a_power_cut_at_each_kill_loses_nothing_that_was_acknowledged() {
    let aims = [Point::PostAfterSend, Point::AppendAfter, Point::SyncBefore].map(Aim::from).to_vec();
    let losses = vec![Loss::LoseUnsynced];
    let options = Kill9Options { cycles: 6, runs: 4, seed: 13, aims, losses, ..Kill9Options::default() };
    let played = killed_on(&options, None);
    if on_a_disk_that_loses(&played) {
        assert_eq!(played.history.broken, None);
        let cut = |seen: &&Seen| matches!(seen, Seen::Crashed { loss: Loss::LoseUnsynced, .. });
        let cuts = played.history.seen.iter().map(|sighting| &sighting.what).filter(cut).count();
        assert_eq!(cuts, 6);
        judge(&played.history, &options);
    }
}

#[test]
fn a_power_cut_shows_that_syncs_are_missing() {
    // What a cut takes, the program may miss at its start already; so the checker has a few plays to find it.
    const PLAYS: u64 = 6;
    for deaf_to in [Deaf::Files, Deaf::Folders] {
        let is_found = (14..14 + PLAYS).any(|seed| {
            let (losses, quiet) = (vec![Loss::LoseUnsynced], Duration::from_secs(5));
            let options = Kill9Options { cycles: 6, runs: 6, seed, losses, quiet, ..Kill9Options::default() };
            let played = killed_on(&options, Some(deaf_to));
            if !on_a_disk_that_loses(&played) {
                return true;
            }
            let found = Verdict::of(&played.history, &INVARIANTS, &[]);
            assert!(found.is_failure(), "{deaf_to:?}: {found:?}");
            found.counts.contains_key(&Invariant::AcknowledgedSurvives)
        });
        assert!(is_found, "{deaf_to:?}: what was acknowledged is gone, and no checker of that says so");
    }
}

#[test]
fn an_armed_program_dies_at_its_point_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let brief = desk.brief("one").display().to_string();
    let log = desk.path("crash.log");
    let armed = |mark: &str| -> Command {
        let mut command = desk.command(&["run", &brief, "--plain"]);
        command.env("CALLBOARD_CRASH", mark).env("CALLBOARD_CRASH_LOG", &log);
        command
    };
    for (point, posts) in [("call.after_send", 0), ("post.before_send", 0), ("post.after_send", 1)] {
        let said = armed(&format!("{point}:1")).output().unwrap();
        assert!(!said.status.success(), "{point}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), point);
        let there = if desk.path("data/feed/feed.atom").exists() { desk.feed().len() } else { 0 };
        assert!(there >= posts, "{point}: {there} posts");
    }
    desk.callboard(&["run", &brief, "--plain"]).good();
    assert_eq!(desk.feed().len(), 3);
    let said = armed("post.befor_send:1").output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("did you mean `post.before_send`?") && said.contains("CALLBOARD_CRASH"), "{said}");
}

/// A few kills at calls, while the provider refuses some.
const REFUSED: &str = "\
[experiment]
name = \"refused\"
modes = [\"sim\", \"kill9\"]
seed = 3
duration = \"1m\"
quiet = \"10m\"

[workload]
runs = 2
arrival = \"1/s\"

[[steady]]
probe = \"ready\"
min = 1

[[fault]]
kind = \"provider_status\"
status = 503
count = 3

[[fault]]
kind = \"crash\"
point = \"call.after_send\"
nth = \"1..2\"

[[sometimes]]
use = [\"crashed\", \"provider_failed\", \"restarted\"]
";

#[test]
fn the_command_plays_the_experiment_and_its_kill_is_replayed_in_simulation() {
    let folder = tempfile::tempdir().unwrap();
    let chaos = |arguments: &[&str]| chaos(folder.path(), "", arguments);
    std::fs::write(folder.path().join("refused.toml"), REFUSED).unwrap();
    let callboard = env!("CARGO_BIN_EXE_e2e-callboard");
    let said = chaos(&["kill9", "refused.toml", "--cycles", "6", "--callboard", callboard, "--out", "out"]).good();
    for wanted in [
        "half at call.after_send",
        "1m of the experiment are",
        "6 runs, spread evenly over the kills, instead of 2 at 1/s",
        "not judged, since it cannot be seen from outside: restarts_bounded, breaker_legal, bounded, restarted",
        "1 planned, 1 struck, 3 hits",
    ] {
        assert!(said.out.contains(wanted), "{wanted}: {}", said.out);
    }
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("out/report.json")).unwrap()).unwrap();
    let checked: Vec<_> = report["checkers"].as_array().unwrap().iter().map(|line| &line["invariant"]).collect();
    assert_eq!(checked, INVARIANTS.map(|one| one.name()));
    assert_eq!(report["outcome"], "passed");

    let said = chaos(&["replay", "out/replay.json"]).good();
    assert!(said.out.contains("\"seen\":\"crashed\",\"point\":\"call.after_send\""), "{}", said.out);
}

#[test]
fn what_never_happened_makes_the_command_fail() {
    let folder = tempfile::tempdir().unwrap();
    let never = REFUSED.replace("\"provider_failed\"", "\"budget_spent\"");
    std::fs::write(folder.path().join("refused.toml"), never).unwrap();
    let callboard = env!("CARGO_BIN_EXE_e2e-callboard");
    let few = ["kill9", "refused.toml", "--cycles", "1", "--runs", "1", "--out", "out", "--callboard", callboard];
    let said = chaos(folder.path(), "", &few).bad();
    assert!(said.err.contains("refused inconclusive"), "{}{}", said.out, said.err);
    assert!(said.out.contains("NEVER"), "{}", said.out);
}
