//! The program is killed at random times and at crash points, between a provider and a platform that
//! live on; what the three sides saw is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use chaos::aims::Invariant;
use chaos::disk::command::Deaf;
use chaos::fault::{Loss, Point};
use chaos::history::{History, Seen};
use chaos::kill9::command::Summary;
use chaos::kill9::{Kill9Options, Medium, Played, Yard, plan, play};
use chaos::plan::{Approval, Platform};
use chaos::report::Verdict;

use crate::desk::{Desk, Provider, cache};

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
    let options = Kill9Options { cycles: 8, runs: 4, seed: 11, ..Kill9Options::default() };
    judge(&killed(&options), &options);
}

#[test]
fn a_careless_platform_has_every_post_once_and_what_is_in_doubt_is_held() {
    let options = Kill9Options {
        cycles: 4,
        runs: 3,
        seed: 12,
        platform: Platform::Careless,
        approval: Approval::Ask,
        ..Kill9Options::default()
    };
    let history = killed(&options);
    judge(&history, &options);
    assert!(Summary::of(&history).held > 0, "the platform loses answers, so some posts are in doubt");
    assert!(history.seen.iter().any(|sighting| matches!(sighting.what, Seen::Questioned { .. })));
}

#[test]
fn a_power_cut_at_each_kill_loses_nothing_that_was_acknowledged() {
    let points = vec![Point::PostAfterSend, Point::AppendAfter, Point::SyncBefore];
    let losses = vec![Loss::LoseUnsynced];
    let options = Kill9Options { cycles: 6, runs: 4, seed: 13, points, losses, ..Kill9Options::default() };
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
    let losses = vec![Loss::LoseUnsynced];
    for deaf_to in [Deaf::Files, Deaf::Folders] {
        let options = Kill9Options {
            cycles: 6,
            runs: 6,
            seed: 14,
            losses: losses.clone(),
            quiet: Duration::from_secs(5),
            ..Kill9Options::default()
        };
        let played = killed_on(&options, Some(deaf_to));
        if on_a_disk_that_loses(&played) {
            let found = Verdict::of(&played.history, &Invariant::ALL, &[]);
            assert!(found.counts.contains_key(&Invariant::NoLostRun), "{deaf_to:?}: {found:?}");
        }
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
