//! Alerts to somebody's address.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actors::transport::{self, scripted};
use bytes::Bytes;
use http::{Request, Response};
use policies::share::Share;

use super::*;
use crate::key::Key;
use crate::ledger::webhook::QUEUE_MAX;
use crate::secret::Secret;

type Seen = Arc<Mutex<Vec<Request<Bytes>>>>;

/// A hook whose other side answers with these statuses, one after the other, and then with the last.
fn hook(statuses: &'static [u16]) -> (AlertHook, Seen) {
    let seen = Seen::default();
    let other_side = Arc::clone(&seen);
    let transport = scripted(move |request| {
        let mut seen = other_side.lock().unwrap();
        let status = statuses[seen.len().min(statuses.len() - 1)];
        seen.push(request);
        async move { Ok(Response::builder().status(status).body(transport::body("")).unwrap()) }
    });
    (AlertHook::new("http://ops/budgets", Some(Key::fixed(Secret::new("s3cret"))), transport).unwrap(), seen)
}

/// Spends all of a budget whose whole is told.
async fn spend(hook: AlertHook) {
    let mut ground = Ground::new(1);
    let alerts = Share::percent(100).into_iter().collect();
    let policy = BudgetPolicy { alerts, ..policy(40, 90) };
    let (handle, _) = ground.ledger(Latest::new(policy).watch(), Some(hook)).await;
    let grant = handle.reserve(ask("k", "x", 40)).await.unwrap();
    intend(&mut ground, &grant).await.unwrap();
    resolve(&mut ground, "k", 40).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_sent_until_it_is_taken_under_one_key() {
    let (hook, seen) = hook(&[503, 429, 200]);
    spend(hook).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    let header = |request: &Request<Bytes>, name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(&seen[0], "authorization"), "Bearer s3cret");
    assert!(seen.iter().all(|request| header(request, "idempotency-key") == header(&seen[0], "idempotency-key")));
    let body: serde_json::Value = serde_json::from_slice(seen[2].body()).unwrap();
    assert_eq!(body["text"], "workspace/main is at 100% of its budget: $0.00000004 of $0.00000004 spent");
    assert_eq!(
        (&body["workspace"], &body["scope"], &body["share"]),
        (&json!("main"), &json!("workspace/main"), &json!("100%"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_sent_once_and_what_is_never_taken_a_bounded_number_of_times() {
    for (statuses, sent) in [(&[400][..], 1), (&[500], 4)] {
        let (hook, seen) = hook(statuses);
        spend(hook).await;
        assert_eq!(seen.lock().unwrap().len(), sent, "{statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_go_out_one_after_the_other_and_only_so_many_wait() {
    const RUNS: usize = QUEUE_MAX + 30;
    let (under_way, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (most, counted) = (Arc::clone(&under_way), Arc::clone(&seen));
    let transport = scripted(move |_| {
        let (under_way, seen) = (Arc::clone(&most), Arc::clone(&counted));
        async move {
            assert_eq!(under_way.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
            seen.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
            under_way.fetch_sub(1, Ordering::Relaxed);
            Ok(Response::new(transport::body("")))
        }
    });
    let hook = AlertHook::new("http://ops/budgets", None, transport).unwrap();
    let ground = Ground::new(1);
    let alerts = Share::percent(100).into_iter().collect();
    let (handle, _actor) =
        ground.ledger(Latest::new(BudgetPolicy { alerts, ..policy(1_000, 1) }).watch(), Some(hook)).await;
    for run in 0..RUNS {
        handle.reserve(ask(&format!("k{run}"), &format!("r{run}"), 2)).await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    // The one that was under way, and those that had room.
    assert_eq!(seen.load(Ordering::Relaxed), 1 + QUEUE_MAX);
    // What comes later is sent again.
    handle.reserve(ask("later", "later", 2)).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(seen.load(Ordering::Relaxed), 2 + QUEUE_MAX);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_holds_up_each_alert_for_one_try_while_others_wait() {
    const RUNS: usize = 10;
    let keys = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let seen = Arc::clone(&keys);
    let transport = scripted(move |request| {
        seen.lock().unwrap().insert(request.headers()["idempotency-key"].to_str().unwrap().to_owned());
        std::future::pending()
    });
    let hook = AlertHook::new("http://ops/budgets", None, transport).unwrap();
    let ground = Ground::new(1);
    let alerts = Share::percent(100).into_iter().collect();
    let (handle, _actor) =
        ground.ledger(Latest::new(BudgetPolicy { alerts, ..policy(1_000, 1) }).watch(), Some(hook)).await;
    for run in 0..RUNS {
        handle.reserve(ask(&format!("k{run}"), &format!("r{run}"), 2)).await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_secs(30 * RUNS as u64)).await;
    assert_eq!(keys.lock().unwrap().len(), RUNS);
}

#[test]
fn an_address_that_cannot_be_posted_to_is_told() {
    let bad = AlertHook::new("ops/budgets", None, transport::unplugged()).err().unwrap();
    assert!(bad.to_string().contains("is not an http address"), "{bad}");
}
