//! The embedded index: what all indexes must do, and what becomes of it when its
//! files are harmed.

#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use storage::index::conformance::{self, DIMENSION, KEYWORDS};
use storage::index::{ContextIndex, Filter, IndexError, Point};
use storage::journal::Seq;
use storage::views::seal;
use storage_edge::{EdgeIndex, Executor, Options};

/// Of the shard's forty files every third is harmed: they are all looked after the
/// same way, and each costs a copy of the folder.
const FILES_STEP: usize = 3;

fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), dimension: DIMENSION, keywords: KEYWORDS.map(str::to_owned).to_vec() }
}

fn inline() -> Executor {
    Arc::new(|job| job())
}

fn open(path: &Path) -> EdgeIndex {
    EdgeIndex::open(options(path), inline()).unwrap()
}

fn points(ids: impl IntoIterator<Item = u128>) -> Vec<Point> {
    let point = |id| Point {
        id,
        vector: vec![1.0, id as f32, 0.5, 0.25],
        payload: [("agent".to_owned(), format!("a{}", id % 3))].into(),
    };
    ids.into_iter().map(point).collect()
}

async fn fill(path: &Path) {
    let index = open(path);
    index.upsert(points(0..300)).await.unwrap();
    index.commit(Seq(300)).await.unwrap();
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || Box::new(open(folder.path())) as Box<dyn ContextIndex>;
    conformance::check(open).await;
}

#[tokio::test]
async fn a_second_owner_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    index.upsert(points(0..3)).await.unwrap();
    let second = EdgeIndex::open(options(folder.path()), inline());
    assert!(matches!(second, Err(IndexError::Locked { .. })));
    index.commit(Seq(3)).await.unwrap();
    assert_eq!(index.count().await.unwrap(), 3);
}

#[tokio::test]
async fn starts_empty_for_vectors_of_another_length() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let longer = Options { dimension: DIMENSION + 1, ..options(folder.path()) };
    let index = EdgeIndex::open(longer, inline()).unwrap();
    assert_eq!(index.sequence().await.unwrap(), None);
    assert_eq!(index.count().await.unwrap(), 0);
}

#[tokio::test]
async fn indexes_a_field_that_was_added_to_the_options() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let mut more = options(folder.path());
    more.keywords.push("kind".to_owned());
    let index = EdgeIndex::open(more, inline()).unwrap();
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(300)));
    let filter = Filter::any().and("agent", "a1");
    let hits = index.search(vec![1.0; DIMENSION], filter, 500).await;
    assert_eq!(hits.unwrap().len(), 100);
}

#[tokio::test]
async fn a_call_whose_job_is_dropped_ends() {
    let folder = tempfile::tempdir().unwrap();
    let index = EdgeIndex::open(options(folder.path()), Arc::new(drop)).unwrap();
    assert!(matches!(index.count().await, Err(IndexError::Stopped)));
}

#[tokio::test]
async fn a_field_name_may_hold_dots_but_no_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    let mut dotted = points([1, 2]);
    dotted[0].payload.insert("a.b".into(), "c".into());
    index.upsert(dotted).await.unwrap();
    let search = |field| index.search(vec![1.0; DIMENSION], Filter::any().and(field, "c"), 9);
    let hits = search("a.b").await.unwrap();
    assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [1]);
    assert!(matches!(search("a\"b").await, Err(IndexError::Engine { .. })));
}

fn copy(from: &Path, to: &Path) {
    for name in seal::lengths(from).unwrap().keys() {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), target).unwrap();
    }
}

/// Harms a copy of `original` and opens it: all is there, or nothing and the
/// sequence says so.
async fn after(original: &Path, harm: impl FnOnce(&Path)) -> (tempfile::TempDir, Option<Seq>) {
    let folder = tempfile::tempdir().unwrap();
    copy(original, folder.path());
    harm(folder.path());
    let index = open(folder.path());
    let sequence = index.sequence().await.unwrap();
    let expected = if sequence.is_some() { 300 } else { 0 };
    assert_eq!(index.count().await.unwrap(), expected);
    (folder, sequence)
}

/// The same, and then replays the journal: all is there again, and stays.
async fn survives(original: &Path, harm: impl FnOnce(&Path)) -> Option<Seq> {
    let (folder, sequence) = after(original, harm).await;
    let index = open(folder.path());
    assert_eq!(index.sequence().await.unwrap(), sequence);
    index.upsert(points(0..300)).await.unwrap();
    index.delete(vec![299]).await.unwrap();
    index.commit(Seq(301)).await.unwrap();
    drop(index);
    let index = open(folder.path());
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(301)));
    assert_eq!(index.count().await.unwrap(), 299);
    sequence
}

/// What is done to a file, in a word and in deed.
type Harm = (&'static str, fn(&Path));

fn cut(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn starts_empty_after_any_file_is_deleted_cut_short_or_changed() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let original = folder.path();
    assert_eq!(survives(original, |_| ()).await, Some(Seq(300)));
    let harms: [Harm; 3] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("cut", |path| cut(path, fs::metadata(path).unwrap().len() / 2)),
        ("flipped", flip),
    ];
    let files = seal::lengths(original).unwrap().into_iter();
    let holds_data = |name: &str| name != "lock" && !name.ends_with("callboard.seal");
    let files = files.filter(|(name, _)| holds_data(name)).step_by(FILES_STEP);
    for (turn, (name, length)) in files.enumerate() {
        // An empty file can only be deleted; the others take turns.
        let (what, harm) = harms[if length == 0 { 0 } else { turn % harms.len() }];
        let (_, sequence) = after(original, |path| harm(&path.join(&name))).await;
        assert_eq!(sequence, None, "{name} {what}");
    }
    for (what, harm) in harms {
        let (_, sequence) = after(original, |path| harm(&path.join("sequence"))).await;
        assert_eq!(sequence, None, "sequence {what}");
    }
    let nothing = |path: &Path| fs::remove_dir_all(path).unwrap();
    assert_eq!(survives(original, nothing).await, None);
}

#[tokio::test]
async fn survives_a_crash_and_then_files_that_are_gone_or_short() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let original = folder.path();
    let crash = |path: &Path| fs::remove_file(path.join("shard/callboard.seal")).unwrap();
    assert_eq!(survives(original, crash).await, Some(Seq(300)));
    let files = seal::lengths(&original.join("shard/segments")).unwrap();
    for (name, length) in files.into_iter().step_by(FILES_STEP) {
        let harmed = after(original, |path| {
            crash(path);
            let path = path.join("shard/segments").join(&name);
            match length {
                0 => fs::remove_file(path).unwrap(),
                _ => cut(&path, length - 1),
            }
        });
        assert_eq!(harmed.await.1, None, "{name}");
    }
    for gone in ["shard", "shard/segments", "shard/wal"] {
        let harmed = survives(original, |path| {
            crash(path);
            fs::remove_dir_all(path.join(gone)).unwrap();
        });
        assert_eq!(harmed.await, None, "{gone} deleted");
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_committed() {
    let (folder, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index = open(folder.path());
    index.upsert(points(0..300)).await.unwrap();
    index.commit(Seq(300)).await.unwrap();
    index.upsert(points(300..350)).await.unwrap();
    index.delete(vec![7]).await.unwrap();
    // What a killed process leaves behind.
    copy(folder.path(), image.path());
    let index = open(image.path());
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(300)));
    index.upsert(points(300..350)).await.unwrap();
    index.delete(vec![7]).await.unwrap();
    assert_eq!(index.count().await.unwrap(), 349);
}

#[tokio::test]
async fn a_write_after_a_power_cut_never_passes_for_an_old_one() {
    let (folder, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index = open(folder.path());
    index.upsert(points(0..10)).await.unwrap();
    index.commit(Seq(10)).await.unwrap();
    copy(folder.path(), image.path());
    for _ in 0..200 {
        index.upsert(points([5])).await.unwrap();
    }
    // The points of now, as far as they are on disk, with the log and the record of the commit.
    copy(&folder.path().join("shard/segments"), &image.path().join("shard/segments"));
    let index = open(image.path());
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(10)));
    index.delete(vec![5]).await.unwrap();
    assert_eq!(index.count().await.unwrap(), 9);
}

#[tokio::test]
async fn the_engines_own_log_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    let log = || -> u64 {
        let files = seal::lengths(&folder.path().join("shard/wal")).unwrap();
        files.values().sum()
    };
    let filler = "x".repeat(4096);
    let mut largest = 0;
    for seq in 1..=30 {
        let mut batch = points(0..256);
        for point in &mut batch {
            point.payload.insert("text".into(), filler.clone());
        }
        index.upsert(batch).await.unwrap();
        index.commit(Seq(seq)).await.unwrap();
        largest = largest.max(log());
    }
    assert!(largest < 20 << 20, "{largest} bytes of log");
    drop(index);
    let index = open(folder.path());
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(30)));
    index.upsert(points([1])).await.unwrap();
    let filter = Filter::any().and("text", filler);
    let hits = index.search(vec![1.0; DIMENSION], filter, 500).await.unwrap();
    assert_eq!(hits.len(), 255, "a write after the reopening counts");
}
