//! The index on the server: one collection of points, and beside it a small one
//! that keeps the reached sequence.
//!
//! Invariant: the sequence is written after the server has confirmed the points
//! that it speaks of, and removed before them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder, Distance,
    FieldType, GetPointsBuilder, PointId, PointStruct, PointsIdsList, QueryPointsBuilder, UpsertPointsBuilder,
    VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use storage::index::{ContextIndex, Filter, Hit, IndexError, Point, check_vector, sort_hits};
use storage::journal::Seq;

use crate::{failure, mapping};

/// Points or ids sent in one request.
const REQUEST_POINTS_MAX: usize = 256;
/// The one point of the sequence's collection, and its field.
const SEQUENCE_ID: u64 = 1;
const SEQUENCE: &str = "sequence";
const SEQUENCE_DIMENSION: u64 = 1;

/// Where the server is and what the index holds.
#[derive(Clone)]
pub struct Options {
    /// Of the server's gRPC port, such as `http://localhost:6334`.
    pub url: String,
    /// What the server asks for, if it does.
    pub api_key: Option<String>,
    /// The collection, which is made when it is absent. Another one of this name
    /// and `-sequence` is kept beside it.
    pub collection: String,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Payload fields that searches filter by.
    pub keywords: Vec<String>,
    /// For one request; also for making a connection.
    pub timeout: Duration,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &self.url)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("collection", &self.collection)
            .field("dimension", &self.dimension)
            .field("keywords", &self.keywords)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A context index in a collection of a Qdrant server.
pub struct ServerIndex {
    client: Qdrant,
    options: Options,
    sequences: String,
}

impl ServerIndex {
    /// Connects, and makes the collections when they are absent; the sequence
    /// then is `None` and the caller fills the index from the journal.
    ///
    /// # Errors
    /// `Unavailable` when the server cannot be reached, `Dimension` when the
    /// collection holds other vectors, `Key` when the server refuses the key,
    /// `Engine` when it refuses something else.
    pub async fn open(options: Options) -> Result<Self, IndexError> {
        let index = Self::connected(options).await?;
        if index.exists(&index.options.collection).await? {
            index.check_dimension().await?;
            index.index_fields().await?;
        } else {
            index.reset().await?;
        }
        Ok(index)
    }

    /// The same index by another key. Nothing is looked at or made, so that an index that goes on does so with
    /// what it has.
    ///
    /// # Errors
    /// `Engine` when the key cannot be sent.
    pub async fn rekeyed(&self, api_key: String) -> Result<Self, IndexError> {
        Self::connected(Options { api_key: Some(api_key), ..self.options.clone() }).await
    }

    async fn connected(options: Options) -> Result<Self, IndexError> {
        // The client's own check of versions would start a thread.
        let config = Qdrant::from_url(&options.url)
            .api_key(options.api_key.clone())
            .timeout(options.timeout)
            .connect_timeout(options.timeout)
            .skip_compatibility_check();
        let client = failure::of("connect", async { config.build() }).await?;
        let sequences = format!("{}-sequence", options.collection);
        Ok(Self { client, options, sequences })
    }

    async fn exists(&self, collection: &str) -> Result<bool, IndexError> {
        failure::of("look for its collection", self.client.collection_exists(collection)).await
    }

    async fn check_dimension(&self) -> Result<(), IndexError> {
        let info = self.client.collection_info(&self.options.collection);
        let info = failure::of("read its collection", info).await?;
        let params = info.result.and_then(|info| info.config?.params?.vectors_config?.config);
        match params {
            Some(Config::Params(params)) if params.size == self.options.dimension as u64 => Ok(()),
            Some(Config::Params(params)) => Err(IndexError::Dimension {
                expected: usize::try_from(params.size).unwrap_or(usize::MAX),
                actual: self.options.dimension,
            }),
            _ => Err(failure::refusal(
                "use its collection",
                format!("{} was not made by callboard; configure another name", self.options.collection),
            )),
        }
    }

    async fn remove(&self, collection: &str) -> Result<(), IndexError> {
        if self.exists(collection).await? {
            let removed = self.client.delete_collection(collection);
            failure::of("remove its collection", removed).await?;
        }
        Ok(())
    }

    async fn create(&self, collection: &str, dimension: u64) -> Result<(), IndexError> {
        let vectors = VectorParamsBuilder::new(dimension, Distance::Cosine);
        let create = CreateCollectionBuilder::new(collection).vectors_config(vectors);
        let created = self.client.create_collection(create);
        failure::of("make its collection", created).await?;
        Ok(())
    }

    async fn index_fields(&self) -> Result<(), IndexError> {
        for field in &self.options.keywords {
            let create = CreateFieldIndexCollectionBuilder::new(
                &self.options.collection,
                mapping::path(field)?,
                FieldType::Keyword,
            );
            let created = self.client.create_field_index(create.wait(true));
            failure::of("index a field", created).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ContextIndex for ServerIndex {
    fn dimension(&self) -> usize {
        self.options.dimension
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        for point in &points {
            check_vector(self.options.dimension, &point.vector)?;
        }
        let mut points = points.into_iter().map(mapping::point).peekable();
        while points.peek().is_some() {
            let batch: Vec<PointStruct> = points.by_ref().take(REQUEST_POINTS_MAX).collect();
            let upsert = UpsertPointsBuilder::new(&self.options.collection, batch).wait(true);
            failure::of("remember", self.client.upsert_points(upsert)).await?;
        }
        Ok(())
    }

    async fn delete(&self, ids: Vec<u128>) -> Result<(), IndexError> {
        for ids in ids.chunks(REQUEST_POINTS_MAX) {
            let ids = ids.iter().copied().map(mapping::id).collect();
            let delete = DeletePointsBuilder::new(&self.options.collection).points(PointsIdsList { ids }).wait(true);
            failure::of("forget", self.client.delete_points(delete)).await?;
        }
        Ok(())
    }

    async fn search(&self, vector: Vec<f32>, filter: Filter, limit: usize) -> Result<Vec<Hit>, IndexError> {
        check_vector(self.options.dimension, &vector)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let query = QueryPointsBuilder::new(&self.options.collection)
            .query(vector)
            .filter(mapping::filter(&filter)?)
            .limit(limit as u64)
            .with_payload(true);
        let found = failure::of("search", self.client.query(query)).await?;
        let hits: Result<Vec<Hit>, IndexError> = found.result.into_iter().map(mapping::hit).collect();
        let mut hits = hits?;
        sort_hits(&mut hits);
        Ok(hits)
    }

    async fn count(&self) -> Result<u64, IndexError> {
        let count = CountPointsBuilder::new(&self.options.collection).exact(true);
        let counted = failure::of("count", self.client.count(count)).await?;
        Ok(counted.result.map_or(0, |result| result.count))
    }

    async fn sequence(&self) -> Result<Option<Seq>, IndexError> {
        if !self.exists(&self.sequences).await? {
            return Ok(None);
        }
        let ids = vec![PointId::from(SEQUENCE_ID)];
        let get = GetPointsBuilder::new(&self.sequences, ids).with_payload(true);
        let got = failure::of("read its sequence", self.client.get_points(get)).await?;
        let value = got.result.into_iter().find_map(|mut point| point.payload.remove(SEQUENCE)?.kind);
        // In digits: the server's whole numbers are signed.
        Ok(match value {
            Some(Kind::StringValue(digits)) => digits.parse().ok().map(Seq),
            _ => None,
        })
    }

    async fn commit(&self, seq: Seq) -> Result<(), IndexError> {
        let mut payload = Payload::new();
        payload.insert(SEQUENCE, seq.to_string());
        let point = PointStruct::new(SEQUENCE_ID, vec![1.0], payload);
        let upsert = UpsertPointsBuilder::new(&self.sequences, vec![point]).wait(true);
        failure::of("record its sequence", self.client.upsert_points(upsert)).await?;
        Ok(())
    }

    async fn reset(&self) -> Result<(), IndexError> {
        self.remove(&self.sequences).await?;
        self.remove(&self.options.collection).await?;
        // The collection is looked for at the next opening, so it is made last.
        self.create(&self.sequences, SEQUENCE_DIMENSION).await?;
        self.create(&self.options.collection, self.options.dimension as u64).await?;
        self.index_fields().await
    }
}
