//! From our words to the server's and back.
//!
//! Invariant: a note's id is the UUID of the same 128 bits, always.

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{Condition, PointId, PointStruct, ScoredPoint};
use storage::index::{Filter, Hit, IndexError, Payload, Point};

use crate::failure::refusal;

pub(crate) fn id(id: u128) -> PointId {
    let hex = format!("{id:032x}");
    let (time, rest) = hex.split_at(8);
    let (middle, rest) = rest.split_at(4);
    let (high, rest) = rest.split_at(4);
    let (clock, node) = rest.split_at(4);
    PointId::from(format!("{time}-{middle}-{high}-{clock}-{node}"))
}

fn id_of(id: Option<PointId>) -> Option<u128> {
    match id?.point_id_options? {
        PointIdOptions::Num(id) => Some(u128::from(id)),
        PointIdOptions::Uuid(id) => u128::from_str_radix(&id.replace('-', ""), 16).ok(),
    }
}

pub(crate) fn point(point: Point) -> PointStruct {
    let payload = point.payload.into_iter();
    PointStruct {
        id: Some(id(point.id)),
        payload: payload.map(|(field, value)| (field, value.into())).collect(),
        vectors: Some(point.vector.into()),
    }
}

/// A field's name as a path; quoted, so that dots in it are part of the name.
pub(crate) fn path(field: &str) -> Result<String, IndexError> {
    if field.contains('"') {
        return Err(refusal("take the field's name", field.to_owned()));
    }
    Ok(format!("\"{field}\""))
}

pub(crate) fn filter(filter: &Filter) -> Result<qdrant_client::qdrant::Filter, IndexError> {
    let equals = |(field, value): &(String, String)| Ok(Condition::matches(path(field)?, value.clone()));
    let must: Result<Vec<Condition>, IndexError> = filter.equalities().iter().map(equals).collect();
    Ok(qdrant_client::qdrant::Filter::must(must?))
}

pub(crate) fn hit(point: ScoredPoint) -> Result<Hit, IndexError> {
    let payload: Payload = point
        .payload
        .into_iter()
        .filter_map(|(field, value)| match value.kind {
            Some(Kind::StringValue(value)) => Some((field, value)),
            _ => None,
        })
        .collect();
    let id = id_of(point.id).ok_or_else(|| refusal("search", "the server answered with a point without id".into()))?;
    Ok(Hit { id, score: point.score, payload })
}
