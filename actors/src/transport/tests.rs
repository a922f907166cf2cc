//! The network transport against a local server that misbehaves on request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::world::{World, WorldOptions};

const MAX: ByteSize = ByteSize(1 << 20);

/// A server that reads one request's head and body and answers with these bytes, then does
/// `after`. Returns its port, and what it read once it is done.
async fn serve<After>(answer: &'static str, after: fn(TcpStream) -> After) -> (u16, JoinHandle<String>)
where
    After: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::simulated(0, unplugged());
    let served = world.spawn("server", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !String::from_utf8_lossy(&request).contains("\r\n\r\nhello") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut short");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        after(stream).await;
        String::from_utf8(request).unwrap()
    });
    (port, served)
}

async fn hang_up(stream: TcpStream) {
    drop(stream);
}

async fn stay(stream: TcpStream) {
    let _open = stream;
    std::future::pending::<()>().await;
}

fn network_world(options: Options) -> Arc<dyn Transport> {
    World::real(WorldOptions { transport: options }).unwrap().http()
}

async fn post(options: Options, port: u16) -> Result<http::Response<Body>, TransportError> {
    let request = http::Request::post(format!("http://127.0.0.1:{port}/v1/chat"))
        .header("x-key", "k")
        .body(Bytes::from_static(b"hello"))
        .unwrap();
    network_world(options).send(request).await
}

async fn body_error(response: http::Response<Body>) -> TransportError {
    collect(response.into_body(), MAX).await.unwrap_err()
}

#[tokio::test]
async fn sends_head_and_body_and_returns_both() {
    let (port, served) =
        serve("HTTP/1.1 429 Too Many\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nbusy", hang_up).await;
    let response = post(Options::default(), port).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(collect(response.into_body(), MAX).await.unwrap(), "busy");
    let request = served.await.unwrap();
    assert!(request.starts_with("POST /v1/chat HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-key: k\r\n"), "{request}");
}

#[tokio::test]
async fn a_request_that_is_tied_to_an_address_goes_to_no_other() {
    let (port, served) = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", hang_up).await;
    let to = |address: &str| ConnectTo(vec![SocketAddr::new(address.parse().unwrap(), port)]);
    let request = |to: ConnectTo| {
        // A name that stands for nothing, or for another machine.
        let request = http::Request::post(format!("http://board.invalid:{port}/x")).extension(to);
        request.body(Bytes::from_static(b"hello")).unwrap()
    };
    let network = network_world(Options::default());
    assert_eq!(network.send(request(to("127.0.0.1"))).await.unwrap().status(), 200);
    assert!(served.await.unwrap().contains(&format!("host: board.invalid:{port}\r\n")));
    // What an earlier request has learned of the name is not used for the next.
    let error = network.send(request(to("127.0.0.2"))).await.err().unwrap();
    assert_eq!((error.kind, error.sent), (TransportErrorKind::Connect, false), "{error}");
}

#[tokio::test]
async fn a_name_stands_for_its_addresses() {
    let found = network_world(Options::default()).resolve("localhost", 7).await.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 7) && !found.is_empty());
    assert!(unplugged().resolve("localhost", 7).await.is_err());
}

#[tokio::test]
async fn follows_no_redirect() {
    let (port, _) = serve("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", hang_up).await;
    assert_eq!(post(Options::default(), port).await.unwrap().status(), 302);
}

#[tokio::test]
async fn a_refused_connection_has_sent_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = post(Options::default(), port).await.err().unwrap();
    assert_eq!((error.kind, error.sent), (TransportErrorKind::Connect, false), "{error}");
    assert!(error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_may_have_sent() {
    let (port, _) = serve("", hang_up).await;
    let error = post(Options::default(), port).await.err().unwrap();
    assert_eq!((error.kind, error.sent), (TransportErrorKind::Reset, true), "{error}");
}

#[tokio::test]
async fn a_reset_within_the_body_is_an_error_after_what_arrived() {
    let (port, _) = serve("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", hang_up).await;
    let mut body = post(Options::default(), port).await.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "half");
    let error = body.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.sent), (TransportErrorKind::Reset, true), "{error}");
}

#[tokio::test]
async fn silence_within_the_body_ends_it() {
    let options = Options { silence_max: Duration::from_millis(50), ..Options::default() };
    let (port, _) = serve("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", stay).await;
    let error = body_error(post(options, port).await.unwrap()).await;
    assert_eq!((error.kind, error.sent), (TransportErrorKind::Timeout, true), "{error}");
}

#[tokio::test]
async fn a_body_over_the_bound_is_cut_by_transport_and_by_reader() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
    let (port, _) = serve(answer, hang_up).await;
    let options = Options { body_max: ByteSize(9), ..Options::default() };
    let error = body_error(post(options, port).await.unwrap()).await;
    assert_eq!(error.kind, TransportErrorKind::TooLarge);

    let (port, _) = serve(answer, hang_up).await;
    let whole = post(Options::default(), port).await.unwrap().into_body();
    let error = collect(whole, ByteSize(9)).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (TransportErrorKind::TooLarge, true));
}

#[tokio::test]
async fn an_impossible_request_is_not_sent() {
    let request = http::Request::get("ftp://127.0.0.1/").body(Bytes::new()).unwrap();
    let error = network_world(Options::default()).send(request).await.err().unwrap();
    assert_eq!((error.kind, error.sent), (TransportErrorKind::Request, false), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_scripted_transport_answers_from_its_function() {
    let transport = scripted(|request| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let text = format!("{} {}", request.method(), request.uri().path());
        Ok(http::Response::new(body(text)))
    });
    let world = World::simulated(0, transport);
    let request = http::Request::get("http://model/v1/models").body(Bytes::new()).unwrap();
    let response = world.http().send(request).await.unwrap();
    assert_eq!(collect(response.into_body(), MAX).await.unwrap(), "GET /v1/models");
    assert_eq!(world.elapsed(), Duration::from_secs(2));
    let nowhere = unplugged().send(http::Request::new(Bytes::new())).await.err().unwrap();
    assert!(!nowhere.sent);
}
