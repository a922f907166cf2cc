//! The guard's order, its clock, and that what it admits it records.

use policies::breaker::BreakerPolicy;
use policies::span::{Rate, Span};

use super::*;

mod turns;
use crate::transport::unplugged;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    World::simulated(0, unplugged())
}

fn guard(policy: GuardPolicy) -> Guard {
    let mut policies = policies::guard::Guards::default();
    policies.set("model", policy);
    Guards::new(world(), policies).get("model")
}

fn within(span: Duration) -> Instant {
    Instant::now() + span
}

async fn admit(guard: &Guard) -> Result<Permit, Refused> {
    guard.admit(within(SECOND)).await
}

fn ended(class: Option<FailureClass>) -> CallOutcome {
    CallOutcome { class, took: SECOND }
}

/// Opens at the second failure in a row, for 10 s; one probe.
fn breaker() -> BreakerPolicy {
    BreakerPolicy { failures: 2, open: Span::from_secs(10), ..BreakerPolicy::default() }
}

async fn fail(guard: &Guard, times: u32) {
    for _ in 0..times {
        admit(guard).await.unwrap().finish(ended(Some(FailureClass::ProviderDown)));
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_in_the_order_deadline_concurrency_rate_breaker() {
    let rate = Some(Rate { count: 4, per: Duration::from_secs(60) });
    let guard = guard(GuardPolicy { concurrency: 1, rate, breaker: breaker(), ..GuardPolicy::default() });
    fail(&guard, 1).await;
    let held = admit(&guard).await.unwrap();
    let start = Instant::now();
    assert_eq!(guard.admit(start).await.err(), Some(Refused::Deadline(Waiting::Nothing)));
    assert_eq!(admit(&guard).await.err(), Some(Refused::Deadline(Waiting::Concurrency)));
    assert_eq!(start.elapsed(), SECOND);
    held.finish(ended(Some(FailureClass::Hung)));
    // The breaker is open by now, and two calls are left in the bucket.
    for _ in 0..2 {
        assert!(matches!(admit(&guard).await, Err(Refused::Open(Some(_)))));
    }
    assert_eq!(admit(&guard).await.err(), Some(Refused::Deadline(Waiting::Rate)));
    assert_eq!(guard.state().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_bucket_refills_with_the_paused_clock() {
    let rate = Some(Rate { count: 2, per: Duration::from_secs(10) });
    let guard = guard(GuardPolicy { rate, ..GuardPolicy::default() });
    let start = Instant::now();
    let mut at = Vec::new();
    for _ in 0..5 {
        guard.admit(within(SECOND * 60)).await.unwrap().finish(ended(None));
        at.push(start.elapsed().as_secs());
    }
    assert_eq!(at, [0, 0, 5, 10, 15]);
    assert!(guard.try_admit().is_none());
    tokio::time::advance(SECOND * 5).await;
    assert!(guard.try_admit().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_let_through_in_time_keeps_its_turn_until_then() {
    let rate = Some(Rate { count: 1, per: Duration::from_secs(60) });
    let guard = guard(GuardPolicy { rate, ..GuardPolicy::default() });
    drop(admit(&guard).await.unwrap());
    let start = Instant::now();
    let late = guard.admit_as(guard.rank(Priority::High), within(SECOND * 30));
    let (late, newcomer) = tokio::join!(late, async {
        tokio::time::sleep(SECOND).await;
        guard.0.pace.turns.is_behind(guard.rank(Priority::Normal))
    });
    assert_eq!((late.err(), start.elapsed()), (Some(Refused::Deadline(Waiting::Rate)), SECOND * 30));
    assert!(newcomer, "it was still before who came later");
    assert!(!guard.0.pace.turns.is_behind(guard.rank(Priority::Normal)), "and no longer than that");
}

#[tokio::test(start_paused = true)]
async fn a_quicker_rate_lets_through_who_waits_already() {
    let rate = |per| Some(Rate { count: 1, per });
    let guards = Guards::new(world(), policies::guard::Guards::default());
    governed(&guards, GuardPolicy { rate: rate(SECOND * 3_600), ..GuardPolicy::default() });
    let guard = guards.get("model");
    drop(admit(&guard).await.unwrap());
    let start = Instant::now();
    let (waited, ()) = tokio::join!(guard.admit(within(SECOND * 200)), async {
        tokio::time::sleep(SECOND * 7).await;
        governed(&guards, GuardPolicy { rate: rate(SECOND), ..GuardPolicy::default() });
    });
    assert!(waited.is_ok());
    assert_eq!(start.elapsed(), SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn opens_after_failures_and_closes_after_a_good_probe() {
    let guard = guard(GuardPolicy { breaker: breaker(), ..GuardPolicy::default() });
    fail(&guard, 2).await;
    assert_eq!(admit(&guard).await.err(), Some(Refused::Open(Some(SECOND * 10))));
    tokio::time::advance(SECOND * 10).await;
    let probe = admit(&guard).await.unwrap();
    assert_eq!(admit(&guard).await.err(), Some(Refused::Open(None)));
    probe.finish(ended(None));
    assert_eq!(guard.state().breaker, BreakerState::Closed);
    assert!(admit(&guard).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_probe_gives_its_place_back() {
    let guard = guard(GuardPolicy { concurrency: 1, breaker: breaker(), ..GuardPolicy::default() });
    fail(&guard, 2).await;
    tokio::time::advance(SECOND * 10).await;
    let probe = admit(&guard).await.unwrap();
    assert_eq!(guard.state().in_flight, 1);
    drop(probe);
    assert_eq!(guard.state().in_flight, 0);
    admit(&guard).await.unwrap().finish(ended(None));
    assert_eq!(guard.state().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn whoever_answers_is_well_and_our_own_faults_say_nothing() {
    let guard = guard(GuardPolicy { breaker: breaker(), ..GuardPolicy::default() });
    fail(&guard, 1).await;
    admit(&guard).await.unwrap().finish(ended(Some(FailureClass::RateLimited)));
    fail(&guard, 1).await;
    assert_eq!(guard.state().breaker, BreakerState::Closed, "an answer came between the failures");
    admit(&guard).await.unwrap().finish(ended(Some(FailureClass::Bug)));
    fail(&guard, 1).await;
    assert!(matches!(guard.state().breaker, BreakerState::Open { .. }), "a bug of ours is no answer");
}

#[tokio::test(start_paused = true)]
async fn guards_of_one_name_share_their_state_and_are_counted() {
    let mut policies = policies::guard::Guards::default();
    policies.set("model", GuardPolicy { breaker: breaker(), ..GuardPolicy::default() });
    let metrics = Metrics::new();
    let guards = Guards::counted(world(), policies, metrics.clone());
    fail(&guards.get("model"), 2).await;
    assert!(admit(&guards.get("model")).await.is_err());
    assert!(admit(&guards.get("model/claude")).await.is_ok(), "the policy is inherited, the state is not");
    let names: Vec<_> = guards.snapshot().into_keys().collect();
    assert_eq!(names, ["model", "model/claude"]);
    assert!(metrics.encode().contains("breaker_moves_total{guard=\"model\",from=\"closed\",to=\"open\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_by_itself_by_its_timeout_or_by_its_token() {
    let token = CancellationToken::new();
    assert_eq!(call_with_timeout(SECOND, &token, async { 7 }).await, Ok(7));
    let never = std::future::pending::<()>;
    assert_eq!(call_with_timeout(SECOND, &token, never()).await, Err(Cut::TimedOut(SECOND)));
    token.cancel();
    assert_eq!(call_with_timeout(SECOND, &token, never()).await, Err(Cut::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_hear_of_each_move_of_a_breaker() {
    let mut policies = policies::guard::Guards::default();
    policies.set("model", GuardPolicy { breaker: breaker(), ..GuardPolicy::default() });
    let guards = Guards::new(world(), policies);
    let mut moves = guards.watch();
    let guard = guards.get("model");
    fail(&guard, 2).await;
    moves.next().await.unwrap();
    assert!(matches!(guards.snapshot()["model"].breaker, BreakerState::Open { .. }));
    tokio::time::sleep(10 * SECOND).await;
    admit(&guard).await.unwrap().finish(ended(None));
    moves.next().await.unwrap();
    assert_eq!(guards.snapshot()["model"].breaker, BreakerState::Closed);
}

fn governed(guards: &Guards, policy: GuardPolicy) {
    let mut policies = policies::guard::Guards::default();
    policies.set("model", policy);
    guards.govern(policies);
}

#[tokio::test(start_paused = true)]
async fn another_concurrency_takes_no_place_from_a_call() {
    let guards = Guards::new(world(), policies::guard::Guards::default());
    governed(&guards, GuardPolicy { concurrency: 3, ..GuardPolicy::default() });
    let guard = guards.get("model");
    let mut calls = vec![admit(&guard).await.unwrap(), admit(&guard).await.unwrap(), admit(&guard).await.unwrap()];
    governed(&guards, GuardPolicy { concurrency: 1, ..GuardPolicy::default() });
    assert_eq!((guard.state().in_flight, guard.state().concurrency), (3, 1));
    drop(calls.pop());
    drop(calls.pop());
    assert!(guard.try_admit().is_none(), "one call is left, and one is all there may be");
    governed(&guards, GuardPolicy { concurrency: 2, ..GuardPolicy::default() });
    calls.push(guard.try_admit().unwrap());
    assert!(guard.try_admit().is_none());
    calls.clear();
    let both = [guard.try_admit(), guard.try_admit(), guard.try_admit()].map(|permit| permit.is_some());
    assert_eq!((both, guard.state().in_flight), ([true, true, false], 0));
}

#[tokio::test(start_paused = true)]
async fn places_follow_their_number_however_often_it_changes() {
    let slots = slots::Slots::new(1);
    let mut held = Vec::new();
    for round in 0_u32..200 {
        slots.resize(round * 7 % 5 + 1);
        if round % 3 == 0 {
            held.pop();
        }
        while let Some(slot) = slots.try_take(Rank::of(Priority::Normal, Duration::ZERO)) {
            held.push(slot);
            assert!(held.len() <= slots.max(), "round {round}");
        }
        assert!(held.len() >= slots.max(), "round {round}: a place was lost");
        assert_eq!(slots.in_flight(), held.len());
    }
}

#[tokio::test(start_paused = true)]
async fn another_policy_keeps_an_open_breaker_open_and_takes_the_new_rate() {
    let guards = Guards::new(world(), policies::guard::Guards::default());
    governed(&guards, GuardPolicy { breaker: breaker(), ..GuardPolicy::default() });
    let guard = guards.get("model");
    fail(&guard, 2).await;
    let rate = Some(Rate { count: 1, per: SECOND });
    governed(&guards, GuardPolicy { rate, deadline: Span::from_secs(7), ..GuardPolicy::default() });
    assert!(matches!(guard.state().breaker, BreakerState::Open { .. }));
    assert_eq!(guard.policy().deadline, Span::from_secs(7));
    tokio::time::advance(10 * SECOND).await;
    admit(&guard).await.unwrap().finish(ended(None));
    assert!(guard.try_admit().is_none(), "the bucket holds one");
    governed(&guards, GuardPolicy { rate, ..GuardPolicy::default() });
    assert!(guard.try_admit().is_none(), "the same rate fills no bucket");
}

#[tokio::test(start_paused = true)]
async fn calls_are_held_back_at_the_other_sides_word_and_go_on_after_it() {
    let guard = guard(GuardPolicy::default());
    guard.hold(SECOND * 30);
    guard.hold(SECOND * 5);
    assert!(guard.try_admit().is_none());
    let start = Instant::now();
    assert_eq!(admit(&guard).await.err(), Some(Refused::Deadline(Waiting::Rate)));
    drop(guard.admit(within(SECOND * 60)).await.unwrap());
    assert_eq!((start.elapsed(), guard.held_for()), (SECOND * 30, None), "the longer word counts");
    guard.hold(SECOND * 86_400);
    assert_eq!(guard.held_for(), Some(SECOND * 600), "no word counts for ever");
}

#[tokio::test(start_paused = true)]
async fn who_follows_the_guards_hears_of_a_long_hold_and_not_of_a_short_one() {
    let guards = Guards::new(world(), policies::guard::Guards::default());
    let mut watcher = guards.watch();
    guards.get("model").hold(Duration::from_millis(12));
    assert_eq!(watcher.see(), 0);
    guards.get("model").hold(SECOND * 30);
    assert_eq!(watcher.see(), 1);
    assert_eq!(guards.snapshot()["model"].held_until, Some(SECOND * 30));
}

#[tokio::test(start_paused = true)]
async fn what_holds_the_shared_guard_holds_all_who_pass_it() {
    let (line, own, shared) = line(GuardPolicy::default(), GuardPolicy::default());
    let permit = line.try_admit().unwrap();
    permit.guard().hold(SECOND * 7);
    assert_eq!((own.held_for(), shared.held_for()), (None, Some(SECOND * 7)));
    assert!(line.try_admit().is_none());
    let start = Instant::now();
    drop(line.admit(within(SECOND * 60)).await.unwrap());
    assert_eq!(start.elapsed(), SECOND * 7);
}

/// A caller's own guard, and the shared one behind it.
fn line(own: GuardPolicy, shared: GuardPolicy) -> (Line, Guard, Guard) {
    let mut policies = policies::guard::Guards::default();
    policies.set("agent/writer", own);
    policies.set("model/x", shared);
    let guards = Guards::new(world(), policies);
    let (own, shared) = (guards.get("agent/writer"), guards.get("model/x"));
    (Line::new(shared.clone()).behind(own.clone(), true), own, shared)
}

async fn fail_line(line: &Line, times: u32) {
    for _ in 0..times {
        let permit = line.admit(within(SECOND)).await.unwrap();
        permit.finish(ended(Some(FailureClass::ProviderDown)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_through_two_guards_counts_in_both_and_either_breaker_stops_it() {
    let late = BreakerPolicy { failures: 3, ..breaker() };
    let (line, own, shared) = line(
        GuardPolicy { breaker: breaker(), ..GuardPolicy::default() },
        GuardPolicy { breaker: late, ..GuardPolicy::default() },
    );
    fail_line(&line, 2).await;
    let is_open = |guard: &Guard| matches!(guard.state().breaker, BreakerState::Open { .. });
    assert!(is_open(&own) && !is_open(&shared));
    assert_eq!(line.blocked(), Some(Blocked { guard: "agent/writer".into(), wait: Some(SECOND * 10) }));
    assert!(line.try_admit().is_none());
    fail(&shared, 1).await;
    assert!(is_open(&shared), "the two failures of the line counted here too");
    tokio::time::advance(SECOND * 10).await;
    let trial = line.admit(within(SECOND)).await.unwrap();
    assert_eq!(line.blocked().map(|blocked| blocked.wait), Some(None), "one trial call at a time");
    trial.finish(ended(None));
    assert!(!is_open(&own) && !is_open(&shared) && line.blocked().is_none());
    assert_eq!((own.state().in_flight, shared.state().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_own_rate_keeps_nobody_from_a_shared_place() {
    let rate = Some(Rate { count: 1, per: SECOND * 60 });
    let one = GuardPolicy { concurrency: 1, ..GuardPolicy::default() };
    let (line, _, shared) = line(GuardPolicy { rate, ..GuardPolicy::default() }, one);
    drop(line.admit(within(SECOND)).await.unwrap());
    let start = Instant::now();
    let (slow, other) = tokio::join!(line.admit(within(SECOND * 90)), async {
        tokio::time::sleep(SECOND).await;
        shared.admit(within(SECOND * 90)).await.map(drop).map(|()| start.elapsed())
    });
    assert!(slow.is_ok());
    assert_eq!((other, start.elapsed()), (Ok(SECOND), SECOND * 60));
}

#[tokio::test(start_paused = true)]
async fn what_the_shared_breaker_refuses_gives_the_own_trial_call_back() {
    let (line, own, shared) = line(
        GuardPolicy { breaker: breaker(), ..GuardPolicy::default() },
        GuardPolicy { breaker: BreakerPolicy { open: Span::from_secs(60), ..breaker() }, ..GuardPolicy::default() },
    );
    fail_line(&line, 2).await;
    tokio::time::advance(SECOND * 20).await;
    assert_eq!(line.admit(within(SECOND)).await.err(), Some(Refused::Open(Some(SECOND * 40))));
    assert_eq!(own.state().breaker, BreakerState::HalfOpen { in_flight: 0, passed: 0 });
    tokio::time::advance(SECOND * 40).await;
    line.try_admit().unwrap().finish(ended(None));
    assert_eq!((own.state().breaker, shared.state().breaker), (BreakerState::Closed, BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_own_rate_holds_whatever_the_shared_one_allows() {
    let rate = |count| Some(Rate { count, per: SECOND * 10 });
    let (line, ..) = line(
        GuardPolicy { rate: rate(1), ..GuardPolicy::default() },
        GuardPolicy { rate: rate(9), ..GuardPolicy::default() },
    );
    drop(line.try_admit().unwrap());
    assert!(line.try_admit().is_none());
    let start = Instant::now();
    drop(line.admit(within(SECOND * 60)).await.unwrap());
    assert_eq!(start.elapsed(), SECOND * 10);
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_the_shared_guard_takes_nothing_of_the_own_rate() {
    let rate = Some(Rate { count: 1, per: SECOND * 600 });
    let (line, _, shared) = line(GuardPolicy { rate, ..GuardPolicy::default() }, GuardPolicy::default());
    shared.hold(SECOND * 100);
    assert!(line.try_admit().is_none());
    let refused = line.admit(within(SECOND * 40)).await.map(drop);
    assert_eq!(refused, Err(Refused::Deadline(Waiting::Rate)));
    let start = Instant::now();
    drop(line.admit(within(SECOND * 90)).await.unwrap());
    assert_eq!(start.elapsed(), SECOND * 60, "the one call of the own rate is there");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_own_breaker_is_not_about_passes_it_and_leaves_it_as_it_is() {
    let (line, own, shared) =
        line(GuardPolicy { breaker: breaker(), ..GuardPolicy::default() }, GuardPolicy::default());
    fail_line(&line, 2).await;
    let aside = Line::new(shared).behind(own.clone(), false);
    assert!(line.blocked().is_some() && aside.blocked().is_none());
    let before = own.state().breaker;
    aside.try_admit().unwrap().finish(ended(None));
    assert_eq!(own.state().breaker, before);
}
