//! Each family of adapters over a real connection, with the production transport.

use actors::world::WorldOptions;
use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cassette::{Answer, Cassette, load};
use super::*;
use crate::model::Billed;

/// Reads one request.
async fn request(stream: &mut TcpStream) -> Request<Bytes> {
    let mut read = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the request is cut short");
        let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(read[..at].to_vec()).unwrap();
        let mut lines = head.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let mut request = Request::post(path);
        let mut length = 0;
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
            request = request.header(name, value);
        }
        while read.len() < at + 4 + length {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the body is cut short");
        }
        return request.body(Bytes::copy_from_slice(&read[at + 4..])).unwrap();
    }
}

/// Answers in chunks, each sent on its own.
async fn respond(stream: &mut TcpStream, answer: &Answer) {
    let head: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {} X\r\ntransfer-encoding: chunked\r\n{head}\r\n", answer.status);
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in &answer.pieces {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    if !answer.cut {
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }
}

#[tokio::test]
async fn each_family_talks_to_a_real_server() {
    for adapter in ["anthropic", "openai", "compatible", "sonar", "responses", "perplexity"] {
        for (scene, cut) in [("stream", false), ("plain", false), ("stream", true)] {
            let mut cassette: Cassette = load(adapter, scene).unwrap();
            if cut {
                cassette.answer.cut = true;
                let pieces = cassette.answer.pieces.len();
                cassette.answer.pieces.truncate(pieces / 2);
            }
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let world = World::real(WorldOptions::default()).unwrap();
            let wanted = cassette.reply.clone();
            let served = world.spawn("server", async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let asked = request(&mut stream).await;
                cassette.sent.check(&asked);
                respond(&mut stream, &cassette.answer).await;
            });
            let path = if adapter == "sonar" { "" } else { "/v1" };
            let set = Options { base_url: format!("http://127.0.0.1:{port}{path}"), ..options(adapter) };
            let model = Remote::new(set, &world, world.http()).unwrap();
            let outcome = model.call(asked(scene), &Progress::default()).await;
            served.await.unwrap();
            match outcome {
                Ok(reply) => assert_eq!((reply.content, reply.usage, cut), (wanted.content, wanted.usage, false)),
                Err(error) => assert!(cut && error.billed == Billed::Unknown, "{adapter} {scene}: {error}"),
            }
        }
    }
}
