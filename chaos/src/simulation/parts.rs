//! A system's parts for a simulation. Invariant: nothing here touches the real
//! clock, disk or network.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actors::transport::{self, Transport};
use actors::world::World;
use agents::agent::{AgentSpec, AgentTerms, Kit};
use agents::conduct::NamedModel;
use agents::embed::{EmbedError, Embedder};
use agents::model::Model;
use agents::providers::{Options, OptionsError, Remote};
use agents::publisher::{FeedOptions, FeedPublisher, Publisher, WebhookOptionsError};
use agents::tool::FetchPolicy;
use gateway::config::Config;
use gateway::policy::Policies;
use gateway::system::{AGENTS, PUBLISHERS, Parts};
use policies::breaker::BreakerPolicy;
use policies::document::{self, Error};
use policies::fallback::StandIn;
use policies::span::{ByteSize, Span};
use policies::tokens::Tokens;
use policies::tree::NodePolicy;
use serde_json::{Value, json};
use storage::disk::sim::SimDisk;
use storage::index::memory::MemoryIndex;
use storage::journal;
use storage::views::memory::MemoryShelves;

use crate::checkers::SPARE;
use crate::provider::reply;

/// The price table's key of the simulated model: one that costs something.
pub(super) const PRICE: &str = "gpt-4o-mini";
/// The simulated model's name.
pub(super) const MODEL: &str = "scripted";
/// Zeros that the journal keeps ahead of its end.
const RESERVE_BYTES: u64 = 16 << 10;
/// An agent's own breaker opens before that of its model, and for a shorter time.
const OWN: BreakerPolicy = BreakerPolicy {
    failures: 3,
    within: Span::from_secs(60),
    failure_rate: None,
    slow_rate: None,
    slow_after: Span::from_secs(30),
    window: Span::from_secs(60),
    calls_min: 20,
    open: Span::from_secs(4),
    open_max: Span::from_secs(60),
    probes: 2,
};
/// The shortest and the longest time that the simulated model thinks.
const THINK_MS: (u64, u64) = (50, 4_000);
/// What every order of a play is about, before its own number.
const PRODUCT: &str = "Lamp ";
/// Numbers in a simulated vector: one for each letter.
const DIMENSION: usize = 26;

/// Why a simulation's parts cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// A built-in policy has a fault.
    #[error("a built-in policy has faults: {}", document::lines(.0))]
    Policy(Vec<Error>),
    /// The model's options are wrong.
    #[error(transparent)]
    Model(#[from] OptionsError),
    /// The publisher's options are wrong.
    #[error(transparent)]
    Publisher(#[from] WebhookOptionsError),
}

/// A scripted provider, slow by a seeded time.
pub fn provider(seed: u64) -> Arc<dyn Transport> {
    transport::scripted(move |request| async move {
        let body = request.into_body();
        let said = reply(&body);
        let (least, most) = THINK_MS;
        let spread = seed ^ u64::from(crc(&said.id));
        tokio::time::sleep(Duration::from_millis(least + spread % (most - least))).await;
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = if asked["stream"] == json!(true) { said.events().concat() } else { said.whole().to_string() };
        let kind = if asked["stream"] == json!(true) { "text/event-stream" } else { "application/json" };
        let mut response = http::Response::new(transport::body(text));
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        Ok(response)
    })
}

fn crc(text: &str) -> u32 {
    text.bytes().fold(0, |sum, byte| sum.rotate_left(5) ^ u32::from(byte))
}

/// The built-in policies, read once for all lives of a process.
pub(super) fn built_in() -> Result<Policies, PartsError> {
    static POLICIES: LazyLock<Result<Policies, Vec<Error>>> = LazyLock::new(|| Policies::load(&Config::default()));
    POLICIES.clone().map_err(PartsError::Policy)
}

/// The parts of a simulated system, on this disk.
///
/// # Errors
/// [`PartsError`]; none with the built-in policies.
pub fn parts(world: &World, disk: &SimDisk) -> Result<Parts, PartsError> {
    let policies = built_in()?;
    let mut agents = Vec::new();
    for name in AGENTS {
        let guard = format!("model/{MODEL}");
        agents.push(AgentSpec {
            name: name.to_owned(),
            model: model(world, MODEL)?,
            timeout: policies.guards.get(&guard).timeout.duration(),
            guard,
            silence_max: None,
            output_max: Tokens(4096),
            system: None,
            temperature: 0.4,
            terms: AgentTerms::default(),
            kit: Kit::default(),
        });
    }
    let feed = FeedPublisher::new(world.clone(), Arc::new(disk.clone()), FeedOptions::default());
    let publisher: Arc<dyn Publisher> = Arc::new(feed);
    Ok(Parts {
        world: world.clone(),
        disk: Arc::new(disk.clone()),
        shelves: Arc::new(MemoryShelves::new()),
        index: Arc::new(MemoryIndex::new(DIMENSION)),
        embedder: Arc::new(Letters),
        agents,
        models: BTreeMap::new(),
        fetch: FetchPolicy::default(),
        servers: BTreeMap::new(),
        publishers: PUBLISHERS.iter().map(|name| ((*name).to_owned(), Arc::clone(&publisher))).collect(),
        policies,
        governed: None,
        // Filled up more often than on a real disk, and written in zeros that cost less.
        journal: journal::Options { reserve_bytes: ByteSize(RESERVE_BYTES), ..journal::Options::default() },
        workspace: "main".to_owned(),
        observer: None,
        feed: None,
        alerts: None,
        live: None,
        telemetry: None,
    })
}

fn model(world: &World, name: &str) -> Result<Arc<dyn Model>, OptionsError> {
    let options = Options { price: Some(PRICE.to_owned()), ..Options::compatible("http://model.test/v1", name) };
    Ok(Arc::new(Remote::new(options, world, world.http())?))
}

/// Gives every agent a breaker of its own, and another model to stand in for its own.
pub(super) fn have_stand_ins(parts: &mut Parts, world: &World) -> Result<(), PartsError> {
    let named = NamedModel { model: model(world, SPARE)?, guard: format!("model/{SPARE}") };
    parts.models.insert(SPARE.to_owned(), named);
    for name in AGENTS {
        if let Some(NodePolicy::Worker(worker)) = parts.policies.tree.nodes.get_mut(name) {
            worker.breaker = Some(OWN);
            worker.fallback = vec![StandIn::Model(SPARE.to_owned())];
        }
    }
    Ok(())
}

/// Counts letters: a scripted embedder, good for a simulation and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Letters;

impl Embedder for Letters {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn id(&self) -> &str {
        "letters"
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| counted(text)).collect())
    }
}

fn counted(text: &str) -> Vec<f32> {
    let mut vector = [0.01_f32; DIMENSION];
    for letter in text.bytes().map(|b| b.to_ascii_lowercase()).filter(u8::is_ascii_lowercase) {
        if let Some(count) = vector.get_mut(usize::from(letter - b'a')) {
            *count += 1.0;
        }
    }
    let length = vector.iter().map(|n| n * n).sum::<f32>().sqrt();
    vector.iter().map(|n| n / length).collect()
}

/// What an order is about: a name that no other order of a play has, and none is the beginning of.
pub(super) fn product(nth: usize) -> String {
    format!("{PRODUCT}{:04}", nth + 1_000)
}

/// The brief of an order, about its own product, so that the provider's book can be read by orders.
pub(super) fn brief_about(product: &str) -> BTreeMap<String, Value> {
    brief().into_iter().map(|(name, value)| (name, renamed(value, product))).collect()
}

fn renamed(value: Value, product: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("Lamp 3", product)),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, product)).collect(),
        Value::Object(map) => map.into_iter().map(|(name, item)| (name, renamed(item, product))).collect(),
        other => other,
    }
}

/// A small brief, as the announce workflow's inputs.
#[must_use]
pub fn brief() -> BTreeMap<String, Value> {
    let text = "# Lamp 3\n\nLamp 3 shines for a whole night on one charge. It weighs 200 grams and folds flat. \
                You charge it in two hours from any socket. Link: https://lamp.example/3\n\nIt was tested by 40 \
                climbers over one winter. None of the lamps failed in the cold.";
    BTreeMap::from([
        ("product".to_owned(), json!("Lamp 3")),
        ("link".to_owned(), json!("https://lamp.example/3")),
        ("brief".to_owned(), json!(text)),
        ("brand".to_owned(), json!("## Words we do not use\n- perfect\n")),
        (
            "documents".to_owned(),
            json!([{ "source": "test.md", "text": "Forty climbers carried it. They used it for 1,200 nights." }]),
        ),
    ])
}
