//! The real things behind each seam, as the configuration names them.
//!
//! Invariant: nothing is fetched or opened that this configuration does not
//! use, and every failure says what to bring or change.

mod index;
mod telemetry;
mod tools;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actors::transport::Transport;
use actors::world::World;
use agents::agent::{AgentSpec, AgentTerms};
use agents::conduct::NamedModel;
use agents::embed::Embedder;
use agents::key::Key;
use agents::ledger::AlertHook;
use agents::model::{Model, ModelId};
use agents::providers::Remote;
use agents::publisher::{FeedOptions, FeedPublisher, Publisher, WebhookOptions, WebhookPublisher};
use agents::schema::Structured;
use agents::thrift::{REPLIES_VERSION, Replies, Thrift, Thrifty};
use agents_local::fetch::{FetchOptions, FetchProgress, fetch};
use agents_local::language::LoadOptions;
use agents_local::{LanguageModel, LocalModel, Pool, WordLlama, pins};
use anyhow::Context;
use policies::document;
use policies::fallback::StandIn;
use policies::tokens::Tokens;
use storage::disk::Disk;
use storage::disk::files::FileDisk;
use storage::index::ContextIndex;
use storage::journal;
use storage::views::Shelves;
use storage::views::sled::SledShelves;
use storage_edge::EdgeIndex;
use storage_qdrant::ServerIndex;

use crate::config::{
    AlertsConfig, Config, ContextConfig, LOCAL, ModelConfig, ModelInUse, PublisherConfig, SecretSource, ServerModel,
};
use crate::crash::CrashPoints;
use crate::live::Live;
use crate::policy::{Documents, Policies};
use crate::system::{Governed, Parts, publishers};

/// What sled may keep in memory.
pub(crate) const VIEWS_CACHE_BYTES: u64 = 32 << 20;
/// Jobs that may wait for the local model.
const LOCAL_WAITING_MAX: usize = 64;
/// Threads of the local model: one is steadier than two where others work too.
const LOCAL_WORKERS: usize = 1;
/// The longest reply that an agent may ask for.
const OUTPUT_MAX: Tokens = Tokens(4096);
/// How freely an agent writes where a step does not say.
const TEMPERATURE: f32 = 0.4;
/// For one request to a Qdrant server.
const QDRANT_TIMEOUT: Duration = Duration::from_secs(30);
/// How old a key may be before it is read again, where the configuration does not say: those for alerts,
/// publishers, MCP servers, telemetry and the context index.
const KEY_AGE_MAX: Duration = Duration::from_secs(300);
/// The same of the token for faults: who shows another one may just have been told of it.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(10);
/// Fields that searches filter by.
const KEYWORDS: [&str; 5] = ["collection", "run", "agent", "source", "kind"];

/// Told how far a download has come; called from a blocking place.
pub type Progress = Arc<dyn Fn(FetchProgress) + Send + Sync>;

/// The parts of a production system.
///
/// # Errors
/// Whatever cannot be opened, read or fetched, with what to do.
pub async fn parts(
    config: &Config,
    documents: Documents,
    world: &World,
    crash: &CrashPoints,
    progress: Progress,
) -> anyhow::Result<Parts> {
    let policies = Policies::of(config, &documents).map_err(|faults| anyhow::anyhow!(document::lines(&faults)))?;
    let Stores { disk, shelves } = stores(config, world).await?;
    let embedder = embedder(config, world, &progress).await?;
    let index = index(config, world, embedder.as_ref()).await?;
    let live = live(config, world).await?;
    let http = crash.models(world.http());
    let mut makers = Models {
        config,
        policies: &policies,
        world,
        http,
        live: live.as_ref(),
        progress,
        shelves: Arc::clone(&shelves),
        local: None,
        made: BTreeMap::new(),
        replies: BTreeMap::new(),
    };
    let mut agents = Vec::new();
    for name in crate::system::agents(config) {
        agents.push(makers.agent(name).await?);
    }
    let models = makers.stand_ins().await?;
    let mut platforms = BTreeMap::new();
    for name in publishers(config) {
        let platform = crash.publisher(platform(config, name, world).await?);
        let platform =
            live.as_ref().map_or_else(|| Arc::clone(&platform), |live| live.publisher(name, platform.clone()));
        platforms.insert(name.to_owned(), platform);
    }
    Ok(Parts {
        world: world.clone(),
        disk: crash.disk(disk),
        shelves,
        index,
        embedder,
        agents,
        models,
        fetch: config.fetch.clone(),
        servers: tools::servers(config, world).await?,
        publishers: platforms,
        policies,
        governed: Some(Governed { config: config.clone(), documents }),
        journal: journal::Options { bytes_max: config.journal.bytes_max, ..journal::Options::default() },
        workspace: config.workspace.clone(),
        observer: None,
        feed: Some(config.feed_folder().join(FeedOptions::default().path)),
        alerts: alerts(config, world)?,
        live,
        telemetry: telemetry::sent(config, world)?,
    })
}

/// Faults on purpose, where they are configured.
async fn live(config: &Config, world: &World) -> anyhow::Result<Option<Live>> {
    let Some(chaos) = &config.chaos else { return Ok(None) };
    let token = Key::read_from(chaos.token.clone(), world.clone(), TOKEN_AGE_MAX);
    token.current().await.context("[chaos] has no token")?;
    tracing::warn!("whoever has the token of [chaos] can disturb this system on purpose");
    Ok(Some(Live::new(world.clone(), token)))
}

/// Where alerts are sent, where that is configured.
fn alerts(config: &Config, world: &World) -> anyhow::Result<Option<AlertHook>> {
    let Some(AlertsConfig { url, key }) = &config.alerts else { return Ok(None) };
    let key = key.as_ref().map(|source| Key::read_from(source.clone(), world.clone(), KEY_AGE_MAX));
    AlertHook::new(url, key, world.http()).context("[alerts] cannot be used").map(Some)
}

/// The platform of that name: as configured, or else the feed.
async fn platform(config: &Config, name: &str, world: &World) -> anyhow::Result<Arc<dyn Publisher>> {
    let Some(PublisherConfig::Webhook { url, key, deduplicates, can_be_asked }) = config.publishers.get(name) else {
        return feed(config, world);
    };
    let options = WebhookOptions {
        url: url.clone(),
        api_key: key_of(key.as_ref(), world).await.with_context(|| format!("the publisher `{name}` has no key"))?,
        deduplicates: *deduplicates,
        can_be_asked: *can_be_asked,
    };
    let webhook = WebhookPublisher::new(options, world.http());
    Ok(Arc::new(webhook.with_context(|| format!("the publisher `{name}` cannot be used"))?))
}

fn feed(config: &Config, world: &World) -> anyhow::Result<Arc<dyn Publisher>> {
    let options =
        FeedOptions { title: config.feed.title.clone(), url: Some(config.feed.url.clone()), ..FeedOptions::default() };
    let folder = config.feed_folder();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the feed's folder {} cannot be made", folder.display()))?;
    Ok(Arc::new(FeedPublisher::new(world.clone(), Arc::new(FileDisk::new(&folder)), options)))
}

/// A key that is there at the start, and may be another later.
async fn key_of(source: Option<&SecretSource>, world: &World) -> anyhow::Result<Option<Key>> {
    let Some(source) = source else { return Ok(None) };
    let key = Key::read_from(source.clone(), world.clone(), KEY_AGE_MAX);
    key.current().await?;
    Ok(Some(key))
}

/// Where things are kept.
pub struct Stores {
    /// The journal's disk.
    pub disk: Arc<dyn Disk>,
    /// The views.
    pub shelves: Arc<dyn Shelves>,
}

/// The stores in the data folder, which is made if it is not there.
///
/// # Errors
/// Whatever cannot be made or opened, with what to do.
pub async fn stores(config: &Config, world: &World) -> anyhow::Result<Stores> {
    std::fs::create_dir_all(&config.data).with_context(|| {
        format!("the data folder {} cannot be made; name another with --data", config.data.display())
    })?;
    let views = config.data.join("views");
    let shelves = world.blocking("views", move || SledShelves::open(views, VIEWS_CACHE_BYTES)).await??;
    Ok(Stores { disk: Arc::new(FileDisk::new(&config.data)), shelves: Arc::new(shelves) })
}

async fn embedder(config: &Config, world: &World, progress: &Progress) -> anyhow::Result<Arc<dyn Embedder>> {
    let options = FetchOptions::new(config.cache_folder());
    let progress = Arc::clone(progress);
    let load = move || -> anyhow::Result<WordLlama> {
        let files = fetch(&pins::WORDLLAMA, &options, &mut |at| progress(at))?;
        let [weights, tokenizer, ..] = files.as_slice() else {
            anyhow::bail!("the embeddings came without their tokenizer");
        };
        Ok(WordLlama::load(weights, tokenizer)?)
    };
    Ok(Arc::new(world.blocking("embedder", load).await??))
}

async fn index(config: &Config, world: &World, embedder: &dyn Embedder) -> anyhow::Result<Arc<dyn ContextIndex>> {
    let keywords: Vec<String> = KEYWORDS.iter().map(|k| (*k).to_owned()).collect();
    match &config.context {
        ContextConfig::Embedded => {
            let path = config.data.join("context").join(embedder.id());
            let options = storage_edge::Options { path, dimension: embedder.dimension(), keywords };
            let place = world.clone();
            let executor: storage_edge::Executor = Arc::new(move |work| {
                let on = place.clone();
                place.spawn("context.index", async move { on.blocking("context.index", work).await });
            });
            let index = world.blocking("context.open", move || EdgeIndex::open(options, executor)).await??;
            Ok(Arc::new(index))
        }
        ContextConfig::Qdrant { url, collection, key } => {
            let options = storage_qdrant::Options {
                url: url.clone(),
                api_key: None,
                collection: collection.clone(),
                dimension: embedder.dimension(),
                keywords,
                timeout: QDRANT_TIMEOUT,
            };
            match key_of(key.as_ref(), world).await.context("[context] has no key")? {
                None => Ok(Arc::new(ServerIndex::open(options).await?)),
                Some(key) => Ok(Arc::new(index::Keyed::on_server(key, options).await?)),
            }
        }
    }
}

/// Makes models, the local one at most once.
struct Models<'a> {
    config: &'a Config,
    policies: &'a Policies,
    world: &'a World,
    /// The way to model servers.
    http: Arc<dyn Transport>,
    live: Option<&'a Live>,
    progress: Progress,
    /// Where replies are kept.
    shelves: Arc<dyn Shelves>,
    local: Option<Arc<dyn Model>>,
    /// Those that have a name, as far as they are made.
    made: BTreeMap<String, Arc<dyn Model>>,
    /// The kept replies by their shelf, each opened once.
    replies: BTreeMap<String, Arc<Replies>>,
}

impl Models<'_> {
    async fn agent(&mut self, name: &str) -> anyhow::Result<AgentSpec> {
        let config = self.config;
        let chosen = config.model_of(name);
        let model = self.used(&chosen).await.with_context(|| format!("the agent `{name}` has no model"))?;
        let guard = chosen.guard();
        let timeout = self.policies.timeout(&guard);
        Ok(AgentSpec {
            name: name.to_owned(),
            model,
            guard,
            timeout,
            silence_max: None,
            output_max: OUTPUT_MAX,
            system: None,
            temperature: TEMPERATURE,
            terms: AgentTerms::default(),
            kit: tools::kit(config, name),
        })
    }

    /// The models that agents choose among, and that can stand in: all that are named in the configuration, and the local one where a
    /// list names it.
    async fn stand_ins(&mut self) -> anyhow::Result<BTreeMap<String, NamedModel>> {
        let (config, tree) = (self.config, &self.policies.tree);
        let local = StandIn::Model(LOCAL.to_owned());
        let names_local = |worker: &String| {
            tree.fallback(worker).contains(&local) || tree.pool(worker).iter().any(|model| model == LOCAL)
        };
        let is_local_named = tree.nodes.keys().any(names_local);
        let mut models = BTreeMap::new();
        for name in config.model_names().filter(|name| config.named.contains_key(*name) || is_local_named) {
            let Some(named) = config.named_model(name) else { continue };
            let model = self.used(&named).await.with_context(|| format!("the model `{name}` cannot be used"))?;
            models.insert(name.to_owned(), NamedModel { model, guard: named.guard() });
        }
        Ok(models)
    }

    /// A model, made once for all who use it by its name.
    async fn used(&mut self, chosen: &ModelInUse<'_>) -> anyhow::Result<Arc<dyn Model>> {
        let Some(name) = chosen.name else { return self.model(chosen.model, None).await };
        if let Some(made) = self.made.get(name) {
            return Ok(Arc::clone(made));
        }
        let model = self.model(chosen.model, Some(name)).await?;
        self.made.insert(name.to_owned(), Arc::clone(&model));
        Ok(model)
    }

    async fn model(&mut self, chosen: &ModelConfig, named: Option<&str>) -> anyhow::Result<Arc<dyn Model>> {
        match chosen {
            ModelConfig::Local { path, .. } => {
                if let Some(local) = &self.local {
                    return Ok(Arc::clone(local));
                }
                let local = self.load(path.as_deref()).await?;
                self.local = Some(Arc::clone(&local));
                Ok(local)
            }
            ModelConfig::Server(server) => {
                let key = self.key(server).await?;
                let http = Arc::clone(&self.http);
                let way = match self.live {
                    Some(live) => live.models(named.unwrap_or(&server.name), http),
                    None => http,
                };
                let model = Structured::around(Arc::new(Remote::new(server.options(key), self.world, way)?));
                let thrift = self.thrift(server, named.unwrap_or(&server.name)).await?;
                Ok(Thrifty::around(model, thrift, self.world))
            }
        }
    }

    /// What is saved with a server's model of this name.
    async fn thrift(&mut self, server: &ServerModel, name: &str) -> anyhow::Result<Thrift> {
        let Some(policy) = server.cache else { return Ok(Thrift { cache: None, coalesce: server.coalesce }) };
        let shelf = format!("replies.{name}");
        let replies = match self.replies.get(&shelf) {
            Some(replies) => Arc::clone(replies),
            None => {
                let (shelves, name) = (Arc::clone(&self.shelves), shelf.clone());
                let open = move || Replies::open(shelves.open(&name, REPLIES_VERSION)?);
                let replies = Arc::new(self.world.blocking("replies", open).await??);
                self.replies.insert(shelf, Arc::clone(&replies));
                replies
            }
        };
        Ok(Thrift { cache: Some((policy, replies)), coalesce: server.coalesce })
    }

    /// A server's key, which is there at the start.
    async fn key(&self, server: &ServerModel) -> anyhow::Result<Option<Key>> {
        let Some(source) = &server.key else { return Ok(None) };
        let key = Key::read_from(source.clone(), self.world.clone(), server.key_age.duration());
        key.current().await.with_context(|| format!("the key for {} cannot be used", server.url))?;
        Ok(Some(key))
    }

    async fn load(&self, given: Option<&Path>) -> anyhow::Result<Arc<dyn Model>> {
        let mut options = FetchOptions::new(self.config.cache_folder());
        options.given = given.map(Path::to_owned);
        let converted = self.config.cache_folder().join("SmolLM2-135M-Instruct.Q8_0.gguf");
        let progress = Arc::clone(&self.progress);
        let load = move || -> anyhow::Result<LanguageModel> {
            let files = fetch(&pins::SMOLLM2, &options, &mut |at| progress(at))?;
            let file = files.first().context("the model came without its file")?;
            Ok(LanguageModel::load(file, &LoadOptions { converted: Some(converted), ..LoadOptions::default() })?)
        };
        let language = Arc::new(self.world.blocking("model.load", load).await??);
        let (pool, workers) = Pool::new(LOCAL_WAITING_MAX, LOCAL_WORKERS);
        for worker in workers {
            self.world.thread("model", move || worker.run())?;
        }
        Ok(Structured::around(Arc::new(LocalModel::new(ModelId("SmolLM2-135M-Instruct".to_owned()), language, pool))))
    }
}

/// How long commands wait for a graceful end before they leave the rest to
/// recovery.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(30);
