//! The way to a model's server, with the faults that are in force. Invariant: without a fault it does
//! what the transport beneath does; what a fault holds up goes on, or breaks, when the fault is gone.

use std::sync::Arc;
use std::time::Duration;

use actors::transport::{self, Body, Transport, TransportError, TransportErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use policies::span::ByteSize;
use serde_json::json;

use super::Live;
use super::board::Hit;
use super::fault::ProviderEffect;

/// What is read of an answer that is to be cut.
const ANSWER_MAX: ByteSize = ByteSize(16 << 20);
/// What is answered instead of JSON.
const GARBAGE: &str = "data: <html>this is no answer, on purpose</html>\n\n";

pub(super) struct Faulty {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) live: Live,
    pub(super) model: String,
}

#[async_trait]
impl Transport for Faulty {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let Some(Hit { effect, gone, .. }) = self.live.provider(&self.model) else {
            return self.transport.send(request).await;
        };
        match effect {
            ProviderEffect::Status { status, retry_after } => refused(status, retry_after),
            ProviderEffect::Reset => Err(broken()),
            ProviderEffect::Slow(by) => {
                let _ = tokio::time::timeout(by, gone.cancelled()).await;
                self.transport.send(request).await
            }
            ProviderEffect::Lost => {
                let answer = self.transport.send(request).await?;
                // The other side has done its work, and would be paid for it.
                let _ = transport::collect(answer.into_body(), ANSWER_MAX).await;
                gone.cancelled().await;
                Err(broken())
            }
            ProviderEffect::Garbage => {
                let (head, body) = self.transport.send(request).await?.into_parts();
                let _ = transport::collect(body, ANSWER_MAX).await;
                Ok(Response::from_parts(head, transport::body(GARBAGE)))
            }
            ProviderEffect::Cut => {
                let (head, half) = self.half(request).await?;
                Ok(Response::from_parts(head, half.chain(stream::iter([Err(broken())])).boxed()))
            }
            ProviderEffect::Stall => {
                let (head, half) = self.half(request).await?;
                let silence = stream::once(async move {
                    gone.cancelled_owned().await;
                    Err(broken())
                });
                Ok(Response::from_parts(head, half.chain(silence).boxed()))
            }
        }
    }
}

impl Faulty {
    /// The head of the answer and the first half of its body.
    async fn half(&self, request: Request<Bytes>) -> Result<(http::response::Parts, Body), TransportError> {
        let (head, body) = self.transport.send(request).await?.into_parts();
        let whole = transport::collect(body, ANSWER_MAX).await?;
        Ok((head, transport::body(whole.slice(..whole.len() / 2))))
    }
}

fn refused(status: StatusCode, retry_after: Option<Duration>) -> Result<Response<Body>, TransportError> {
    let said = json!({ "error": { "message": "refused on purpose", "type": "chaos", "param": null, "code": null } });
    let mut response = Response::new(transport::body(said.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = retry_after {
        // The header counts whole seconds, and less would be too early.
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    Ok(response)
}

/// Whoever asked cannot know whether it was heard.
fn broken() -> TransportError {
    TransportError { kind: TransportErrorKind::Reset, sent: true, message: "broken on purpose".to_owned() }
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::tests::{Play, play};
    use super::*;

    /// A model that counts its calls and answers ten bytes.
    fn model(play: &Play) -> (Arc<dyn Transport>, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let server = transport::scripted(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok(Response::new(transport::body("0123456789"))) }
        });
        (play.live.models("scripted", server), calls)
    }

    async fn call(model: &Arc<dyn Transport>) -> Result<String, TransportError> {
        let response = model.send(Request::get("http://model/").body(Bytes::new()).unwrap()).await?;
        let body = transport::collect(response.into_body(), ANSWER_MAX).await?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_is_answered_and_the_model_hears_nothing_until_the_fault_is_over() {
        let play = play();
        let (model, calls) = model(&play);
        play.start(r#"{ "kind": "provider_status", "status": 429, "retry_after": "1500ms", "for": "10s" }"#).unwrap();
        let request = || Request::get("http://model/").body(Bytes::new()).unwrap();
        let response = model.send(request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(call(&model).await.unwrap(), "0123456789");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_answer_says_that_it_may_have_been_heard() {
        for (kind, heard) in [("provider_reset", 0), ("provider_cut", 1), ("provider_lost", 1), ("provider_stall", 1)] {
            let play = play();
            let (model, calls) = model(&play);
            play.start(&format!(r#"{{ "kind": "{kind}", "for": "10s" }}"#)).unwrap();
            let error = call(&model).await.unwrap_err();
            assert_eq!((error.kind, error.sent), (TransportErrorKind::Reset, true), "{kind}");
            assert_eq!(calls.load(Ordering::Relaxed), heard, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_an_answer_comes_and_then_no_more() {
        let play = play();
        let (model, _) = model(&play);
        play.start(r#"{ "kind": "provider_cut" }"#).unwrap();
        let response = model.send(Request::get("http://model/").body(Bytes::new()).unwrap()).await.unwrap();
        let pieces: Vec<_> = response.into_body().collect().await;
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0].as_ref().unwrap(), "01234");
        assert!(pieces[1].is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_is_no_answer() {
        let play = play();
        let (model, _) = model(&play);
        play.start(r#"{ "kind": "provider_garbage", "hits_max": 1 }"#).unwrap();
        assert_eq!(call(&model).await.unwrap(), GARBAGE);
        assert_eq!(call(&model).await.unwrap(), "0123456789");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_fault_holds_up_goes_on_when_it_is_stopped() {
        for (kind, by) in [("provider_slow", r#", "by": "1m""#), ("provider_lost", ""), ("provider_stall", "")] {
            let play = play();
            let (model, _) = model(&play);
            play.start(&format!(r#"{{ "kind": "{kind}", "for": "10m"{by} }}"#)).unwrap();
            let before = play.world.elapsed();
            let stop = async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                play.live.stop();
            };
            let (answer, ()) = tokio::join!(call(&model), stop);
            assert_eq!(answer.is_ok(), kind == "provider_slow");
            assert_eq!(play.world.elapsed() - before, Duration::from_secs(3), "{kind}");
        }
    }
}
