//! As much of a Qdrant server as the index speaks to: exact, in memory, on
//! loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use ::qdrant_client::qdrant::collections_server::CollectionsServer;
use ::qdrant_client::qdrant::condition::ConditionOneOf;
use ::qdrant_client::qdrant::point_id::PointIdOptions;
use ::qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use ::qdrant_client::qdrant::points_server::PointsServer;
use ::qdrant_client::qdrant::qdrant_server::QdrantServer;
use ::qdrant_client::qdrant::vectors_config::Config;
use ::qdrant_client::qdrant::*;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use crate::rpc::service;

pub(crate) const KEY: &str = "the-right-secret";

#[derive(Clone, Default)]
pub(crate) struct Loopback {
    collections: Arc<Mutex<BTreeMap<String, Collection>>>,
}

struct Collection {
    params: VectorParams,
    points: BTreeMap<String, Stored>,
}

struct Stored {
    vector: Vec<f32>,
    point: PointStruct,
}

type Answer<T> = Result<T, Status>;

impl Loopback {
    /// Its address, and the future that serves there.
    pub(crate) fn serve(self) -> (String, impl Future<Output = Result<(), tonic::transport::Error>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(InterceptedService::new(PointsServer::new(self.clone()), check_key))
                .add_service(InterceptedService::new(CollectionsServer::new(self.clone()), check_key))
                .add_service(InterceptedService::new(QdrantServer::new(self), check_key))
                .serve_with_incoming(incoming)
                .await
        };
        (url, serving)
    }

    fn on<T>(&self, name: &str, call: impl FnOnce(&mut Collection) -> Answer<T>) -> Answer<T> {
        let mut collections = self.collections.lock().unwrap();
        let collection = collections.get_mut(name);
        let missing = || Status::not_found(format!("Collection `{name}` doesn't exist!"));
        call(collection.ok_or_else(missing)?)
    }

    fn create(&self, request: CreateCollection) -> Answer<CollectionOperationResponse> {
        let Some(Config::Params(params)) = request.vectors_config.and_then(|vectors| vectors.config) else {
            return Err(Status::invalid_argument("no vectors"));
        };
        let mut collections = self.collections.lock().unwrap();
        if collections.contains_key(&request.collection_name) {
            return Err(Status::already_exists(request.collection_name));
        }
        let points = BTreeMap::new();
        collections.insert(request.collection_name, Collection { params, points });
        Ok(done())
    }

    fn remove(&self, request: DeleteCollection) -> Answer<CollectionOperationResponse> {
        let removed = self.collections.lock().unwrap().remove(&request.collection_name);
        let result = removed.is_some();
        Ok(CollectionOperationResponse { result, ..done() })
    }

    fn info(&self, request: GetCollectionInfoRequest) -> Answer<GetCollectionInfoResponse> {
        self.on(&request.collection_name, |collection| {
            let vectors_config = Some(VectorsConfig { config: Some(Config::Params(collection.params)) });
            let params = Some(CollectionParams { vectors_config, ..Default::default() });
            let config = Some(CollectionConfig { params, ..Default::default() });
            let result = Some(CollectionInfo { config, ..Default::default() });
            Ok(GetCollectionInfoResponse { result, time: 0.0 })
        })
    }

    fn is_there(&self, request: CollectionExistsRequest) -> Answer<CollectionExistsResponse> {
        let exists = self.collections.lock().unwrap().contains_key(&request.collection_name);
        let result = Some(CollectionExists { exists });
        Ok(CollectionExistsResponse { result, time: 0.0 })
    }

    fn insert(&self, request: UpsertPoints) -> Answer<PointsOperationResponse> {
        self.on(&request.collection_name, |collection| {
            for point in request.points {
                let vector = dense(point.vectors.clone())?;
                if vector.len() as u64 != collection.params.size {
                    return Err(Status::invalid_argument("Vector dimension error"));
                }
                collection.points.insert(name(point.id.clone())?, Stored { vector, point });
            }
            Ok(PointsOperationResponse::default())
        })
    }

    fn discard(&self, request: DeletePoints) -> Answer<PointsOperationResponse> {
        let selector = request.points.and_then(|points| points.points_selector_one_of);
        let Some(PointsSelectorOneOf::Points(selected)) = selector else {
            return Err(Status::unimplemented("other selectors"));
        };
        self.on(&request.collection_name, |collection| {
            for id in selected.ids {
                collection.points.remove(&name(Some(id))?);
            }
            Ok(PointsOperationResponse::default())
        })
    }

    fn retrieve(&self, request: GetPoints) -> Answer<GetResponse> {
        self.on(&request.collection_name, |collection| {
            let mut response = GetResponse::default();
            for id in request.ids {
                if let Some(stored) = collection.points.get(&name(Some(id))?) {
                    response.result.push(RetrievedPoint {
                        id: stored.point.id.clone(),
                        payload: stored.point.payload.clone(),
                        ..Default::default()
                    });
                }
            }
            Ok(response)
        })
    }

    fn index_field(&self, request: CreateFieldIndexCollection) -> Answer<PointsOperationResponse> {
        assert_eq!(request.field_type, Some(FieldType::Keyword.into()));
        self.on(&request.collection_name, |_| Ok(PointsOperationResponse::default()))
    }

    fn total(&self, request: CountPoints) -> Answer<CountResponse> {
        assert_eq!((request.exact, request.filter), (Some(true), None));
        self.on(&request.collection_name, |collection| {
            let count = collection.points.len() as u64;
            let result = Some(CountResult { count });
            Ok(CountResponse { result, ..Default::default() })
        })
    }

    fn nearest(&self, request: QueryPoints) -> Answer<QueryResponse> {
        let Some(query::Variant::Nearest(input)) = request.query.and_then(|query| query.variant) else {
            return Err(Status::unimplemented("other queries"));
        };
        let Some(vector_input::Variant::Dense(sought)) = input.variant else {
            return Err(Status::unimplemented("other vectors"));
        };
        let filter = request.filter.unwrap_or_default();
        self.on(&request.collection_name, |collection| {
            let admitted = collection.points.values().filter(|stored| admits(&filter, &stored.point));
            let mut result: Vec<ScoredPoint> = admitted
                .map(|stored| ScoredPoint {
                    id: stored.point.id.clone(),
                    payload: stored.point.payload.clone(),
                    score: cosine(&sought.data, &stored.vector),
                    ..Default::default()
                })
                .collect();
            result.sort_by(|a, b| b.score.total_cmp(&a.score));
            result.truncate(usize::try_from(request.limit.unwrap_or(10)).unwrap());
            Ok(QueryResponse { result, ..Default::default() })
        })
    }

    fn health(&self, _: HealthCheckRequest) -> Answer<HealthCheckReply> {
        Ok(HealthCheckReply::default())
    }
}

fn check_key(request: Request<()>) -> Answer<Request<()>> {
    let key = request.metadata().get("api-key");
    if key.is_some_and(|key| key == KEY) {
        return Ok(request);
    }
    Err(Status::unauthenticated("Must provide an API key or an Authorization bearer token"))
}

fn done() -> CollectionOperationResponse {
    CollectionOperationResponse { result: true, time: 0.0 }
}

fn name(id: Option<PointId>) -> Answer<String> {
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Num(id)) => Ok(id.to_string()),
        Some(PointIdOptions::Uuid(id)) if id.len() == 36 => Ok(id),
        _ => Err(Status::invalid_argument("Unable to parse UUID")),
    }
}

#[expect(deprecated, reason = "the client still sends vectors the old way")]
fn dense(vectors: Option<Vectors>) -> Answer<Vec<f32>> {
    let Some(vectors::VectorsOptions::Vector(vector)) = vectors.and_then(|vectors| vectors.vectors_options) else {
        return Err(Status::unimplemented("other vectors"));
    };
    match vector.vector {
        Some(vector::Vector::Dense(dense)) => Ok(dense.data),
        None => Ok(vector.data),
        _ => Err(Status::unimplemented("other vectors")),
    }
}

fn admits(filter: &Filter, point: &PointStruct) -> bool {
    assert!(filter.should.is_empty() && filter.must_not.is_empty() && filter.min_should.is_none());
    filter.must.iter().all(|condition| {
        let Some(ConditionOneOf::Field(condition)) = &condition.condition_one_of else {
            panic!("other conditions");
        };
        let field = condition.key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap();
        let Some(r#match::MatchValue::Keyword(keyword)) =
            condition.r#match.clone().and_then(|wanted| wanted.match_value)
        else {
            panic!("other matches");
        };
        point.payload.get(field) == Some(&Value::from(keyword))
    })
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

service! {
    qdrant_server::Qdrant, Loopback;
    answered {
        health_check(HealthCheckRequest) -> HealthCheckReply = health;
    }
    refused {}
}

service! {
    collections_server::Collections, Loopback;
    answered {
        get(GetCollectionInfoRequest) -> GetCollectionInfoResponse = info;
        create(CreateCollection) -> CollectionOperationResponse = create;
        delete(DeleteCollection) -> CollectionOperationResponse = remove;
        collection_exists(CollectionExistsRequest) -> CollectionExistsResponse = is_there;
    }
    refused {
        list(ListCollectionsRequest) -> ListCollectionsResponse;
        update(UpdateCollection) -> CollectionOperationResponse;
        update_aliases(ChangeAliases) -> CollectionOperationResponse;
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest)
            -> UpdateCollectionClusterSetupResponse;
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
    }
}

service! {
    points_server::Points, Loopback;
    answered {
        upsert(UpsertPoints) -> PointsOperationResponse = insert;
        delete(DeletePoints) -> PointsOperationResponse = discard;
        get(GetPoints) -> GetResponse = retrieve;
        create_field_index(CreateFieldIndexCollection) -> PointsOperationResponse = index_field;
        count(CountPoints) -> CountResponse = total;
        query(QueryPoints) -> QueryResponse = nearest;
    }
    refused {
        update_vectors(UpdatePointVectors) -> PointsOperationResponse;
        delete_vectors(DeletePointVectors) -> PointsOperationResponse;
        set_payload(SetPayloadPoints) -> PointsOperationResponse;
        overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
        delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
        search(SearchPoints) -> SearchResponse;
        search_batch(SearchBatchPoints) -> SearchBatchResponse;
        search_groups(SearchPointGroups) -> SearchGroupsResponse;
        scroll(ScrollPoints) -> ScrollResponse;
        recommend(RecommendPoints) -> RecommendResponse;
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
        discover(DiscoverPoints) -> DiscoverResponse;
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
        query_batch(QueryBatchPoints) -> QueryBatchResponse;
        query_groups(QueryPointGroups) -> QueryGroupsResponse;
        facet(FacetCounts) -> FacetResponse;
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
    }
}
