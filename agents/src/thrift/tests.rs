use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::transport;
use policies::span::{ByteSize, Span};
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

use super::*;
use crate::model::{Message, OutputSchema};

/// Says a new word each time, after a second; cut short or failing if the prompt says so.
struct Talker {
    calls: AtomicU64,
}

#[async_trait]
impl Model for Talker {
    fn id(&self) -> ModelId {
        ModelId("talker".to_owned())
    }

    fn price_key(&self) -> &str {
        "talker"
    }

    fn count(&self, _: &ModelRequest) -> Tokens {
        Tokens(1)
    }

    async fn call(&self, request: ModelRequest, progress: &Progress) -> Result<ModelReply, ModelError> {
        let nth = self.calls.fetch_add(1, Ordering::Relaxed);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            progress.tick(1);
        }
        let asked = request.messages.last().map(|message| message.text().into_owned()).unwrap_or_default();
        if asked.contains("fail") {
            return Err(ModelError::free(FailureClass::ProviderDown, "503"));
        }
        let finish = if asked.contains("cut") { Finish::Length } else { Finish::Stop };
        let usage = Usage { input: Tokens(3), output: Tokens(4), ..Usage::default() };
        Ok(ModelReply::saying(format!("word {nth}"), usage, finish))
    }
}

struct Rig {
    world: World,
    shelves: MemoryShelves,
    talker: Arc<Talker>,
}

impl Rig {
    fn new() -> Self {
        let world = World::simulated(1, transport::unplugged());
        Self { world, shelves: MemoryShelves::new(), talker: Arc::new(Talker { calls: AtomicU64::new(0) }) }
    }

    fn replies(&self) -> Arc<Replies> {
        Arc::new(Replies::open(self.shelves.open("replies", REPLIES_VERSION).unwrap()).unwrap())
    }

    fn model(&self, cache: Option<CachePolicy>, coalesce: bool) -> Arc<dyn Model> {
        let thrift = Thrift { cache: cache.map(|policy| (policy, self.replies())), coalesce };
        Thrifty::around(self.talker.clone(), thrift, &self.world)
    }

    fn calls(&self) -> u64 {
        self.talker.calls.load(Ordering::Relaxed)
    }
}

fn request(prompt: &str, temperature: f32, seed: u64) -> ModelRequest {
    ModelRequest {
        messages: vec![Message::user(prompt)],
        prefill: None,
        stop: Vec::new(),
        output_max: Tokens(9),
        temperature,
        seed,
        graded: false,
        tools: Vec::new(),
        tool_choice: Default::default(),
        output_schema: None,
        thinking: None,
        cache: Default::default(),
        stream: None,
    }
}

async fn ask(model: &Arc<dyn Model>, prompt: &str, seed: u64) -> Result<ModelReply, ModelError> {
    model.call(request(prompt, 0.0, seed), &Progress::default()).await
}

const HOUR: CachePolicy = CachePolicy::of(Span::from_secs(3600));

#[tokio::test(start_paused = true)]
async fn an_equal_request_costs_nothing_over_restarts_until_its_reply_is_old() {
    let rig = Rig::new();
    let model = rig.model(Some(HOUR), false);
    let first = ask(&model, "a", 1).await.unwrap();
    assert!(first.usage.cost_told.is_none() && first.usage.output == Tokens(4));
    // Another life, and another seed.
    let model = rig.model(Some(HOUR), false);
    let again = ask(&model, "a", 2).await.unwrap();
    assert_eq!((again.text(), rig.calls()), (first.text(), 1));
    assert_eq!(again.usage, Usage { cost_told: Some(Money::ZERO), ..Usage::default() });
    ask(&model, "b", 1).await.unwrap();
    let shaped = ModelRequest {
        output_schema: Some(OutputSchema { name: "x".to_owned(), schema: serde_json::json!({}) }),
        ..request("a", 0.0, 1)
    };
    model.call(shaped, &Progress::default()).await.unwrap();
    assert_eq!(rig.calls(), 3, "another prompt and another shape are other requests");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_ne!(ask(&model, "a", 1).await.unwrap().text(), first.text());
    assert_eq!(rig.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_or_asks_for_something_new_is_not_given_again() {
    let rig = Rig::new();
    let model = rig.model(Some(HOUR), true);
    for _ in 0..2 {
        ask(&model, "cut", 1).await.unwrap();
        ask(&model, "fail", 1).await.unwrap_err();
        model.call(request("warm", 0.7, 1), &Progress::default()).await.unwrap();
    }
    assert_eq!(rig.calls(), 6);
    let model = rig.model(Some(CachePolicy { any_temperature: true, ..HOUR }), true);
    for _ in 0..2 {
        model.call(request("warm", 0.7, 1), &Progress::default()).await.unwrap();
    }
    assert_eq!(rig.calls(), 7);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_when_there_is_no_more_room() {
    let rig = Rig::new();
    let one =
        serde_json::to_vec(&ModelReply::saying("word 0", Usage::default(), Finish::Stop)).unwrap().len() as u64 + 60;
    let policy = CachePolicy { bytes_max: ByteSize(2 * one), ..HOUR };
    let model = rig.model(Some(policy), false);
    for prompt in ["a", "b", "c"] {
        ask(&model, prompt, 1).await.unwrap();
    }
    ask(&model, "c", 1).await.unwrap();
    ask(&model, "b", 1).await.unwrap();
    assert_eq!(rig.calls(), 3);
    ask(&rig.model(Some(policy), false), "a", 1).await.unwrap();
    assert_eq!(rig.calls(), 4, "it is gone from the shelf too");
}

#[tokio::test(start_paused = true)]
async fn equal_requests_under_way_are_one_call_and_whoever_waits_shows_life() {
    let rig = Rig::new();
    let model = rig.model(None, true);
    let watched = Progress::default();
    let (first, second, other) =
        tokio::join!(ask(&model, "a", 1), model.call(request("a", 0.0, 2), &watched), ask(&model, "b", 1));
    assert_eq!(first.unwrap().text(), second.as_ref().unwrap().text());
    assert_eq!(second.unwrap().usage.cost_told, Some(Money::ZERO));
    assert!(watched.beats() >= 5, "{} beats", watched.beats());
    other.unwrap();
    assert_eq!(rig.calls(), 2);
    ask(&model, "a", 1).await.unwrap();
    assert_eq!(rig.calls(), 3, "nothing is kept without a cache");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_call_that_fails_or_is_dropped_asks_on_his_own() {
    let rig = Rig::new();
    let model = rig.model(None, true);
    let (first, second) = tokio::join!(ask(&model, "fail", 1), ask(&model, "fail", 1));
    assert!(first.is_err() && second.is_err());
    assert_eq!(rig.calls(), 2);
    let dropped = async {
        let first = ask(&model, "a", 1);
        assert!(tokio::time::timeout(Duration::from_secs(3), first).await.is_err());
    };
    let (_, second) = tokio::join!(dropped, ask(&model, "a", 1));
    assert_eq!((second.unwrap().usage.output, rig.calls()), (Tokens(4), 4));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_ends_at_once_and_leaves_the_call_alone() {
    let rig = Rig::new();
    let model = rig.model(None, true);
    let progress = Progress::default();
    let waits = model.call(request("a", 0.0, 1), &progress);
    let cancels = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        progress.cancel();
    };
    let (first, second, ()) = tokio::join!(ask(&model, "a", 1), waits, cancels);
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().class, FailureClass::Shutdown);
}
