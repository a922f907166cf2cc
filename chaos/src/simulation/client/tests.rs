use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::routing::{MethodRouter, get};
use storage::disk::sim::SimDisk;

use super::*;
use crate::history::Sighting;
use crate::plan::Platform;

/// The key of the only order.
const KEY: &str = "k";

fn client() -> Client {
    let plan = Plan::plain(&[KEY], Vec::new());
    let scene = Scene::new(&plan, SimDisk::new(), false);
    scene.begin();
    Client::new(scene.clone(), Arc::new(Board::new(scene, Platform::Careful)), &plan)
}

/// A server whose one run shows these, one look after the other.
fn server(shown: &'static [&'static str]) -> Router {
    let looks = Arc::new(AtomicUsize::new(0));
    let show = move || {
        let look = looks.fetch_add(1, Ordering::Relaxed);
        let status = shown.get(look).or(shown.last());
        async move { Json(json!({ "id": "r", "status": status, "outputs": {} })) }
    };
    taking(get(show))
}

/// A server that takes on its one run, and shows it so.
fn taking(show: MethodRouter) -> Router {
    let taken = || async { (StatusCode::CREATED, Json(json!({ "id": "r" }))) };
    Router::new().route("/v1/runs", axum::routing::post(taken)).route("/v1/runs/r", show)
}

fn told(client: &Client) -> Vec<String> {
    let word = |Sighting { what, .. }: Sighting| match what {
        Seen::Reported { status, .. } => Some(status),
        Seen::Undone { status, .. } => Some(format!("undone: {status}")),
        _ => None,
    };
    client.scene.take().into_iter().filter_map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_is_followed_to_its_end_and_looked_at_once_more_after_a_restart() {
    let client = client();
    client.attend(&server(&["running", "running", "finished"])).await;
    client.attend(&server(&["finished"])).await;
    assert_eq!(told(&client), ["finished", "finished"]);
    assert_eq!(client.unfinished(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_restart_has_undone_is_told_and_followed_to_the_next() {
    let client = client();
    client.attend(&server(&["finished"])).await;
    client.attend(&server(&["running", "running", "failed"])).await;
    assert_eq!(told(&client), ["finished", "undone: running", "failed"]);
    assert_eq!(client.unfinished(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_changes_or_is_undone_shows_at_the_look_back() {
    for (later, wanted) in [("finished", "finished"), ("failed", "failed"), ("running", "undone: running")] {
        let client = client();
        let looks = Arc::new(AtomicUsize::new(0));
        let show = move || {
            let status = if looks.fetch_add(1, Ordering::Relaxed) == 0 { "finished" } else { later };
            async move { Json(json!({ "id": "r", "status": status, "outputs": {} })) }
        };
        let server = taking(get(show));
        client.attend(&server).await;
        client.look_back(&server).await;
        assert_eq!(told(&client), ["finished", wanted]);
        assert_eq!(client.unfinished(), u64::from(later == "running"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_doubt_of_the_same_post_has_its_own_time_to_land() {
    let client = client();
    let show = || async {
        let doubt = json!({ "path": "p", "key": "e", "hold": { "doubt": { "reason": "lost" } } });
        Json(json!({ "id": "r", "status": "parked", "parked": [doubt] }))
    };
    let settle = axum::routing::post(|| async { Json(json!({})) });
    let server = taking(get(show)).route("/v1/runs/r/settlements", settle);
    let three_and_a_half = LOOK_AT_PLATFORM * 7 / 2;
    assert!(tokio::time::timeout(three_and_a_half, client.attend(&server)).await.is_err());
    let seen = client.scene.take();
    let settled = seen.iter().filter(|sighting| matches!(sighting.what, Seen::Settled { .. })).count();
    assert_eq!(settled, 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_was_undone_counts_as_unfinished() {
    let client = client();
    client.attend(&server(&["finished"])).await;
    let (again, late) = (server(&["running"]), Duration::from_secs(60));
    assert!(tokio::time::timeout(late, client.attend(&again)).await.is_err());
    assert_eq!(client.unfinished(), 1);
}
