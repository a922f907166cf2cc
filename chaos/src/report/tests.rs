//! What verdicts add up to, and how that is written.

use super::*;
use crate::checkers::{Violation, honest};
use crate::history::{History, Seen};

const SEEDS: u64 = 40;

fn heading(sometimes: &[Sometimes]) -> Heading {
    Heading {
        experiment: "crash & <burn>".to_owned(),
        runner: "sim".to_owned(),
        file_system: None,
        commit: "0123abc".to_owned(),
        invariants: Invariant::ALL.to_vec(),
        sometimes: sometimes.to_vec(),
        events_per_second: Some(250_000.0),
    }
}

fn judged(history: &History) -> Verdict {
    Verdict::of(history, &Invariant::ALL, &Sometimes::ALL)
}

fn verdicts() -> Vec<Verdict> {
    (0..SEEDS).map(|seed| judged(&honest::history(seed))).collect()
}

/// A seed whose run was lost, in words that need care.
fn failing() -> Verdict {
    let mut history = honest::history(SEEDS);
    history.broken = Some("it said \"no\" <&>\u{1}\nand | stopped".to_owned());
    judged(&history)
}

/// Every tag that opens closes, in order, and every attribute keeps to its quotes.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a bare > before {}", &rest[start..]);
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '/', '?']).find(|part| !part.is_empty()).unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !tag.ends_with('/') && !tag.starts_with('?') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?} left open");
}

#[test]
fn a_campaign_passes_when_nothing_is_violated_and_everything_happened() {
    let report = Report::of(heading(&[Sometimes::Crashed, Sometimes::Retried]), verdicts());
    assert_eq!((report.outcome, report.seeds), (Outcome::Passed, SEEDS));
    assert!(report.checkers.iter().all(|line| line.violations == 0));
    let crashes = report.faults.iter().find(|line| line.kind == "crash").unwrap();
    assert!(crashes.struck > 0 && crashes.struck <= crashes.planned && crashes.struck <= crashes.times);
    let outages = report.outages.unwrap();
    assert!(outages.median_us >= 300_000 && outages.median_us <= outages.p99_us && outages.p99_us <= outages.max_us);
}

#[test]
fn a_campaign_that_missed_something_is_inconclusive() {
    let mut verdicts = verdicts();
    for verdict in &mut verdicts {
        verdict.reached.retain(|one| *one != Sometimes::Escalated);
    }
    let report = Report::of(heading(&[Sometimes::Crashed, Sometimes::Escalated]), verdicts);
    assert_eq!(report.outcome, Outcome::Inconclusive);
    assert!(!report.passed());
    assert!(markdown(&report).contains("`escalated` never happened"));
    assert!(junit(&report).contains("name=\"sometimes.escalated\" time=\"0\">"));
}

#[test]
fn a_campaign_without_seeds_is_inconclusive() {
    let report = Report::of(heading(&[]), Vec::new());
    assert_eq!(report.outcome, Outcome::Inconclusive);
    assert!(junit(&report).contains("failures=\"1\""));
}

#[test]
fn a_violation_or_a_divergence_fails_the_campaign_even_when_something_was_missed() {
    let mut diverged = judged(&honest::history(0));
    diverged.diverged = Some("event 12: the one `run.intended`, the other `run.resolved`".to_owned());
    for wrong in [failing(), diverged] {
        let report = Report::of(heading(&Sometimes::ALL), [verdicts()[..3].to_vec(), vec![wrong]].concat());
        assert_eq!(report.outcome, Outcome::Failed);
    }
}

#[test]
fn a_report_survives_json() {
    let report = Report::of(heading(&Sometimes::ALL), [verdicts(), vec![failing()]].concat());
    let read: Report = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(read, report);
}

#[test]
fn junit_is_well_formed_and_counts_its_failures() {
    let report = Report::of(heading(&Sometimes::ALL), [verdicts(), vec![failing()]].concat());
    let xml = junit(&report);
    assert_well_formed(&xml);
    assert!(xml.contains("<testsuite name=\"crash &amp; &lt;burn&gt;\""));
    assert!(xml.contains("it said &quot;no&quot; &lt;&amp;&gt;\u{fffd}&#10;and | stopped"));
    let failures = xml.matches("<failure ").count();
    assert!(xml.contains(&format!("failures=\"{failures}\"")), "{failures}");
    assert!(failures >= 1);
}

#[test]
fn markdown_keeps_foreign_words_in_their_place() {
    let report = Report::of(heading(&Sometimes::ALL), [verdicts(), vec![failing()]].concat());
    let text = markdown(&report);
    assert!(text.starts_with("# crash & &lt;burn>: failed\n"));
    assert!(text.contains("1 of 41 seeds show that something is wrong."));
    assert!(text.contains("it said \"no\" &lt;&>\u{1} and \\| stopped"));
    assert!(text.contains("| `no_lost_run` | 1 | 40 |"));
}

#[test]
fn a_picture_is_well_formed() {
    let mut history = honest::history(SEEDS);
    history.plan.experiment = "a <b> & \"c\"".to_owned();
    let violation = Violation { invariant: Invariant::Bounded, at_us: 5, message: "<&>".to_owned() };
    assert_well_formed(&timeline::svg(&history, &[violation]));
}

#[test]
fn a_crash_in_a_recovery_lengthens_the_outage() {
    let mut history = honest::history(0);
    let crashed = || Seen::Crashed { point: None, loss: crate::fault::Loss::KeepAll };
    let seen = [
        (0, Seen::Ready { life: 1 }),
        (10, crashed()),
        (15, crashed()),
        (40, Seen::Ready { life: 3 }),
        (50, crashed()),
    ];
    history.seen = seen.map(|(at_us, what)| crate::history::Sighting { at_us, what }).to_vec();
    assert_eq!(outages_us(&history), [30]);
}

#[test]
fn a_report_says_what_the_data_lay_on_where_it_was_real() {
    let mut report = Report::of(heading(&[]), verdicts());
    assert!(!markdown(&report).contains("file system") && !report.json().unwrap().contains("file_system"));
    report.heading.file_system = Some(crate::kill9::Medium::Refused("no /dev/fuse".to_owned()).to_string());
    assert!(markdown(&report).contains("a missing sync cannot show; no /dev/fuse |"));
    assert!(report.json().unwrap().contains("a missing sync cannot show; no /dev/fuse\""));
}

#[test]
fn a_seed_that_is_not_steady_fails_in_every_form() {
    let mut verdicts = verdicts();
    verdicts[3].unsteady = vec!["`ready` must be at least 1, after".to_owned()];
    let report = Report::of(heading(&[]), verdicts);
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(markdown(&report).contains("- seed 3\n  - unsteady: `ready` must be at least 1, after"));
    let junit = junit(&report);
    assert!(junit.contains("name=\"steady\"") && junit.contains("seed 3: `ready`"), "{junit}");
    assert_well_formed(&junit);
}

#[test]
fn what_was_not_judged_is_named() {
    let report = Report::of(heading(&[]), verdicts()).with_unjudged(vec!["bounded".to_owned(), "restarted".to_owned()]);
    assert!(markdown(&report).contains("| not judged | bounded, restarted |"));
}
