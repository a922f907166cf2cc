//! The account of a run: its own limit, where it stood, and when it goes.

use super::*;

/// A run's question, with the limit of its own.
fn within(limit: u64, key: &str, run: &str, nanos: u64) -> Reserve {
    Reserve { cost_max: Some(Money::from_nanos(limit)), ..ask(key, run, nanos) }
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_to_its_own_limit_before_it_is_accepted_whichever_ledger_is_up() {
    let ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &policy(100, 50)).await;
    assert!(ledger.reserve(within(30, "k", "a", 31)).await.is_err());
    ledger.reserve(within(30, "l", "a", 20)).await.unwrap();
    assert!(ledger.reserve(within(30, "l", "a", 31)).await.is_err(), "another amount for the same attempt");
    assert!(ledger.reserve(within(70, "m", "b", 51)).await.is_err(), "never above the policy's");
    actor.kill();
    let (anew, _) = start(&ground, &policy(100, 50)).await;
    assert!(anew.reserve(within(30, "k", "a", 31)).await.is_err(), "it never heard of the run");
    anew.reserve(within(30, "k", "a", 30)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_has_spent_what_it_had_spent_with_a_ledger_that_opened_meanwhile() {
    let ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &policy(100, 90)).await;
    let stood = Stood { limit: Some(Money::from_nanos(60)), spent: Money::from_nanos(40), ended: None };
    ledger.reopen_run("x", stood).await.unwrap();
    actor.kill();
    let (anew, _) = start(&ground, &policy(100, 90)).await;
    let goes_on = |key: &str, nanos| Reserve { stood: Some(stood), ..within(60, key, "x", nanos) };
    assert!(anew.reserve(goes_on("l", 21)).await.is_err());
    anew.reserve(goes_on("l", 20)).await.unwrap();
    assert!(anew.reserve(goes_on("m", 1)).await.is_err(), "said again it changes nothing");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_order_that_was_never_taken_holds_no_other_of_its_name() {
    let ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    assert!(ledger.reserve(within(30, "k", "a", 31)).await.is_err());
    ledger.reserve(ask("k", "a", 50)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_account_of_an_order_that_was_not_taken_goes_with_its_hold() {
    let ground = Ground::new(1);
    let (ledger, _) = start(&ground, &policy(100, 50)).await;
    let grant = ledger.reserve(within(30, "k", "a", 30)).await.unwrap();
    assert!(is_open(&ledger, "a").await);
    ledger.release(grant.granted());
    assert!(!is_open(&ledger, "a").await);
    ledger.reserve(ask("k", "a", 50)).await.unwrap();
}

async fn is_open(ledger: &LedgerHandle, run: &str) -> bool {
    ledger.accounts().await.unwrap().iter().any(|(scope, _)| *scope == ScopeId::Run(run.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn the_account_of_a_run_that_ended_with_a_hold_goes_with_the_next_start() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &policy(100, 50)).await;
    ledger.reserve(ask("k", "a", 40)).await.unwrap();
    ground.append("run/a", "run.finished", &json!({ "finished": { "at": 0, "outputs": {} } }), None).await.unwrap();
    ground.fill(10_001).await;
    settle().await;
    assert!(ground.snapshots.get("ledger/main", book::FOLD_VERSION).unwrap().is_some() && is_open(&ledger, "a").await);
    actor.kill();
    let (anew, _) = start(&ground, &policy(100, 50)).await;
    assert!(!is_open(&anew, "a").await);
}
