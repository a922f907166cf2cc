//! The handle: takes asynchronous calls to the place where they may block.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use storage::index::{ContextIndex, Filter, Hit, IndexError, Point, check_vector};
use storage::journal::Seq;
use tokio::sync::oneshot;

use crate::store::Store;

/// Runs a job that blocks, somewhere where that harms nobody. A job that is
/// dropped instead ends its call with [`IndexError::Stopped`].
pub type Executor = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Where the index is and what it holds.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder for the index alone.
    pub path: PathBuf,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Payload fields that searches filter by; others can be asked for, slowly.
    pub keywords: Vec<String>,
}

/// A context index in a folder, which one process at a time may open.
pub struct EdgeIndex {
    dimension: usize,
    store: Arc<Store>,
    executor: Executor,
}

impl EdgeIndex {
    /// Opens the folder, or makes it. Blocks. What is missing, damaged, or made
    /// for other vectors is started anew and reported; the sequence then is
    /// `None` and the caller fills the index again from the journal.
    ///
    /// # Errors
    /// When the folder is in use by another process, or the disk refuses.
    pub fn open(options: Options, executor: Executor) -> Result<Self, IndexError> {
        Ok(Self { dimension: options.dimension, store: Arc::new(Store::open(options)?), executor })
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (answer, answered) = oneshot::channel();
        let store = Arc::clone(&self.store);
        (self.executor)(Box::new(move || {
            let outcome = call(&store);
            // Let go first: whoever has the answer may close the folder.
            drop(store);
            // A caller that went away wants no answer.
            let _ = answer.send(outcome);
        }));
        answered.await.unwrap_or(Err(IndexError::Stopped))
    }
}

#[async_trait]
impl ContextIndex for EdgeIndex {
    fn dimension(&self) -> usize {
        self.dimension
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        for point in &points {
            check_vector(self.dimension, &point.vector)?;
        }
        self.run(move |store| store.upsert(points)).await
    }

    async fn delete(&self, ids: Vec<u128>) -> Result<(), IndexError> {
        self.run(move |store| store.delete(ids)).await
    }

    async fn search(&self, vector: Vec<f32>, filter: Filter, limit: usize) -> Result<Vec<Hit>, IndexError> {
        check_vector(self.dimension, &vector)?;
        self.run(move |store| store.search(vector, &filter, limit)).await
    }

    async fn count(&self) -> Result<u64, IndexError> {
        self.run(Store::count).await
    }

    async fn sequence(&self) -> Result<Option<Seq>, IndexError> {
        self.run(|store| Ok(store.sequence())).await
    }

    async fn commit(&self, seq: Seq) -> Result<(), IndexError> {
        self.run(move |store| store.commit(seq)).await
    }

    async fn reset(&self) -> Result<(), IndexError> {
        self.run(Store::reset).await
    }
}
