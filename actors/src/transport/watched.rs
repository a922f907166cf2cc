//! A transport that tells somebody when a request goes out and when its answer begins: a place for
//! crash points. Invariant: it does what the transport beneath does; a request is told before any of
//! it is sent, and its answer only when there is one.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Body, Transport, TransportError};

/// A moment in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendPoint {
    /// Before any of it is sent.
    SendBefore,
    /// After the head of its answer has arrived, before anybody here knows.
    SendAfter,
}

/// Who is told, and of which address; called in the middle of the exchange, which waits for it.
pub type SendHook = Arc<dyn Fn(SendPoint, &http::Uri) + Send + Sync>;

/// This transport, with somebody who is told of each request.
pub fn watched(transport: Arc<dyn Transport>, hook: SendHook) -> Arc<dyn Transport> {
    Arc::new(Watched { transport, hook })
}

struct Watched {
    transport: Arc<dyn Transport>,
    hook: SendHook,
}

#[async_trait]
impl Transport for Watched {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        let uri = request.uri().clone();
        (self.hook)(SendPoint::SendBefore, &uri);
        let response = self.transport.send(request).await?;
        (self.hook)(SendPoint::SendAfter, &uri);
        Ok(response)
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
        self.transport.resolve(host, port).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::transport::{body, scripted, unplugged};

    /// What is told of one request over this transport, with what the other side has seen by then.
    async fn told(transport: Arc<dyn Transport>, seen: Arc<Mutex<u32>>) -> Vec<(SendPoint, String, u32)> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&told);
        let hook = move |point, uri: &http::Uri| {
            ear.lock().unwrap().push((point, uri.to_string(), *seen.lock().unwrap()));
        };
        let transport = watched(transport, Arc::new(hook));
        let request = http::Request::post("http://host/path").body(Bytes::new()).unwrap();
        let _ = transport.send(request).await;
        std::mem::take(&mut *told.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_told_before_it_is_sent_and_after_it_was_answered() {
        let seen = Arc::new(Mutex::new(0));
        let other_side = Arc::clone(&seen);
        let server = scripted(move |_| {
            *other_side.lock().unwrap() += 1;
            async { Ok(http::Response::new(body("hello"))) }
        });
        let uri = "http://host/path".to_owned();
        let wanted = [(SendPoint::SendBefore, uri.clone(), 0), (SendPoint::SendAfter, uri, 1)];
        assert_eq!(told(server, seen).await, wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_answered_is_not_told_as_answered() {
        let told = told(unplugged(), Arc::default()).await;
        assert_eq!(told.iter().map(|(point, ..)| *point).collect::<Vec<_>>(), [SendPoint::SendBefore]);
    }
}
