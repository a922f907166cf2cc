//! The platform over a real connection, asked by the real publisher.

use std::path::PathBuf;
use std::sync::Arc;

use actors::world::{World, WorldOptions};
use agents::publisher::{Landed, Post, Publisher, WebhookOptions, WebhookPublisher};
use policies::failure::FailureClass;
use policies::instant::Timestamp;

use super::*;
use crate::experiment::read;
use crate::forecast::Forecast;
use crate::ledger;
use crate::plan::{Platform, expand};

struct Ground {
    _folder: tempfile::TempDir,
    ledger: PathBuf,
    publisher: Arc<dyn Publisher>,
}

/// A platform that listens, and a publisher that knows it.
async fn ground(options: Options) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("platform.jsonl");
    let world = World::real(WorldOptions::default()).unwrap();
    let careful = options.kind == Platform::Careful;
    let app = app(options, &path, world.clone()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/posts", listener.local_addr().unwrap());
    world.spawn("platform", async move { axum::serve(listener, app).await });
    let options = WebhookOptions { deduplicates: careful, can_be_asked: careful, ..WebhookOptions::new(url) };
    let publisher = WebhookPublisher::new(options, world.http()).unwrap();
    Ground { _folder: folder, ledger: path, publisher: Arc::new(publisher) }
}

fn post(key: &str) -> Post {
    Post {
        key: key.to_owned(),
        title: "Lamp 3".to_owned(),
        text: "It shines.".to_owned(),
        link: None,
        published: Timestamp::EPOCH,
    }
}

/// The keys that were posted, in order.
fn posted(ground: &Ground) -> Vec<String> {
    let lines = ledger::read::<Entry>(&ground.ledger).unwrap();
    let keys = lines.into_iter().filter_map(|line| match line.entry {
        Entry::Posted { key, .. } => Some(key),
        _ => None,
    });
    keys.collect()
}

#[tokio::test]
async fn a_careful_platform_takes_a_key_once_and_tells_what_it_has() {
    let ground = ground(Options::default()).await;
    let first = ground.publisher.publish(post("a/1:x")).await.unwrap();
    assert_eq!(ground.publisher.publish(post("a/1:x")).await.unwrap(), first);
    assert_ne!(ground.publisher.publish(post("a/2:x")).await.unwrap(), first);
    assert_eq!(ground.publisher.find("a/1:x").await.unwrap(), Some(first));
    assert_eq!(ground.publisher.find("a/3:x").await.unwrap(), None);
    assert_eq!(posted(&ground), ["a/1:x", "a/2:x"]);
}

#[tokio::test]
async fn a_careless_platform_takes_everything_and_tells_nothing() {
    let ground = ground(Options { kind: Platform::Careless, ..Options::default() }).await;
    let first = ground.publisher.publish(post("a")).await.unwrap();
    assert_ne!(ground.publisher.publish(post("a")).await.unwrap(), first);
    assert_eq!(posted(&ground), ["a", "a"]);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_post_out_and_the_sender_in_doubt() {
    let ground = ground(Options { lose_every: 2, ..Options::default() }).await;
    ground.publisher.publish(post("a")).await.unwrap();
    let error = ground.publisher.publish(post("b")).await.unwrap_err();
    assert_eq!((error.class, error.landed), (FailureClass::ProviderDown, Landed::Unknown), "{error}");
    assert_eq!(posted(&ground), ["a", "b"]);
    assert!(ground.publisher.find("b").await.unwrap().is_some());
}

#[tokio::test]
async fn a_refused_post_is_not_taken() {
    let ground = ground(Options { refuse_every: 1, ..Options::default() }).await;
    let error = ground.publisher.publish(post("a")).await.unwrap_err();
    assert_eq!((error.class, error.landed), (FailureClass::ProviderDown, Landed::Unknown), "{error}");
    assert!(posted(&ground).is_empty());
}

#[tokio::test]
async fn a_platform_goes_on_with_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("platform.jsonl");
    std::fs::write(&path, "{\"at_us\":1,\"what\":\"posted\",\"key\":\"a\",\"content\":\"x\",\"id\":\"post-1\"}\n")
        .unwrap();
    let world = World::real(WorldOptions::default()).unwrap();
    let app = app(Options::default(), &path, world.clone()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/posts", listener.local_addr().unwrap());
    world.spawn("platform", async move { axum::serve(listener, app).await });
    let options = WebhookOptions { can_be_asked: true, ..WebhookOptions::new(url) };
    let publisher = WebhookPublisher::new(options, world.http()).unwrap();
    assert_eq!(publisher.publish(post("a")).await.unwrap().remote_id, "post-1");
    assert_eq!(publisher.publish(post("b")).await.unwrap().remote_id, "post-2");
}

#[tokio::test]
async fn a_post_meets_what_the_plan_has_for_it() {
    let head = "[experiment]\nname = 'x'\nduration = '1m'\nquiet = '1m'\n[workload]\nruns = 1\narrival = '1/s'\n";
    let kinds = ["status'\nstatus = 503\ntarget = 'platform/*", "reset", "lost", "late'\nby = '30ms"];
    let faults = kinds.map(|kind| format!("[[fault]]\nkind = 'platform_{kind}'\ncount = 1\n")).concat();
    let plan = expand(&read("x.toml", &format!("{head}{faults}")).unwrap(), 1);
    let forecast = Forecast::new(&plan, World::real(WorldOptions::default()).unwrap());
    let ground = ground(Options { forecast: Some(forecast), ..Options::default() }).await;
    for key in ["refused", "reset", "lost", "late"] {
        ground.publisher.publish(post(key)).await.unwrap_err();
    }
    let first = ground.publisher.publish(post("well")).await.unwrap();
    while !posted(&ground).contains(&"late".to_owned()) {
        tokio::task::yield_now().await;
    }
    let mut keys = posted(&ground);
    keys.sort();
    assert_eq!(keys, ["late", "lost", "well"]);
    assert_eq!(ground.publisher.publish(post("well")).await.unwrap(), first);
    let entries = ledger::read::<Entry>(&ground.ledger).unwrap().into_iter().map(|line| line.entry);
    let entries: Vec<_> = entries.collect();
    let struck = entries.iter().filter(|entry| matches!(entry, Entry::Struck { .. })).count();
    assert_eq!(struck, 4);
    assert!(entries.contains(&Entry::Coming { key: "late".to_owned() }));
    assert!(entries.contains(&Entry::Repeated { key: "well".to_owned() }));
}

#[tokio::test]
async fn a_slow_post_is_told_to_be_on_its_way_before_it_is_out() {
    let text = "[experiment]\nname = 'x'\nduration = '1m'\nquiet = '1m'\n[workload]\nruns = 1\narrival = '1/s'\n\
                platform = 'careless'\n[[fault]]\nkind = 'platform_slow'\nby = '1ms'\nat = '0s..1m'\n";
    let plan = expand(&read("x.toml", text).unwrap(), 1);
    let forecast = Some(Forecast::new(&plan, World::real(WorldOptions::default()).unwrap()));
    let ground = ground(Options { kind: Platform::Careless, forecast, ..Options::default() }).await;
    ground.publisher.publish(post("slow")).await.unwrap();
    let entries = ledger::read::<Entry>(&ground.ledger).unwrap().into_iter().map(|line| line.entry);
    let entries: Vec<_> = entries.collect();
    assert_eq!(entries[..2], [Entry::Struck { number: 0 }, Entry::Coming { key: "slow".to_owned() }]);
    assert_eq!(posted(&ground), ["slow"]);
}
