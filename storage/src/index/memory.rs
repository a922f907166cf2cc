//! The exact index in memory, for the simulator and for tests.
//!
//! Invariant: clones share their points, so that what stands for the disk
//! outlives the process that is simulated on it; equal calls give equal answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::index::{ContextIndex, Filter, Hit, IndexError, Payload, Point, check_vector, sort_hits};
use crate::journal::Seq;

/// Every search compares with every point.
#[derive(Clone)]
pub struct MemoryIndex {
    dimension: usize,
    content: Arc<Mutex<Content>>,
}

#[derive(Default)]
struct Content {
    points: BTreeMap<u128, Stored>,
    sequence: Option<Seq>,
}

struct Stored {
    /// Of length one.
    direction: Vec<f32>,
    payload: Payload,
}

impl MemoryIndex {
    /// An empty index for vectors of `dimension` numbers.
    pub fn new(dimension: usize) -> Self {
        Self { dimension, content: Arc::default() }
    }

    /// Nothing panics under the lock, so that a poisoned one is still sound.
    fn held(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ContextIndex for MemoryIndex {
    fn dimension(&self) -> usize {
        self.dimension
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        for point in &points {
            check_vector(self.dimension, &point.vector)?;
        }
        let stored = points.into_iter().map(|point| {
            let direction = direction(&point.vector);
            let payload = point.payload;
            (point.id, Stored { direction, payload })
        });
        self.held().points.extend(stored);
        Ok(())
    }

    async fn delete(&self, ids: Vec<u128>) -> Result<(), IndexError> {
        let mut content = self.held();
        for id in ids {
            content.points.remove(&id);
        }
        Ok(())
    }

    async fn search(&self, vector: Vec<f32>, filter: Filter, limit: usize) -> Result<Vec<Hit>, IndexError> {
        check_vector(self.dimension, &vector)?;
        let sought = direction(&vector);
        let mut hits: Vec<Hit> = self
            .held()
            .points
            .iter()
            .filter(|(_, stored)| filter.admits(&stored.payload))
            .map(|(&id, stored)| Hit { id, score: dot(&sought, &stored.direction), payload: stored.payload.clone() })
            .collect();
        sort_hits(&mut hits);
        hits.truncate(limit);
        Ok(hits)
    }

    async fn count(&self) -> Result<u64, IndexError> {
        Ok(self.held().points.len() as u64)
    }

    async fn sequence(&self) -> Result<Option<Seq>, IndexError> {
        Ok(self.held().sequence)
    }

    async fn commit(&self, seq: Seq) -> Result<(), IndexError> {
        self.held().sequence = Some(seq);
        Ok(())
    }

    async fn reset(&self) -> Result<(), IndexError> {
        *self.held() = Content::default();
        Ok(())
    }
}

fn direction(vector: &[f32]) -> Vec<f32> {
    // In f64, so that very long and very short vectors keep theirs.
    let squares = vector.iter().map(|&number| f64::from(number).powi(2));
    let length = squares.sum::<f64>().sqrt();
    let scaled = |&number: &f32| (f64::from(number) / length) as f32;
    vector.iter().map(scaled).collect()
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::conformance;

    #[tokio::test]
    async fn conforms() {
        let index = MemoryIndex::new(conformance::DIMENSION);
        conformance::check(async || Box::new(index.clone()) as Box<dyn ContextIndex>).await;
    }
}
