//! Windows, and what is told of them, over restarts.

use policies::budget::{AtEnd, Window};
use policies::share::Share;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn hourly(nanos: u64) -> BudgetPolicy {
    let limits = Limits { hour: Some(Money::from_nanos(nanos)), at_end: AtEnd::Wait, ..Limits::default() };
    let alerts = [50, 100].into_iter().filter_map(Share::percent).collect();
    BudgetPolicy { workspace: limits, alerts, ..BudgetPolicy::default() }
}

/// The sums of the workspace's hour.
async fn hour(ledger: &LedgerHandle) -> (u64, u64) {
    let sums = ledger.accounts().await.unwrap().account(&scopes("a")[0]).of(Some(Window::Hour));
    (sums.spent.nanos(), sums.reserved.nanos())
}

fn alerts(ground: &Ground) -> Vec<String> {
    let alerts = ground.events().into_iter().filter(|event| event.kind == ALERTED);
    alerts.map(|event| serde_json::from_slice::<Alerted>(&event.payload).unwrap().alert.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_next_hour_has_its_own_budget_and_pays_for_nothing_of_the_last() {
    let mut ground = Ground::new(1);
    let (ledger, _) = start(&ground, &hourly(50)).await;
    let grant = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    let ReserveError::Refused(refusal) = ledger.reserve(ask("l", "x", 40)).await.unwrap_err() else { panic!() };
    tokio::time::sleep(refusal.wakes_at().unwrap().since(ground.world.now())).await;
    let next = ledger.reserve(ask("l", "x", 40)).await.unwrap();
    intend(&mut ground, &next).await.unwrap();
    resolve(&mut ground, "k", 40).await;
    settle().await;
    assert_eq!((hour(&ledger).await, workspace(&ledger).await), ((0, 40), (40, 40)));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_starts_anew_knows_the_hour_of_each_grant_though_intents_came_late() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &hourly(50)).await;
    let late = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    tokio::time::sleep(HOUR).await;
    // Its generation is over after a minute; so it is asked for again, and is of this hour.
    assert!(intend(&mut ground, &late).await.is_err());
    let again = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &again).await.unwrap();
    settle().await;
    assert_eq!(hour(&ledger).await, (0, 40));
    actor.kill();
    let (ledger, actor) = start(&ground, &hourly(50)).await;
    assert_eq!(hour(&ledger).await, (0, 40));
    actor.kill();
    tokio::time::sleep(HOUR).await;
    let (ledger, _) = start(&ground, &hourly(50)).await;
    assert_eq!((hour(&ledger).await, workspace(&ledger).await), ((0, 0), (0, 40)));
}

#[tokio::test(start_paused = true)]
async fn a_share_is_told_once_over_restarts_and_anew_in_the_next_hour() {
    let mut ground = Ground::new(1);
    let (ledger, mut actor) = start(&ground, &hourly(50)).await;
    let grant = ledger.reserve(ask("k", "x", 30)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    assert_eq!(alerts(&ground), [""; 0], "what is reserved is not spent yet");
    resolve(&mut ground, "k", 30).await;
    settle().await;
    let half = "workspace/main is at 50% of its budget for the hour: $0.00000003 of $0.00000005 spent";
    assert_eq!(alerts(&ground), [half]);
    for _ in 0..2 {
        actor.kill();
        let (ledger, anew) = start(&ground, &hourly(50)).await;
        actor = anew;
        assert!(ledger.reserve(ask("l", "x", 30)).await.is_err());
        settle().await;
    }
    let end = "workspace/main had no room for a call of up to $0.00000003 in its budget for the hour: $0.00000003 of \
               $0.00000005 spent";
    assert_eq!(alerts(&ground), [half, end]);
    tokio::time::sleep(HOUR).await;
    actor.kill();
    let (ledger, _) = start(&ground, &hourly(50)).await;
    assert!(ledger.reserve(ask("m", "x", 51)).await.is_err());
    settle().await;
    assert_eq!(alerts(&ground).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_is_told_of_anew_over_restarts_too() {
    let mut ground = Ground::new(1);
    let spend = async |ground: &mut Ground, ledger: &LedgerHandle, key: &str| {
        let grant = ledger.reserve(ask(key, "x", 50)).await.unwrap();
        intend(ground, &grant).await.unwrap();
        resolve(ground, key, 50).await;
        settle().await;
    };
    let (ledger, actor) = start(&ground, &hourly(50)).await;
    spend(&mut ground, &ledger, "k").await;
    assert_eq!(alerts(&ground).len(), 1);
    actor.kill();
    // All of the first limit was told; it is a third of the second.
    let (ledger, actor) = start(&ground, &hourly(150)).await;
    spend(&mut ground, &ledger, "l").await;
    spend(&mut ground, &ledger, "m").await;
    let told = alerts(&ground);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("at 50%") && told[2].contains("at 100%"), "{told:?}");
    actor.kill();
    let (ledger, _) = start(&ground, &hourly(150)).await;
    assert!(ledger.reserve(ask("n", "x", 1)).await.is_err());
    settle().await;
    assert!(alerts(&ground)[3..].iter().all(|told| told.contains("had no room")), "{:?}", alerts(&ground));
}

#[tokio::test(start_paused = true)]
async fn a_share_that_was_reached_while_no_ledger_was_up_is_told_at_the_start() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &hourly(50)).await;
    let grant = ledger.reserve(ask("k", "x", 30)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    actor.kill();
    resolve(&mut ground, "k", 30).await;
    let (_, _actor) = start(&ground, &hourly(50)).await;
    settle().await;
    assert_eq!(alerts(&ground).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_another_zone_is_not_taken_up() {
    let mut ground = Ground::new(1);
    let (ledger, actor) = start(&ground, &hourly(50)).await;
    let grant = ledger.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    ground.fill(10_001).await;
    settle().await;
    actor.kill();
    let elsewhere = BudgetPolicy { zone: "Asia/Kathmandu".parse().unwrap(), ..hourly(50) };
    let (ledger, _) = start(&ground, &elsewhere).await;
    assert_eq!((hour(&ledger).await, workspace(&ledger).await), ((0, 40), (0, 40)));
}
