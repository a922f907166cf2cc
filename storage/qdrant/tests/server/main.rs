//! The index on a server: what all indexes must do, over real gRPC to a server on
//! loopback, and to a real one when `CALLBOARD_TEST_QDRANT_URL` names it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

mod loopback;
mod rpc;

use std::time::Duration;

use loopback::{KEY, Loopback};
use storage::index::conformance::{self, DIMENSION, KEYWORDS};
use storage::index::{ContextIndex, Filter, IndexError, Point};
use storage::journal::Seq;
use storage_qdrant::{Options, ServerIndex};

fn options(url: &str) -> Options {
    Options {
        url: url.to_owned(),
        api_key: Some(KEY.to_owned()),
        collection: "callboard-conformance".to_owned(),
        dimension: DIMENSION,
        keywords: KEYWORDS.map(str::to_owned).to_vec(),
        timeout: Duration::from_secs(10),
    }
}

/// Runs `test` against a server of its own.
async fn with_server(test: impl AsyncFnOnce(String)) {
    let server = Loopback::default();
    let (url, serving) = server.serve();
    tokio::select! {
        biased;
        () = test(url) => {}
        ended = serving => panic!("the server ended: {ended:?}"),
    }
}

async fn open(url: &str) -> ServerIndex {
    ServerIndex::open(options(url)).await.unwrap()
}

fn point(id: u128) -> Point {
    Point { id, vector: vec![1.0, 2.0, 3.0, 4.0], payload: [("agent".to_owned(), "writer".to_owned())].into() }
}

#[tokio::test]
async fn conforms() {
    with_server(async |url| {
        conformance::check(async || Box::new(open(&url).await) as Box<dyn ContextIndex>).await;
    })
    .await;
}

#[tokio::test]
async fn conforms_on_a_real_server_when_one_is_named() {
    let Ok(url) = std::env::var("CALLBOARD_TEST_QDRANT_URL") else {
        return;
    };
    let options = Options { api_key: std::env::var("CALLBOARD_TEST_QDRANT_KEY").ok(), ..options(&url) };
    let open = async || {
        let index = ServerIndex::open(options.clone()).await.unwrap();
        Box::new(index) as Box<dyn ContextIndex>
    };
    conformance::check(open).await;
}

#[tokio::test]
async fn more_points_than_one_request_holds_all_arrive_and_go() {
    with_server(async |url| {
        let index = open(&url).await;
        index.upsert((0..1000).map(point).collect()).await.unwrap();
        assert_eq!(index.count().await.unwrap(), 1000);
        index.delete((1..1000).collect()).await.unwrap();
        assert_eq!(index.count().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_collection_that_was_removed_starts_again_without_a_sequence() {
    with_server(async |url| {
        let index = open(&url).await;
        index.upsert(vec![point(1)]).await.unwrap();
        index.commit(Seq(u64::MAX)).await.unwrap();
        assert_eq!(index.sequence().await.unwrap(), Some(Seq(u64::MAX)));
        let client = qdrant_client::Qdrant::from_url(&url).api_key(KEY).skip_compatibility_check();
        let removed = client.build().unwrap().delete_collection("callboard-conformance").await;
        assert!(removed.unwrap().result);
        assert!(matches!(index.count().await, Err(IndexError::Engine { .. })));
        let index = open(&url).await;
        assert_eq!(index.sequence().await.unwrap(), None);
        assert_eq!(index.count().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_collection_of_other_vectors_is_refused() {
    with_server(async |url| {
        drop(open(&url).await);
        let longer = Options { dimension: DIMENSION + 1, ..options(&url) };
        let refused = ServerIndex::open(longer).await.err().unwrap();
        assert!(matches!(
            refused,
            IndexError::Dimension { expected: DIMENSION, actual } if actual == DIMENSION + 1
        ));
    })
    .await;
}

#[tokio::test]
async fn an_index_goes_on_with_another_key() {
    with_server(async |url| {
        let index = open(&url).await;
        index.upsert(vec![point(1)]).await.unwrap();
        let wrong = index.rekeyed("a-wrong-secret".to_owned()).await.unwrap();
        assert!(matches!(wrong.count().await, Err(IndexError::Key { .. })));
        let right = wrong.rekeyed(KEY.to_owned()).await.unwrap();
        assert_eq!(right.count().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_refused_key_is_named_as_such_and_never_shown() {
    with_server(async |url| {
        let wrong = Options { api_key: Some("a-wrong-secret".to_owned()), ..options(&url) };
        assert!(!format!("{wrong:?}").contains("a-wrong-secret"));
        let refused = ServerIndex::open(wrong).await.err().unwrap();
        assert!(matches!(refused, IndexError::Key { .. }));
        let words = format!("{refused} {refused:?}");
        assert!(words.contains("refused the key"), "{words}");
        assert!(!words.contains("a-wrong-secret"), "{words}");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let nobody = Loopback::default().serve().0;
    let refused = ServerIndex::open(options(&nobody)).await.err().unwrap();
    assert!(matches!(refused, IndexError::Unavailable { .. }), "{refused}");
}

#[tokio::test]
async fn a_field_name_may_hold_no_quotes() {
    with_server(async |url| {
        let index = open(&url).await;
        let filter = Filter::any().and("a\"b", "c");
        let refused = index.search(vec![1.0; DIMENSION], filter, 1).await;
        assert!(matches!(refused, Err(IndexError::Engine { .. })));
    })
    .await;
}
