use std::sync::{Arc, Mutex};

use actors::transport::{TransportErrorKind, scripted};
use actors::world::World;
use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use policies::instant::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::key::SecretSource;

fn post() -> Post {
    Post {
        key: "a1/posts[0]/publish:00ff".to_owned(),
        title: "Introducing Lamp 3".to_owned(),
        text: "It shines.\n\nAll night.".to_owned(),
        link: Some("https://lamp.example/3".to_owned()),
        published: Timestamp::from_micros(1_500_000),
    }
}

fn options() -> WebhookOptions {
    WebhookOptions {
        api_key: Some(Key::fixed(Secret::new("s3cret"))),
        deduplicates: true,
        can_be_asked: true,
        ..WebhookOptions::new("http://board/posts")
    }
}

fn publisher(transport: Arc<dyn Transport>) -> WebhookPublisher {
    WebhookPublisher::new(options(), transport).unwrap()
}

/// A platform that answers everything so.
fn answering(status: u16, body: impl Into<Bytes>) -> Arc<dyn Transport> {
    let body = body.into();
    scripted(move |_| {
        let response = Response::builder().status(status).body(transport::body(body.clone()));
        async move { Ok(response.unwrap()) }
    })
}

fn breaking(sent: bool) -> Arc<dyn Transport> {
    scripted(move |_| async move {
        Err(TransportError { kind: TransportErrorKind::Reset, sent, message: "cut".to_owned() })
    })
}

async fn published(status: u16, body: &'static str) -> Result<Published, (FailureClass, Landed)> {
    publisher(answering(status, body)).publish(post()).await.map_err(|error| (error.class, error.landed))
}

#[tokio::test(start_paused = true)]
async fn a_post_is_one_request_that_carries_its_key() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let other_side = Arc::clone(&seen);
    let board = scripted(move |request: Request<Bytes>| {
        other_side.lock().unwrap().push(request);
        async { Ok(Response::new(transport::body(r#"{"id":"7","url":"http://board/7","likes":0}"#))) }
    });
    let out = publisher(Arc::clone(&board)).publish(post()).await.unwrap();
    assert_eq!(out, Published { remote_id: "7".to_owned(), url: Some("http://board/7".to_owned()) });
    assert_eq!(publisher(board).find(&post().key).await.unwrap(), Some(out));
    let seen = seen.lock().unwrap();
    let [sent, asked] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((sent.method().as_str(), sent.uri().to_string().as_str()), ("POST", "http://board/posts"));
    assert_eq!(sent.headers()["idempotency-key"], post().key.as_str());
    assert_eq!(sent.headers()["authorization"], "Bearer s3cret");
    assert_eq!(sent.headers()["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_slice(sent.body()).unwrap();
    let wanted = serde_json::json!({
        "key": post().key,
        "title": "Introducing Lamp 3",
        "text": "It shines.\n\nAll night.",
        "link": "https://lamp.example/3",
        "published": "1970-01-01T00:00:01.5Z",
    });
    assert_eq!(body, wanted);
    assert_eq!(asked.method(), "GET");
    assert_eq!(asked.uri().to_string(), "http://board/posts?key=a1%2Fposts%5B0%5D%2Fpublish%3A00ff");
    assert_eq!(asked.headers()["authorization"], "Bearer s3cret");
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_or_is_there_already_is_published() {
    let there = Published { remote_id: "7".to_owned(), url: None };
    for status in [200, 201, 202, 409] {
        assert_eq!(published(status, r#"{"id":"7"}"#).await, Ok(there.clone()), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_plain_refusal_means_that_nothing_is_out() {
    use FailureClass::{ProviderDown, RateLimited, Rejected};
    for (status, class, landed) in [
        (400, Rejected, Landed::No),
        (401, Rejected, Landed::No),
        (403, Rejected, Landed::No),
        (422, Rejected, Landed::No),
        (429, RateLimited, Landed::No),
        (408, ProviderDown, Landed::Unknown),
        (303, Rejected, Landed::Unknown),
        (500, ProviderDown, Landed::Unknown),
        (503, ProviderDown, Landed::Unknown),
        // What took the post and does not say which it is.
        (200, ProviderDown, Landed::Unknown),
        (409, ProviderDown, Landed::Unknown),
    ] {
        for body in ["", "{}", "no"] {
            assert_eq!(published(status, body).await, Err((class, landed)), "{status} {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_says_whether_anything_was_sent() {
    for (sent, landed) in [(false, Landed::No), (true, Landed::Unknown)] {
        let error = publisher(breaking(sent)).publish(post()).await.unwrap_err();
        assert_eq!((error.class, error.landed), (FailureClass::ProviderDown, landed));
        assert!(error.message.contains("http://board/posts"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_cut_short_or_without_end_leaves_the_post_in_doubt() {
    let endless: Arc<dyn Transport> = scripted(|_| async {
        let body = futures::stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 4096]))).boxed();
        Ok(Response::new(body))
    });
    let cut: Arc<dyn Transport> = scripted(|_| async {
        let broken = TransportError { kind: TransportErrorKind::Reset, sent: true, message: "cut".to_owned() };
        let pieces = vec![Ok(Bytes::from_static(b"{\"id\":")), Err(broken)];
        Ok(Response::new(futures::stream::iter(pieces).boxed()))
    });
    for transport in [endless, cut] {
        let error = publisher(Arc::clone(&transport)).publish(post()).await.unwrap_err();
        assert_eq!((error.class, error.landed), (FailureClass::ProviderDown, Landed::Unknown));
        let error = publisher(transport).find("k").await.unwrap_err();
        assert_eq!((error.class, error.landed), (FailureClass::ProviderDown, Landed::Unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_or_the_doubt_remains() {
    assert_eq!(publisher(answering(404, "")).find("k").await.unwrap(), None);
    for (status, class) in
        [(429, FailureClass::RateLimited), (403, FailureClass::Rejected), (500, FailureClass::ProviderDown)]
    {
        let error = publisher(answering(status, "no")).find("k").await.unwrap_err();
        assert_eq!((error.class, error.landed), (class, Landed::Unknown));
    }
    for sent in [false, true] {
        let error = publisher(breaking(sent)).find("k").await.unwrap_err();
        assert_eq!((error.class, error.landed), (FailureClass::ProviderDown, Landed::Unknown));
    }
    // One that cannot be asked is not asked.
    let silent = WebhookPublisher::new(WebhookOptions::new("http://board/posts"), answering(404, "")).unwrap();
    assert_eq!(silent.find("k").await.unwrap_err().landed, Landed::Unknown);
    let able = silent.capabilities();
    assert!(!able.deduplicates && !able.can_be_asked && able.lands_late);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_asked_for_beside_what_the_address_asks_already() {
    let board = scripted(|request: Request<Bytes>| async move {
        let id = serde_json::json!({ "id": request.uri().to_string() });
        Ok(Response::new(transport::body(id.to_string())))
    });
    let options = WebhookOptions { url: "http://board/?page=a".to_owned(), ..options() };
    let found = WebhookPublisher::new(options, board).unwrap().find("k&l=ä").await.unwrap().unwrap();
    assert_eq!(found.remote_id, "http://board/?page=a&key=k%26l%3D%C3%A4");
}

#[tokio::test(start_paused = true)]
async fn a_post_that_cannot_be_sent_is_refused_before_it_is() {
    let nobody = || scripted(|_| async { panic!("nothing is to be sent") });
    let long = Post { text: "x".repeat(1 << 20), ..post() };
    let broken = Post { key: "a\nb".to_owned(), ..post() };
    for post in [long, broken] {
        let error = publisher(nobody()).publish(post).await.unwrap_err();
        assert_eq!((error.class, error.landed), (FailureClass::Rejected, Landed::No));
    }
}

#[test]
fn bad_options_are_told() {
    let made = |options| WebhookPublisher::new(options, actors::transport::unplugged()).err().unwrap().to_string();
    for url in ["", "board", "ftp://board/posts", "http://bo ard"] {
        assert!(made(WebhookOptions::new(url)).contains("is not an http address"), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_no_header_can_carry_sends_nothing() {
    let key = Some(Key::fixed(Secret::new("s3\ncret")));
    let nobody = scripted(|_| async { panic!("nothing is to be sent") });
    let publisher = WebhookPublisher::new(WebhookOptions { api_key: key, ..options() }, nobody).unwrap();
    let error = publisher.publish(post()).await.unwrap_err();
    assert_eq!((error.class, error.landed), (FailureClass::Rejected, Landed::No));
    assert!(error.message.contains("line break") && !error.message.contains("cret"), "{error}");
    assert_eq!(publisher.find("k").await.unwrap_err().class, FailureClass::Rejected);
}

/// A key that a test changes.
#[derive(Clone)]
struct Place(Arc<Mutex<&'static str>>);

#[async_trait]
impl SecretSource for Place {
    async fn read(&self) -> Result<Secret, String> {
        Ok(Secret::new(*self.0.lock().unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_rotated_is_read_again_when_the_old_one_is_refused() {
    let place = Place(Arc::new(Mutex::new("the-old-key")));
    let board = scripted(|request: Request<Bytes>| async move {
        let is_taken = request.headers()["authorization"] == "Bearer the-new-key";
        let (status, body) = if is_taken { (200, r#"{"id":"7"}"#) } else { (401, "no") };
        Ok(Response::builder().status(status).body(transport::body(body)).unwrap())
    });
    let world = World::simulated(1, actors::transport::unplugged());
    let key = Some(Key::read_from(place.clone(), world, std::time::Duration::from_secs(3600)));
    let publisher = WebhookPublisher::new(WebhookOptions { api_key: key, ..options() }, board).unwrap();
    let error = publisher.publish(post()).await.unwrap_err();
    assert_eq!((error.class, error.landed), (FailureClass::Rejected, Landed::No));
    *place.0.lock().unwrap() = "the-new-key";
    assert_eq!(publisher.publish(post()).await.unwrap().remote_id, "7");
    assert_eq!(publisher.find("k").await.unwrap().unwrap().remote_id, "7");
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_told_without_the_key() {
    let error = publisher(answering(401, "x".repeat(5_000))).publish(post()).await.unwrap_err();
    assert!(error.message.contains("check the key") && error.message.len() < 1_000, "{error}");
    // At the cut there is not even the beginning of it.
    for before in [0, 296] {
        let body = format!("{}s3cret is wrong", " .".repeat(before / 2));
        let publisher = publisher(answering(401, body.clone()));
        let errors = [publisher.publish(post()).await.unwrap_err(), publisher.find("k").await.unwrap_err()];
        assert!(errors.iter().all(|error| !error.message.contains("s3c")), "{errors:?}");
        assert!(before > 0 || errors[0].message.contains("[redacted] is wrong"), "{errors:?}");
    }
    let nonsense = publisher(answering(200, r#"{"id":{"s3cret":1}}"#)).publish(post()).await.unwrap_err();
    assert!(!nonsense.message.contains("s3cret"), "{nonsense}");
}

proptest! {
    #[test]
    fn any_key_is_one_value_of_a_query(key: String) {
        let encoded = percent(&key);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        let mut bytes = Vec::new();
        let mut rest = encoded.as_str();
        while let Some(first) = rest.bytes().next() {
            let (byte, taken) =
                if first == b'%' { (u8::from_str_radix(&rest[1..3], 16).unwrap(), 3) } else { (first, 1) };
            bytes.push(byte);
            rest = &rest[taken..];
        }
        prop_assert_eq!(String::from_utf8(bytes).unwrap(), key);
    }
}
