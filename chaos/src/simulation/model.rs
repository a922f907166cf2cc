//! The simulated model provider. Invariant: its own books say what it was asked and what it bills;
//! a call that it has begun to work on is billed, whoever has stopped waiting for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::transport::{self, Body, TransportError, TransportErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use policies::money::Money;
use policies::price::PriceTable;
use policies::tokens::{Tokens, Usage};
use serde_json::{Value, json};

use super::parts::{MODEL, PRICE, product};
use super::scene::Scene;
use crate::checkers::SPARE;
use crate::fault::{POISONED_TIMES, Point, ProviderEffect};
use crate::history::Seen;
use crate::plan::Plan;
use crate::provider::{Reply, reply};

/// The shortest and the longest time that it thinks.
const THINK_MS: (u64, u64) = (50, 4_000);
/// A piece of an answer that drips and is no stream of events.
const PIECE_BYTES: usize = 64;
/// Until it refuses, or notices that it cannot answer.
const REFUSAL: Duration = Duration::from_millis(30);

/// What a request is given back: an answer, or a broken connection.
pub(super) type Answer = Result<Response<Body>, TransportError>;

/// The provider; its counter outlives each process that calls it.
pub(super) struct Provider {
    scene: Scene,
    prices: PriceTable,
    seed: u64,
    calls: std::sync::atomic::AtomicU64,
    /// What each order is about, and its key: a call is for the order whose product it names.
    orders: Vec<(String, String)>,
    /// Whether there are several models, so that a call says which one it is for.
    names_models: bool,
    /// What still kills whoever asks it, and how often.
    poisoned: Mutex<BTreeMap<String, u32>>,
}

/// A call on the provider's books: billed when it is done, or when its caller has gone.
struct Bill {
    scene: Scene,
    call: u64,
    cost: Option<Money>,
}

impl Bill {
    fn settle(&mut self) {
        if let Some(cost) = self.cost.take() {
            self.scene.see(Seen::Billed { call: self.call, cost });
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Provider {
    pub(super) fn new(scene: Scene, prices: PriceTable, plan: &Plan) -> Self {
        let names_models = plan.workload.stand_in;
        let arrivals = plan.workload.arrivals.iter().enumerate();
        let orders = arrivals.map(|(nth, arrival)| (product(nth), arrival.key.clone())).collect();
        Self { scene, prices, seed: plan.seed, calls: 0.into(), orders, names_models, poisoned: Mutex::default() }
    }

    /// Serves one call.
    pub(super) async fn serve(&self, body: &[u8]) -> Answer {
        self.scene.pass(Point::CallBeforeSend);
        self.scene.hold_if_dead().await;
        let said = reply(body);
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stands_in = asks_for(body, SPARE);
        let model = self.names_models.then(|| if stands_in { SPARE } else { MODEL }.to_owned());
        self.scene.see(Seen::Called { call, content: said.id.clone(), model });
        if let Some(key) = self.orders.iter().find_map(|(product, key)| says(body, product).then_some(key)) {
            self.scene.see(Seen::CalledFor { call, key: key.clone() });
        }
        // The model that stands in is another provider's, and well.
        let effect = if stands_in { None } else { self.scene.strike(super::weather::Weather::provider) };
        match effect {
            Some(ProviderEffect::Status { status, retry_after_ms }) => {
                tokio::time::sleep(REFUSAL).await;
                self.scene.see(Seen::Failed { call });
                return Ok(refusal(status, retry_after_ms));
            }
            Some(ProviderEffect::Reset) => {
                tokio::time::sleep(REFUSAL).await;
                self.scene.see(Seen::Failed { call });
                return Err(reset());
            }
            Some(ProviderEffect::Poison) => {
                self.poisoned().entry(said.id.clone()).or_insert(POISONED_TIMES);
            }
            _ => {}
        }
        if self.kills(&said.id) {
            tokio::time::sleep(REFUSAL).await;
            self.scene.see(Seen::Failed { call });
            #[expect(clippy::panic, reason = "the plan wants whoever makes this call to die of it")]
            {
                panic!("the call {} is poison", said.id);
            }
        }
        let mut bill = Bill { scene: self.scene.clone(), call, cost: Some(self.price(&said)) };
        let extra = if let Some(ProviderEffect::Slow { by_ms }) = effect { by_ms } else { 0 };
        tokio::time::sleep(self.thinks(&said) + Duration::from_millis(extra)).await;
        bill.settle();
        let streamed = asks_to_stream(body);
        let whole = if streamed { said.events().concat() } else { said.whole().to_string() };
        let answer = match effect {
            Some(ProviderEffect::Lost) => std::future::pending().await,
            Some(ProviderEffect::Drip { by_ms }) => {
                self.pass_back().await;
                return Ok(dripping(&whole, streamed, Duration::from_millis(by_ms), self.scene.clone(), call));
            }
            Some(ProviderEffect::Garbage) => answered("<html>it is not what you asked for</html>".to_owned(), streamed),
            Some(ProviderEffect::Wrong) => answered(wrong(&said, streamed), streamed),
            Some(ProviderEffect::Stall) => {
                self.scene.see(Seen::Failed { call });
                return Ok(half(&whole, streamed, futures::stream::pending()));
            }
            Some(ProviderEffect::Cut) => {
                self.scene.see(Seen::Failed { call });
                return Ok(half(&whole, streamed, futures::stream::iter([Err(reset())])));
            }
            _ => answered(whole, streamed),
        };
        self.scene.see(Seen::Answered { call });
        self.pass_back().await;
        Ok(answer)
    }

    /// An answer begins on its way back.
    async fn pass_back(&self) {
        self.scene.pass(Point::CallAfterSend);
        self.scene.hold_if_dead().await;
    }

    /// Whether this content kills whoever asks for it, once more.
    fn kills(&self, content: &str) -> bool {
        let mut poisoned = self.poisoned();
        let left = poisoned.get_mut(content).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    /// A panic elsewhere cannot leave the map half changed, so a poisoned lock is still good.
    fn poisoned(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.poisoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the call, so that another order of calls changes no call's time.
    fn thinks(&self, said: &Reply) -> Duration {
        let (least, most) = THINK_MS;
        let spread = said.id.bytes().fold(self.seed, |sum, byte| sum.rotate_left(7) ^ u64::from(byte));
        Duration::from_millis(least + spread % (most - least))
    }

    fn price(&self, said: &Reply) -> Money {
        let usage =
            Usage { input: Tokens(said.prompt_tokens), output: Tokens(said.completion_tokens), ..Usage::default() };
        self.prices.actual(PRICE, &usage).unwrap_or(Money::ZERO)
    }
}

/// Whether a call names this product.
fn says(body: &[u8], product: &str) -> bool {
    std::str::from_utf8(body).is_ok_and(|body| body.contains(product))
}

fn asks_for(body: &[u8], model: &str) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|asked| asked["model"] == json!(model))
}

fn asks_to_stream(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|asked| asked["stream"] == json!(true))
}

fn answered(text: String, streamed: bool) -> Response<Body> {
    with_kind(transport::body(text), streamed)
}

fn with_kind(body: Body, streamed: bool) -> Response<Body> {
    let kind = if streamed { "text/event-stream" } else { "application/json" };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The first half of an answer, and then what is given.
fn half(
    whole: &str,
    streamed: bool,
    rest: impl futures::Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
) -> Response<Body> {
    let half = whole.get(..whole.floor_char_boundary(whole.len() / 2)).unwrap_or_default().to_owned();
    let first = futures::stream::iter([Ok(Bytes::from(half))]);
    with_kind(first.chain(rest).boxed(), streamed)
}

/// An answer that comes piece by piece, and is one when its last has gone out.
fn dripping(whole: &str, streamed: bool, by: Duration, scene: Scene, call: u64) -> Response<Body> {
    let pieces: Vec<Bytes> = if streamed {
        whole.split_inclusive("\n\n").map(|event| Bytes::from(event.to_owned())).collect()
    } else {
        whole.as_bytes().chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect()
    };
    let last = pieces.len().saturating_sub(1);
    let dripped = futures::stream::iter(pieces.into_iter().enumerate()).then(move |(place, piece)| {
        let scene = scene.clone();
        async move {
            tokio::time::sleep(by).await;
            if place == last {
                scene.see(Seen::Answered { call });
            }
            Ok(piece)
        }
    });
    with_kind(dripped.boxed(), streamed)
}

/// An answer of the right form that says nothing to the point.
fn wrong(said: &Reply, streamed: bool) -> String {
    let said = Reply { text: "I cannot say.".to_owned(), ..said.clone() };
    if streamed { said.events().concat() } else { said.whole().to_string() }
}

fn refusal(status: u16, retry_after_ms: Option<u64>) -> Response<Body> {
    let body = json!({ "error": { "message": "not now", "type": "refused", "code": "refused" } }).to_string();
    let mut response = answered(body, false);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(ms) = retry_after_ms {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    response
}

/// A connection that broke after the request had gone out.
pub(super) fn reset() -> TransportError {
    TransportError { kind: TransportErrorKind::Reset, sent: true, message: "the connection broke".to_owned() }
}

#[cfg(test)]
mod tests {
    use storage::disk::sim::SimDisk;

    use super::*;
    use crate::fault::{Fault, Hits};
    use crate::history::Sighting;
    use crate::plan::Planned;

    const BY_MS: u64 = 500;

    fn dripping_provider() -> Provider {
        let hits = Hits { for_ms: 60_000, p: 1.0, count_max: None };
        let fault = Fault::Provider { effect: ProviderEffect::Drip { by_ms: BY_MS }, hits };
        let plan = Plan::plain(&["order"], vec![Planned { number: 0, at_ms: 0, fault }]);
        let scene = Scene::new(&plan, SimDisk::new(), false);
        scene.begin();
        Provider::new(scene, PriceTable::builtin().unwrap(), &plan)
    }

    fn call(streamed: bool) -> Vec<u8> {
        let content = format!("Write of {} here", product(0));
        let asked = json!({ "messages": [{ "role": "user", "content": content }], "stream": streamed });
        asked.to_string().into_bytes()
    }

    fn seen(provider: &Provider) -> Vec<Seen> {
        provider.scene.take().into_iter().map(|Sighting { what, .. }| what).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_drips_is_whole_and_one_only_at_its_end() {
        for streamed in [false, true] {
            let provider = dripping_provider();
            let mut body = provider.serve(&call(streamed)).await.unwrap().into_body();
            let (began, mut pieces, mut text) = (provider.scene.now(), 0, Vec::new());
            while let Some(piece) = body.next().await {
                text.extend(piece.unwrap());
                pieces += 1;
            }
            let said = reply(&call(streamed));
            let whole = if streamed { said.events().concat() } else { said.whole().to_string() };
            assert_eq!(String::from_utf8(text).unwrap(), whole);
            assert!(pieces > 2, "{pieces}");
            assert_eq!(provider.scene.now() - began, Duration::from_millis(BY_MS) * pieces);
            assert_eq!(seen(&provider).last(), Some(&Seen::Answered { call: 0 }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waits_for_is_billed_and_none() {
        let provider = dripping_provider();
        let mut body = provider.serve(&call(true)).await.unwrap().into_body();
        assert!(body.next().await.is_some());
        drop(body);
        let seen = seen(&provider);
        assert!(seen.iter().any(|seen| matches!(seen, Seen::Billed { call: 0, .. })));
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Answered { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_for_the_order_whose_product_it_names() {
        let provider = dripping_provider();
        drop(provider.serve(&call(true)).await);
        let named = Seen::CalledFor { call: 0, key: "order".to_owned() };
        assert!(seen(&provider).contains(&named));
        drop(provider.serve(br#"{"messages":[{"role":"user","content":"Write"}]}"#).await);
        assert!(!seen(&provider).iter().any(|seen| matches!(seen, Seen::CalledFor { .. })));
    }
}
