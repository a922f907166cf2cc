//! The checkers are silent on good histories, and each finds what its mutants do. The finer points
//! of each checker have cases of their own.

use policies::money::Money;
use proptest::prelude::*;

use super::mutants::mutants;
use super::score::score;
use super::{check, check_all, honest, reached};
use crate::aims::{Invariant, Sometimes};
use crate::fault::{Fault, Loss};
use crate::history::{History, Seen, Sighting};
use crate::plan::{Approval, Plan, Planned};

/// Histories among which everything happens at least once.
const HISTORIES: u64 = 300;
const SECOND: u64 = 1_000_000;

fn histories() -> Vec<History> {
    (0..HISTORIES).map(honest::history).collect()
}

/// A history of these sightings, each with its second; it ends with a clean `Over`.
fn told(faults: Vec<Fault>, seen: Vec<(f64, Seen)>) -> History {
    let mut seen: Vec<_> =
        seen.into_iter().map(|(second, what)| Sighting { at_us: (second * SECOND as f64) as u64, what }).collect();
    let at_us = seen.last().map_or(0, |last| last.at_us) + 1;
    seen.push(Sighting { at_us, what: Seen::Over { tasks: 0, unfinished: 0, orphans: 0 } });
    let faults = (0..).zip(faults).map(|(number, fault)| Planned { number, at_ms: 0, fault }).collect();
    let plan = Plan { duration_ms: 600_000, quiet_ms: 600_000, ..Plan::plain(&[], faults) };
    History { plan, budget: Money::MAX, seen, broken: None }
}

fn found(invariant: Invariant, history: &History) -> usize {
    check(invariant, history).len()
}

fn asked(key: &str) -> Seen {
    Seen::Asked { key: key.to_owned(), order: format!("order {key}") }
}

fn acknowledged(key: &str, run: &str) -> Seen {
    Seen::Acknowledged { key: key.to_owned(), run: run.to_owned() }
}

fn reported(run: &str, posts: &[&str]) -> Seen {
    let posts = posts.iter().map(|key| (*key).to_owned()).collect();
    Seen::Reported { run: run.to_owned(), status: "finished".to_owned(), outputs: "o".to_owned(), posts, spent: false }
}

fn posted(key: &str, run: &str) -> Seen {
    Seen::Posted { key: key.to_owned(), content: "c".to_owned(), run: run.to_owned() }
}

fn called(call: u64, content: &str) -> Seen {
    Seen::Called { call, content: content.to_owned(), model: None }
}

fn moved(to: &str) -> Seen {
    Seen::BreakerMoved { guard: "model/scripted".to_owned(), to: to.to_owned() }
}

fn restarted(child: &str, supervisor: &str, class: &str) -> Seen {
    Seen::Restarted { child: child.to_owned(), supervisor: supervisor.to_owned(), class: class.to_owned() }
}

fn crashed() -> Seen {
    Seen::Crashed { point: None, loss: Loss::KeepAll }
}

proptest! {
    #[test]
    fn a_good_history_is_left_in_peace(seed: u64) {
        let history = honest::history(seed);
        let found = check_all(&Invariant::ALL, &history);
        prop_assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}

#[test]
fn a_breakers_trial_that_killed_its_agent_holds_nothing_up() {
    let found = check_all(&Invariant::ALL, &honest::history(5_748_852_385_267_300_158));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn good_histories_show_everything_that_must_happen_at_some_time() {
    let histories = histories();
    // There is one model only, so nobody stands in.
    for sometimes in Sometimes::ALL.into_iter().filter(|sometimes| *sometimes != Sometimes::StoodIn) {
        assert!(histories.iter().any(|history| reached(sometimes, history)), "{} never happens", sometimes.name());
    }
    assert!(histories.iter().any(|history| Sometimes::ALL.iter().all(|sometimes| !reached(*sometimes, history))));
}

#[test]
fn every_mutant_is_caught_by_its_checker() {
    let histories = histories();
    let score = score(&histories);
    println!("{score}");
    assert_eq!(score.rows.len(), mutants().len());
    let missed: Vec<_> = score.rows.iter().filter(|row| !row.caught).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_mutant_that_no_history_fits_counts_as_missed() {
    let score = score(&[told(Vec::new(), Vec::new())]);
    assert!(!score.is_complete());
    assert!(score.to_string().contains("not caught"));
}

#[test]
fn a_violation_names_both_sides_and_their_times() {
    let seen = vec![(1.0, asked("k")), (2.0, acknowledged("k", "r1")), (3.0, acknowledged("k", "r2"))];
    let found = check(Invariant::AcknowledgedSurvives, &told(Vec::new(), seen));
    let messages: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "acknowledged_survives at 3.000000 s: key `k` was acknowledged with run `r1` at 2.000000 s and with run `r2` at \
          3.000000 s"
        ]
    );
}

#[test]
fn a_run_may_show_before_its_lost_acknowledgement_but_not_one_run_more() {
    let seen = |rows: &[&str]| {
        let mut seen = vec![(1.0, asked("k1")), (1.0, asked("k2")), (2.0, acknowledged("k1", "r1"))];
        seen.extend(rows.iter().map(|run| (3.0, posted(&format!("{run}/post"), run))));
        told(Vec::new(), seen)
    };
    assert_eq!(found(Invariant::AcknowledgedSurvives, &seen(&["r1", "r2"])), 0);
    assert_eq!(found(Invariant::AcknowledgedSurvives, &seen(&["r1", "r2", "r3"])), 1);
    assert_eq!(found(Invariant::NoDoublePost, &seen(&["r1", "r2"])), 0);
    assert_eq!(found(Invariant::NoDoublePost, &seen(&["r1", "r2", "r3"])), 2);
}

#[test]
fn a_run_may_stay_open_while_nobody_has_settled_its_post() {
    let held = Seen::Held { run: "r".to_owned(), key: "r/post".to_owned() };
    let settled = Seen::Settled { run: "r".to_owned(), key: "r/post".to_owned() };
    let seen = vec![(1.0, asked("k")), (1.0, acknowledged("k", "r"))];
    assert_eq!(found(Invariant::NoLostRun, &told(Vec::new(), seen.clone())), 1);
    let waits = [seen, vec![(5.0, held.clone())]].concat();
    let mut history = told(Vec::new(), waits.clone());
    assert_eq!(found(Invariant::NoLostRun, &history), 0);
    let over = |unfinished| Seen::Over { tasks: 0, unfinished, orphans: 0 };
    history.seen.last_mut().unwrap().what = over(1);
    assert_eq!(found(Invariant::NoLostRun, &history), 0);
    history.seen.last_mut().unwrap().what = over(2);
    assert_eq!(found(Invariant::NoLostRun, &history), 1);

    let stuck = |end: f64| [waits.clone(), vec![(155.0, settled.clone()), (end, held.clone())]].concat();
    assert_eq!(found(Invariant::NoLostRun, &told(Vec::new(), stuck(160.0))), 0, "it may still be about it");
    let mut history = told(Vec::new(), stuck(300.0));
    assert_eq!(found(Invariant::NoLostRun, &history), 1);
    history.seen.last_mut().unwrap().what = over(1);
    assert_eq!(found(Invariant::NoLostRun, &history), 2, "and the client misses it too");
}

#[test]
fn an_end_that_was_told_is_not_undone() {
    let undone = |status: &str| Seen::Undone { run: "r".to_owned(), status: status.to_owned() };
    let stable = |seen: Vec<(f64, Seen)>| found(Invariant::ResultsStable, &told(Vec::new(), seen));
    assert_eq!(stable(vec![(1.0, reported("r", &[])), (2.0, crashed()), (3.0, undone("running"))]), 1);
    assert_eq!(stable(vec![(1.0, reported("r", &[])), (3.0, undone("running")), (4.0, undone("running"))]), 1, "once");
    assert_eq!(stable(vec![(1.0, undone("running"))]), 0, "nobody was told of an end");
}

#[test]
fn a_post_is_out_before_it_is_told() {
    let seen = |row: f64, told: f64| vec![(row, posted("r/post", "r")), (told, reported("r", &["r/post"]))];
    let history = |mut seen: Vec<(f64, Seen)>| {
        seen.extend([(0.0, asked("k")), (0.0, acknowledged("k", "r"))]);
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        told(Vec::new(), seen)
    };
    assert_eq!(found(Invariant::NoDoublePost, &history(seen(1.0, 2.0))), 0);
    assert_eq!(found(Invariant::NoDoublePost, &history(seen(2.0, 1.0))), 1);
}

#[test]
fn an_answer_counts_as_recorded_only_after_a_second_of_peace() {
    let history = |crash: f64, faults: Vec<Fault>, strike: Option<f64>| {
        let mut seen = vec![(1.0, called(1, "a")), (2.0, Seen::Answered { call: 1 })];
        seen.extend(strike.map(|second| (second, Seen::Struck { number: 0 })));
        seen.extend([(crash, crashed()), (crash + 0.3, Seen::Ready { life: 2 }), (crash + 0.4, called(2, "a"))]);
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        told(faults, seen)
    };
    let kill = || Fault::Actor { target: "writer".to_owned(), effect: crate::fault::ActorEffect::Kill };
    let hang = || Fault::Actor { target: "run/*".to_owned(), effect: crate::fault::ActorEffect::Hang };
    let full = || Fault::Disk { effect: crate::fault::DiskEffect::Full { for_ms: 10 } };
    let invariant = Invariant::RecoveryIdempotent;
    assert_eq!(found(invariant, &history(2.9, Vec::new(), None)), 0, "it may not have been durable");
    assert_eq!(found(invariant, &history(3.1, Vec::new(), None)), 1);
    assert_eq!(found(invariant, &history(9.0, vec![kill()], Some(1.5))), 0, "nobody may have heard it");
    assert_eq!(found(invariant, &history(9.0, vec![kill()], Some(3.5))), 1);
    assert_eq!(found(invariant, &history(9.0, vec![full()], Some(0.5))), 0, "there may have been no room");
    assert_eq!(found(invariant, &history(9.0, vec![hang()], Some(0.5))), 0, "the run may hang until the crash");
    assert_eq!(
        found(invariant, &history(9.0, vec![kill()], Some(9.1))),
        1,
        "what strikes in a later life excuses nothing"
    );
}

#[test]
fn a_disk_that_is_full_stays_so_for_the_next_process() {
    let history = |faults: Vec<Fault>| {
        let answered = Seen::Answered { call: 1 };
        let first = [(0.2, Seen::Struck { number: 0 }), (0.5, crashed()), (0.7, Seen::Ready { life: 2 })];
        let second = [(1.0, called(1, "a")), (2.0, answered), (9.0, crashed()), (9.5, called(2, "a"))];
        told(faults, [first.as_slice(), second.as_slice()].concat())
    };
    let full = Fault::Disk { effect: crate::fault::DiskEffect::Full { for_ms: 20_000 } };
    let failing = Fault::Disk { effect: crate::fault::DiskEffect::SyncError };
    assert_eq!(found(Invariant::RecoveryIdempotent, &history(vec![full])), 0);
    assert_eq!(found(Invariant::RecoveryIdempotent, &history(vec![failing])), 1, "that is over with the process");
}

#[test]
fn a_retry_within_one_life_is_no_repetition() {
    let answered = Seen::Answered { call: 1 };
    let seen = vec![(1.0, called(1, "a")), (2.0, answered), (9.0, called(2, "a"))];
    assert_eq!(found(Invariant::RecoveryIdempotent, &told(Vec::new(), seen)), 0);
}

#[test]
fn restarts_that_cost_nothing_are_not_counted() {
    let many = |class: &str, count: u32| {
        told(Vec::new(), (0..count).map(|n| (f64::from(n) * 0.1, restarted("writer", "agents", class))).collect())
    };
    assert_eq!(found(Invariant::RestartsBounded, &many("provider_down", 50)), 0);
    assert_eq!(found(Invariant::RestartsBounded, &many("bug", 10)), 0);
    assert_eq!(found(Invariant::RestartsBounded, &many("bug", 11)), 1);
}

#[test]
fn who_is_started_again_counts_from_nothing() {
    let burst = |from: f64, last: Seen| {
        let mut seen: Vec<_> =
            (0..10).map(|n| (from + f64::from(n) * 0.1, restarted("writer", "agents", "bug"))).collect();
        seen.push((from + 1.5, last));
        seen
    };
    let twice = |between: Seen| told(Vec::new(), [burst(0.0, between.clone()), burst(2.0, between)].concat());
    assert_eq!(found(Invariant::RestartsBounded, &twice(restarted("context", "callboard", "bug"))), 0);
    assert_eq!(found(Invariant::RestartsBounded, &twice(restarted("agents", "callboard", "bug"))), 0);
    assert_eq!(found(Invariant::RestartsBounded, &twice(Seen::Ready { life: 2 })), 0);
    // What was started after `runs` does not take the agents along.
    assert_eq!(found(Invariant::RestartsBounded, &twice(restarted("runs", "callboard", "bug"))), 10);
}

#[test]
fn one_restart_more_is_right_when_the_supervisor_gives_up() {
    let mut seen: Vec<_> = (0..11).map(|n| (f64::from(n) * 0.1, restarted("writer", "agents", "bug"))).collect();
    seen.push((1.2, Seen::Escalated { supervisor: "agents".to_owned() }));
    assert_eq!(found(Invariant::RestartsBounded, &told(Vec::new(), seen)), 0);
}

#[test]
fn a_breaker_moves_only_as_it_may() {
    let moves =
        |all: &[&str]| told(Vec::new(), (1..).zip(all).map(|(second, to)| (f64::from(second), moved(to))).collect());
    assert_eq!(
        found(Invariant::BreakerLegal, &moves(&["open", "half_open", "open", "half_open", "closed", "open"])),
        0
    );
    for illegal in [&["half_open"][..], &["closed"], &["open", "closed"], &["open", "open"]] {
        assert_eq!(found(Invariant::BreakerLegal, &moves(illegal)), 1, "{illegal:?}");
    }
}

#[test]
fn a_call_may_be_on_its_way_when_the_breaker_opens() {
    let call_at = |second: f64| {
        let seen =
            vec![(1.0, moved("open")), (second, called(1, "a")), (11.0, moved("half_open")), (11.0, called(2, "b"))];
        told(Vec::new(), seen)
    };
    assert_eq!(found(Invariant::BreakerLegal, &call_at(1.0)), 0);
    assert_eq!(found(Invariant::BreakerLegal, &call_at(2.0)), 0);
    assert_eq!(found(Invariant::BreakerLegal, &call_at(5.0)), 1);
    assert_eq!(found(Invariant::BreakerLegal, &call_at(10.5)), 0, "the probe's move may be told a moment later");
}

#[test]
fn a_breaker_of_an_agents_own_moves_only_as_it_may() {
    let own = |to: &str| Seen::BreakerMoved { guard: "agent/writer".to_owned(), to: to.to_owned() };
    let moves =
        |all: &[&str]| told(Vec::new(), (1..).zip(all).map(|(second, to)| (f64::from(second), own(to))).collect());
    assert_eq!(found(Invariant::BreakerLegal, &moves(&["open", "half_open", "closed", "open"])), 0);
    assert_eq!(found(Invariant::BreakerLegal, &moves(&["open", "closed"])), 1);
    let seen = vec![(1.0, own("open")), (5.0, called(1, "a"))];
    assert_eq!(found(Invariant::BreakerLegal, &told(Vec::new(), seen)), 0, "it was another agent's call");
}

#[test]
fn a_call_is_held_against_the_breaker_of_the_model_that_it_is_for() {
    let call_for = |model: &str| {
        let call = Seen::Called { call: 1, content: "a".to_owned(), model: Some(model.to_owned()) };
        told(Vec::new(), vec![(1.0, moved("open")), (5.0, call)])
    };
    assert_eq!(found(Invariant::BreakerLegal, &call_for("scripted")), 1);
    assert_eq!(found(Invariant::BreakerLegal, &call_for("spare")), 0, "it stands in");
}

#[test]
fn a_breaker_is_closed_after_a_crash() {
    let seen = vec![(1.0, moved("open")), (2.0, crashed()), (2.5, Seen::Ready { life: 2 }), (5.0, called(1, "a"))];
    assert_eq!(found(Invariant::BreakerLegal, &told(Vec::new(), seen)), 0);
}

#[test]
fn a_post_needs_a_yes_that_was_given_before_and_no_crash_makes_one() {
    let question = Seen::Questioned { run: "r".to_owned(), path: "p".to_owned() };
    let answer = Seen::Approved { run: "r".to_owned(), path: "p".to_owned() };
    let ask = |seen: Vec<(f64, Seen)>| {
        let mut history = told(Vec::new(), seen);
        history.plan.workload.approval = Approval::Ask;
        found(Invariant::ApprovalFirst, &history)
    };
    assert_eq!(ask(vec![(1.0, question.clone()), (2.0, answer.clone()), (3.0, posted("k", "r"))]), 0);
    assert_eq!(
        ask(vec![(1.0, question.clone()), (2.0, answer.clone()), (2.0, crashed()), (3.0, posted("k", "r"))]),
        0,
        "the acknowledgement may be lost, and the answer is not"
    );
    assert_eq!(ask(vec![(1.0, question.clone()), (3.0, posted("k", "r")), (3.5, answer)]), 1);
    assert_eq!(ask(vec![(1.0, question.clone()), (2.0, crashed()), (3.0, posted("k", "r"))]), 1);
    assert_eq!(ask(vec![(2.0, crashed()), (3.0, posted("k", "r")), (4.0, question)]), 1);
}

#[test]
fn a_yes_is_for_the_post_of_its_own_block() {
    let answer = |path: &str| Seen::Approved { run: "r".to_owned(), path: path.to_owned() };
    let post = |item: u32| posted(&format!("r/posts[{item}]/gate/out/publish:ab"), "r");
    let ask = |seen: Vec<(f64, Seen)>| {
        let mut history = told(Vec::new(), seen);
        history.plan.workload.approval = Approval::Ask;
        found(Invariant::ApprovalFirst, &history)
    };
    assert_eq!(ask(vec![(1.0, answer("posts[0]/gate/approve")), (2.0, post(0))]), 0);
    assert_eq!(ask(vec![(1.0, answer("posts[0]/gate/approve")), (2.0, post(1))]), 1);
    assert_eq!(ask(vec![(1.0, answer("posts[1]/gate/approve")), (2.0, post(10))]), 1);
    assert_eq!(ask(vec![(1.0, answer("approve")), (2.0, post(0))]), 0, "a question above all posts");
    assert_eq!(ask(vec![(1.0, answer("approve")), (2.0, post(0)), (2.0, post(1))]), 1, "one yes for two posts");
}

#[test]
fn a_run_is_held_to_its_own_budget_by_the_calls_that_name_its_order() {
    let call = |call: u64, key: Option<&str>, nanos: u64| {
        let named = key.map(|key| (1.0, Seen::CalledFor { call, key: key.to_owned() }));
        let billed = (2.0, Seen::Billed { call, cost: Money::from_nanos(nanos) });
        [vec![(1.0, called(call, "c"))], named.into_iter().collect(), vec![billed]].concat()
    };
    let over = |seen: Vec<Vec<(f64, Seen)>>| {
        let mut history = told(Vec::new(), seen.concat());
        history.plan.workload.cost_max = Some(Money::from_nanos(10));
        check(Invariant::NoBudgetOverrun, &history)
    };
    assert!(over(vec![call(1, Some("a"), 9), call(2, Some("b"), 9), call(3, None, 99)]).is_empty());
    let found = over(vec![call(1, Some("a"), 9), call(2, Some("a"), 9), call(3, Some("a"), 9)]);
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert!(one.message.contains("after $0.000000009"), "{}", one.message);
    assert!(one.message.contains("the budget of the run under key `a` is $0.00000001"), "{}", one.message);
}

#[test]
fn a_supervisor_that_the_tree_does_not_have_is_told() {
    let seen = vec![(1.0, restarted("child", "nobody", "bug"))];
    assert_eq!(found(Invariant::RestartsBounded, &told(Vec::new(), seen)), 1);
}

#[test]
fn an_open_intent_is_work_in_doubt_when_the_process_dies() {
    let recovered = |before: Vec<(f64, Seen)>, crash: Seen| {
        let after = vec![(10.0, crash), (10.5, Seen::Ready { life: 2 })];
        reached(Sometimes::RecoveredWithOpenIntent, &told(Vec::new(), [before, after].concat()))
    };
    let answered = Seen::Answered { call: 1 };
    assert!(!recovered(Vec::new(), crashed()));
    assert!(recovered(vec![(9.0, called(1, "a"))], crashed()));
    assert!(!recovered(vec![(8.0, called(1, "a")), (9.0, answered)], crashed()));
    assert!(recovered(vec![(9.5, posted("k", "r"))], crashed()));
    assert!(!recovered(vec![(5.0, posted("k", "r"))], crashed()), "its outcome is long durable");
    assert!(!recovered(vec![(9.5, posted("k", "r")), (9.6, reported("r", &["k"]))], crashed()));
    let after_send = Seen::Crashed { point: Some(crate::fault::Point::PostAfterSend), loss: Loss::KeepAll };
    assert!(recovered(Vec::new(), after_send.clone()));
    let dead = told(Vec::new(), vec![(10.0, after_send)]);
    assert!(!reached(Sometimes::RecoveredWithOpenIntent, &dead), "it never came back");
}

#[test]
fn a_recovery_lasts_until_a_moment_after_the_process_is_ready() {
    let crashes = |seen: Vec<(f64, Seen)>| reached(Sometimes::CrashedInRecovery, &told(Vec::new(), seen));
    let ready = |life: u32| Seen::Ready { life };
    assert!(!crashes(vec![(0.0, ready(1)), (0.5, crashed()), (1.0, ready(2))]), "the first start recovers nothing");
    assert!(crashes(vec![(0.0, ready(1)), (5.0, crashed()), (5.1, crashed())]));
    assert!(crashes(vec![(0.0, ready(1)), (5.0, crashed()), (6.0, ready(2)), (6.5, crashed())]));
    assert!(!crashes(vec![(0.0, ready(1)), (5.0, crashed()), (6.0, ready(2)), (9.0, crashed())]));
}
