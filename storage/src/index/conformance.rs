//! What every context index must do, as one suite that is run on each of them.
//!
//! Invariant: a check speaks to the index through [`ContextIndex`] alone, so that
//! passing it means the same for all.

#![expect(clippy::unwrap_used, reason = "a test suite, which other crates' tests run")]

use crate::index::{ContextIndex, Filter, IndexError, Payload, Point};
use crate::journal::Seq;

/// Numbers in the suite's vectors.
pub const DIMENSION: usize = 4;

/// Fields that the suite filters by.
pub const KEYWORDS: [&str; 2] = ["collection", "agent"];

/// How far two scores of the same angle may lie apart.
const SCORE_TOLERANCE: f32 = 1e-3;

/// Runs every check. `open` opens the same storage each time, after the index
/// that it gave before was dropped; what is there is removed first.
///
/// # Panics
///
/// When the index does not do what it must.
pub async fn check(open: impl AsyncFn() -> Box<dyn ContextIndex>) {
    works_while_open(open().await.as_ref()).await;
    remembers_what_was_committed(open).await;
}

async fn works_while_open(index: &dyn ContextIndex) {
    index.reset().await.unwrap();
    starts_empty(index).await;
    answers_nearest_first(index).await;
    narrows_by_every_field_of_the_filter(index).await;
    replaces_under_the_same_id(index).await;
    forgets_what_is_deleted(index).await;
    refuses_vectors_without_meaning(index).await;
    forgets_everything_on_reset(index).await;
    keeps_ids_of_any_size(index).await;
}

fn point(id: u128, vector: [f32; DIMENSION], agent: &str) -> Point {
    let fields = [("collection", "notes"), ("agent", agent), ("text", "“grüße”, 世界\n")];
    Point {
        id,
        vector: vector.to_vec(),
        payload: fields.map(|(field, value)| (field.to_owned(), value.to_owned())).into(),
    }
}

const NORTH: [f32; DIMENSION] = [1.0, 0.0, 0.0, 0.0];
const NORTH_EAST: [f32; DIMENSION] = [2.0, 2.0, 0.0, 0.0];
const EAST: [f32; DIMENSION] = [0.0, 5.0, 0.0, 0.0];
const SOUTH: [f32; DIMENSION] = [-1.0, 0.0, 0.0, 0.0];

async fn remember_three(index: &dyn ContextIndex) {
    let points = vec![point(3, SOUTH, "writer"), point(1, NORTH, "writer"), point(2, EAST, "critic")];
    index.upsert(points).await.unwrap();
}

async fn found(index: &dyn ContextIndex, filter: Filter, limit: usize) -> Vec<u128> {
    let hits = index.search(NORTH.to_vec(), filter, limit).await.unwrap();
    hits.iter().map(|hit| hit.id).collect()
}

async fn starts_empty(index: &dyn ContextIndex) {
    assert_eq!(index.dimension(), DIMENSION);
    assert_eq!(index.count().await.unwrap(), 0);
    assert_eq!(index.sequence().await.unwrap(), None);
    assert!(found(index, Filter::any(), 10).await.is_empty());
    index.upsert(Vec::new()).await.unwrap();
    index.delete(Vec::new()).await.unwrap();
}

async fn answers_nearest_first(index: &dyn ContextIndex) {
    remember_three(index).await;
    assert_eq!(index.count().await.unwrap(), 3);
    assert_eq!(found(index, Filter::any(), 10).await, [1, 2, 3]);
    assert_eq!(found(index, Filter::any(), 2).await, [1, 2]);
    let hits = index.search(NORTH_EAST.to_vec(), Filter::any(), 3).await.unwrap();
    for (hit, expected) in hits.iter().zip([0.5_f32.sqrt(), 0.5_f32.sqrt(), -0.5_f32.sqrt()]) {
        assert!((hit.score - expected).abs() < SCORE_TOLERANCE, "{hit:?}");
    }
    let nearest = &index.search(NORTH.to_vec(), Filter::any(), 1).await.unwrap()[0];
    assert_eq!(nearest.payload, point(1, NORTH, "writer").payload);
}

async fn narrows_by_every_field_of_the_filter(index: &dyn ContextIndex) {
    let notes = Filter::any().and("collection", "notes");
    assert_eq!(found(index, notes.clone(), 10).await, [1, 2, 3]);
    let by_writer = notes.clone().and("agent", "writer");
    assert_eq!(found(index, by_writer.clone(), 10).await, [1, 3]);
    assert_eq!(found(index, by_writer, 1).await, [1]);
    assert!(found(index, notes.and("agent", "write"), 10).await.is_empty());
    let unknown = Filter::any().and("nowhere", "x");
    assert!(found(index, unknown, 10).await.is_empty());
    let contradiction = Filter::any().and("agent", "writer").and("agent", "critic");
    assert!(found(index, contradiction, 10).await.is_empty());
}

async fn replaces_under_the_same_id(index: &dyn ContextIndex) {
    remember_three(index).await;
    remember_three(index).await;
    assert_eq!(index.count().await.unwrap(), 3);
    assert_eq!(found(index, Filter::any(), 10).await, [1, 2, 3]);
    let bare = Point { payload: Payload::new(), ..point(1, SOUTH, "writer") };
    index.upsert(vec![bare]).await.unwrap();
    assert_eq!(index.count().await.unwrap(), 3);
    assert_eq!(found(index, Filter::any(), 10).await[0], 2);
    let by_writer = Filter::any().and("agent", "writer");
    assert_eq!(found(index, by_writer, 10).await, [3]);
}

async fn forgets_what_is_deleted(index: &dyn ContextIndex) {
    index.delete(vec![1, 99]).await.unwrap();
    index.delete(vec![1]).await.unwrap();
    assert_eq!(index.count().await.unwrap(), 2);
    assert_eq!(found(index, Filter::any(), 10).await, [2, 3]);
    remember_three(index).await;
    assert_eq!(found(index, Filter::any(), 10).await, [1, 2, 3]);
}

async fn refuses_vectors_without_meaning(index: &dyn ContextIndex) {
    let mut last = NORTH;
    for (number, other) in [(f32::NAN, 1.0), (f32::INFINITY, 1.0), (0.0, 0.0)] {
        last[0] = number;
        last[1] = other;
        let refused = index.upsert(vec![point(7, NORTH, "writer"), point(8, last, "writer")]);
        assert!(matches!(refused.await, Err(IndexError::Direction { .. })));
        let refused = index.search(last.to_vec(), Filter::any(), 1).await;
        assert!(matches!(refused, Err(IndexError::Direction { .. })));
    }
    let long = Point { vector: vec![1.0; DIMENSION + 1], ..point(7, NORTH, "writer") };
    let refused = index.upsert(vec![long]).await;
    assert!(matches!(
        refused,
        Err(IndexError::Dimension { expected: DIMENSION, actual }) if actual == DIMENSION + 1
    ));
    let refused = index.search(vec![1.0], Filter::any(), 1).await;
    assert!(matches!(refused, Err(IndexError::Dimension { .. })));
    // A batch with one such vector is refused whole.
    assert_eq!(index.count().await.unwrap(), 3);
}

async fn forgets_everything_on_reset(index: &dyn ContextIndex) {
    index.commit(Seq(7)).await.unwrap();
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(7)));
    index.reset().await.unwrap();
    starts_empty(index).await;
}

async fn keeps_ids_of_any_size(index: &dyn ContextIndex) {
    for id in [0, u128::from(u64::MAX) + 1, u128::MAX] {
        index.upsert(vec![point(id, NORTH, "writer")]).await.unwrap();
        assert_eq!(found(index, Filter::any(), 10).await, [id]);
        index.delete(vec![id]).await.unwrap();
    }
}

async fn remembers_what_was_committed(open: impl AsyncFn() -> Box<dyn ContextIndex>) {
    let index = open().await;
    remember_three(index.as_ref()).await;
    index.commit(Seq(41)).await.unwrap();
    let late = point(4, NORTH_EAST, "writer");
    index.upsert(vec![late]).await.unwrap();
    drop(index);

    let index = open().await;
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(41)));
    let mut kept = found(index.as_ref(), Filter::any(), 10).await;
    // What came after the commit may be there or not.
    kept.retain(|&id| id != 4);
    assert_eq!(kept, [1, 2, 3]);
    // A replay from the journal does it again, which changes nothing.
    remember_three(index.as_ref()).await;
    index.delete(vec![4]).await.unwrap();
    index.commit(Seq(42)).await.unwrap();
    drop(index);

    let index = open().await;
    assert_eq!(index.sequence().await.unwrap(), Some(Seq(42)));
    assert_eq!(index.count().await.unwrap(), 3);
    let by_critic = Filter::any().and("agent", "critic");
    assert_eq!(found(index.as_ref(), by_critic, 10).await, [2]);
    index.reset().await.unwrap();
    drop(index);

    let index = open().await;
    starts_empty(index.as_ref()).await;
}
