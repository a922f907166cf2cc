use std::sync::Arc;
use std::time::Duration;

use actors::guard::{Guards, Permit};
use actors::transport;
use actors::world::World;
use async_trait::async_trait;
use atom_syndication::Feed;
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use proptest::prelude::*;
use ractor::Actor;
use storage::disk::Disk;
use storage::disk::sim::SimDisk;

use super::watched::PostPoint;
use super::*;
use crate::front::FrontError;

fn world() -> World {
    World::simulated(1, transport::unplugged())
}

fn options(entries_max: usize) -> FeedOptions {
    FeedOptions { url: Some("http://here/feed.atom".to_owned()), entries_max, ..FeedOptions::default() }
}

fn publisher(disk: &SimDisk, entries_max: usize) -> FeedPublisher {
    FeedPublisher::new(world(), Arc::new(disk.clone()), options(entries_max))
}

fn post(key: usize) -> Post {
    Post {
        key: format!("run/a/step/{key}"),
        title: format!("Post <{key}> & more"),
        text: format!("First line\nsecond & <b>line</b> {key}\n\nA paragraph."),
        link: Some("https://example.org/?a=1&b=2".to_owned()),
        published: Timestamp::from_micros(1_767_225_600_000_000 + key as i64 * 1_000_000),
    }
}

fn document(disk: &SimDisk, path: &str) -> Feed {
    Feed::read_from(disk.read(path).unwrap().as_slice()).unwrap()
}

/// Every entry, following the archives as a reader does (RFC 5005).
fn everything(disk: &SimDisk) -> Vec<String> {
    let mut next = Some("feed.atom".to_owned());
    let mut ids = Vec::new();
    while let Some(path) = next {
        let feed = document(disk, &path);
        ids.extend(feed.entries.iter().map(|entry| entry.id.clone()));
        next = feed.links.iter().find(|link| link.rel == "prev-archive").map(|link| link.href.clone());
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn any_reader_can_read_the_feed() {
    let disk = SimDisk::new();
    publisher(&disk, 10).publish(post(1)).await.unwrap();
    publisher(&disk, 10).publish(post(2)).await.unwrap();
    let feed = document(&disk, "feed.atom");
    assert_eq!(feed.entries.len(), 2);
    let newest = &feed.entries[0];
    assert_eq!(newest.title.as_str(), "Post <2> & more");
    assert_eq!(newest.links[0].href, "https://example.org/?a=1&b=2");
    let content = newest.content.as_ref().unwrap();
    assert_eq!(content.content_type.as_deref(), Some("html"));
    assert_eq!(
        content.value.as_deref(),
        Some("<p>First line<br/>second &amp; &lt;b&gt;line&lt;/b&gt; 2</p>\n<p>A paragraph.</p>")
    );
    assert_eq!(feed.updated, newest.updated);
    assert!(!feed.authors.is_empty() && !feed.id.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_post_repeated_is_the_same_post() {
    let disk = SimDisk::new();
    let first = publisher(&disk, 10).publish(post(1)).await.unwrap();
    let before = disk.read("feed.atom").unwrap();
    let again = Post { text: "other words".to_owned(), ..post(1) };
    assert_eq!(publisher(&disk, 10).publish(again).await.unwrap(), first);
    assert_eq!(disk.read("feed.atom").unwrap(), before);
    let feed = publisher(&disk, 10);
    assert_eq!(feed.find(&post(1).key).await.unwrap(), Some(first));
    assert_eq!(feed.find(&post(2).key).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn old_posts_move_to_archives_and_are_still_known() {
    let disk = SimDisk::new();
    for key in 0..20 {
        // Each time as after a restart.
        publisher(&disk, 4).publish(post(key)).await.unwrap();
    }
    for key in 0..20 {
        let feed = publisher(&disk, 4);
        assert!(feed.find(&post(key).key).await.unwrap().is_some(), "{key}");
        feed.publish(post(key)).await.unwrap();
    }
    assert!(document(&disk, "feed.atom").entries.len() <= 4);
    let mut ids = everything(&disk);
    assert_eq!(ids.len(), 20);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    let archive = String::from_utf8(disk.read("feed-archive-0001.atom").unwrap()).unwrap();
    assert!(archive.contains("fh:archive") && archive.contains("http://purl.org/syndication/history/1.0"));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_foreign_file_is_left_as_it_is() {
    let theirs = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title><id>y</id><updated>2026-01-01T00:00:00Z</updated></feed>"#;
    for content in ["", "not xml", "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>cut", theirs] {
        let disk = SimDisk::new();
        disk.open("feed.atom").unwrap().append(content.as_bytes()).unwrap();
        let error = publisher(&disk, 10).publish(post(1)).await.unwrap_err();
        assert_eq!((error.class, error.landed), (FailureClass::Rejected, Landed::No), "{content}");
        assert!(error.message.contains("feed.atom"), "{error}");
        assert!(publisher(&disk, 10).find("x").await.is_err());
        assert_eq!(disk.read("feed.atom").unwrap(), content.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn control_characters_do_not_break_the_feed() {
    let disk = SimDisk::new();
    let text = "a\u{0}b\u{8}c\u{1b}d\u{fffe}e 👩‍🔧".to_owned();
    publisher(&disk, 10).publish(Post { title: text.clone(), text, ..post(1) }).await.unwrap();
    assert_eq!(document(&disk, "feed.atom").entries[0].title.as_str(), "abcde 👩‍🔧");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_loses_nothing() {
    let disk = SimDisk::new();
    publisher(&disk, 10).publish(post(1)).await.unwrap();
    let before = disk.read("feed.atom").unwrap();
    disk.set_capacity(Some(before.len() as u64 + 10));
    publisher(&disk, 10).publish(post(2)).await.unwrap_err();
    assert_eq!(disk.read("feed.atom").unwrap(), before);
    disk.set_capacity(None);
    publisher(&disk, 10).publish(post(2)).await.unwrap();
    assert_eq!(document(&disk, "feed.atom").entries.len(), 2);
}

fn permit() -> Permit {
    Guards::new(world(), policies::guard::Guards::builtin().unwrap()).get("publisher").try_admit().unwrap()
}

#[tokio::test(start_paused = true)]
async fn its_actor_publishes_and_finds() {
    let disk = SimDisk::new();
    let platform: Arc<dyn Publisher> = Arc::new(publisher(&disk, 10));
    let handle = PublisherHandle::new(platform.capabilities());
    let (actor, running) =
        Actor::spawn(None, PublisherActor::new(world(), "feed", Duration::from_secs(5)), platform).await.unwrap();
    handle.front().slot().publish(actor.clone());
    let place = || async { handle.front().enter().await.unwrap() };
    let published = handle.publish(post(1), permit(), place().await).await.unwrap();
    assert_eq!(handle.find(post(1).key, permit()).await.unwrap(), Some(published));
    actor.stop(None);
    running.await.unwrap();
    assert_eq!(handle.publish(post(2), permit(), place().await).await.unwrap_err().landed(), Landed::No);
}

/// A platform whose adapter panics at a post of this title, when it is told to go on.
struct Brittle(tokio::sync::Notify);

#[async_trait]
impl Publisher for Brittle {
    async fn publish(&self, post: Post) -> Result<Published, PublishError> {
        self.0.notified().await;
        assert!(!post.title.contains("<1>"), "on purpose");
        Ok(Published { remote_id: post.key, url: None })
    }

    async fn find(&self, _: &str) -> Result<Option<Published>, PublishError> {
        Ok(None)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { deduplicates: true, can_be_asked: true, lands_late: false }
    }
}

/// ractor drops the mailbox of an actor that panics: what waited there was certainly not posted.
#[tokio::test(start_paused = true)]
async fn a_post_that_kills_its_publisher_is_to_blame_and_those_behind_it_are_not() {
    let brittle = Arc::new(Brittle(tokio::sync::Notify::new()));
    let platform: Arc<dyn Publisher> = brittle.clone();
    let handle = PublisherHandle::new(platform.capabilities());
    let actor = PublisherActor::new(world(), "feed", Duration::from_secs(5));
    let (actor, running) = Actor::spawn(None, actor, platform).await.unwrap();
    handle.front().slot().publish(actor);
    let posting = |number| {
        let handle = handle.clone();
        async move {
            let place = handle.front().enter().await.unwrap();
            handle.publish(post(number), permit(), place).await
        }
    };
    let (killer, behind, further, ()) = tokio::join!(posting(1), posting(2), posting(3), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        brittle.0.notify_one();
    });
    running.await.unwrap();
    let error = killer.unwrap_err();
    let PostError::Unanswered(FrontError::Killed(cause)) = &error else { panic!("{error:?}") };
    assert_eq!((cause.class, error.landed()), (FailureClass::Bug, Landed::Unknown));
    assert!(cause.message.contains("on purpose"), "{cause:?}");
    for error in [behind.unwrap_err(), further.unwrap_err()] {
        assert_eq!((&error, error.landed()), (&PostError::Unanswered(FrontError::Untaken), Landed::No));
    }
    assert_eq!(handle.front().credits().depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watched_post_is_told_before_it_is_out_and_after() {
    let disk = SimDisk::new();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (ear, eye) = (Arc::clone(&told), disk.clone());
    let hook = move |point| ear.lock().unwrap().push((point, eye.exists("feed.atom").unwrap()));
    let watched = watched::watched(Arc::new(publisher(&disk, 10)), Arc::new(hook));
    let out = watched.publish(post(1)).await.unwrap();
    assert_eq!(watched.find(&post(1).key).await.unwrap(), Some(out), "a question is not told");
    // The file is there already, so the second one fails after its first point.
    disk.fail_next_sync();
    watched.publish(post(2)).await.unwrap_err();
    let points = [(PostPoint::PostBefore, false), (PostPoint::PostAfter, true), (PostPoint::PostBefore, true)];
    assert_eq!(*told.lock().unwrap(), points);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_key_is_there_once_after_any_crashes(posts in prop::collection::vec((0..12_usize, any::<bool>()), 1..40), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let disk = SimDisk::new();
            let mut accepted = std::collections::BTreeSet::new();
            for (at, (key, crash)) in posts.into_iter().enumerate() {
                if crash {
                    disk.fail_next_sync();
                }
                if publisher(&disk, 3).publish(post(key)).await.is_ok() {
                    accepted.insert(document::entry_id(&post(key).key));
                }
                if crash {
                    disk.power_cut(storage::disk::sim::Loss::Torn { seed: seed ^ at as u64 });
                }
            }
            let mut ids = if disk.exists("feed.atom").unwrap() { everything(&disk) } else { Vec::new() };
            let count = ids.len();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), count, "each key once");
            assert!(accepted.iter().all(|id| ids.contains(id)), "nothing accepted is lost");
        });
    }
}
