//! From our words to Qdrant's and back.
//!
//! Invariant: a note's id is the UUID of the same 128 bits, always.

use qdrant_edge::external::serde_json::{Map, Value};
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    Condition, DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeVectorParamsBuilder, FieldCondition, JsonPath, Match,
    NamedQuery, PointId, PointStruct, PointStructPersisted, QueryEnum, QueryRequest, ScoredPoint, ScoringQuery,
    ValueVariants, VectorInternal, WalOptions, WithVector,
};
use storage::index::{Filter, Hit, IndexError, Payload, Point};

use crate::engine::refusal;

/// Nothing replays Qdrant's own log here, so it need not be large.
const LOG_SEGMENT_BYTES: usize = 4 << 20;

pub(crate) fn config(dimension: usize) -> EdgeConfig {
    let vectors = EdgeVectorParamsBuilder::new(dimension, Distance::Cosine).build();
    EdgeConfig::builder()
        .vector(DEFAULT_VECTOR_NAME, vectors)
        .wal_options(WalOptions { segment_capacity: LOG_SEGMENT_BYTES, ..WalOptions::default() })
        .build()
}

pub(crate) fn id(id: u128) -> PointId {
    PointId::Uuid(Uuid::from_u128(id))
}

pub(crate) fn point(point: Point) -> PointStructPersisted {
    let payload: Map<String, Value> =
        point.payload.into_iter().map(|(field, value)| (field, Value::String(value))).collect();
    PointStruct::new(id(point.id), point.vector, Value::Object(payload)).into()
}

/// A field's name as a path; quoted, so that dots in it are part of the name.
pub(crate) fn path(field: &str) -> Result<JsonPath, IndexError> {
    format!("\"{field}\"").parse().map_err(|()| refusal("take the field's name", field))
}

pub(crate) fn query(vector: Vec<f32>, filter: &Filter, limit: usize) -> Result<QueryRequest, IndexError> {
    let equals = |(field, value): &(String, String)| {
        let value = Match::new_value(ValueVariants::String(value.clone()));
        Ok(Condition::Field(FieldCondition::new_match(path(field)?, value)))
    };
    let must: Vec<Condition> = filter.equalities().iter().map(equals).collect::<Result<_, IndexError>>()?;
    let nearest = NamedQuery { query: VectorInternal::Dense(vector), using: None };
    Ok(QueryRequest {
        prefetches: Vec::new(),
        query: Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest))),
        filter: (!must.is_empty()).then(|| qdrant_edge::Filter {
            must: Some(must),
            should: None,
            min_should: None,
            must_not: None,
        }),
        score_threshold: None,
        limit,
        offset: 0,
        params: None,
        with_vector: WithVector::Bool(false),
        with_payload: true.into(),
    })
}

pub(crate) fn hit(point: ScoredPoint) -> Hit {
    let fields = point.payload.map(|payload| payload.0).unwrap_or_default();
    let payload: Payload = fields
        .into_iter()
        .filter_map(|(field, value)| match value {
            Value::String(value) => Some((field, value)),
            _ => None,
        })
        .collect();
    Hit {
        id: match point.id {
            PointId::NumId(id) => u128::from(id),
            PointId::Uuid(id) => id.as_u128(),
        },
        score: point.score,
        payload,
    }
}
