//! Putting the parts together. Invariant: when it returns, the tree is up, every
//! run that has work to do is awake, and the journal writes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use actors::durable::{self, Directory, Spine, WakeError};
use actors::guard::Guards;
use actors::latest;
use actors::letters::LettersError;
use actors::mailbox::Bound;
use actors::telemetry::Metrics;
use actors::world::World;
use agents::agent::AgentHandle;
use agents::aggregator::{AggregatorArguments, Figures, Reports};
use agents::conduct::Stage;
use agents::context::{ContextArguments, ContextHandle};
use agents::evaluation::Ratings;
use agents::front::Front;
use agents::ledger::{LedgerArguments, LedgerHandle};
use agents::publisher::PublisherHandle;
use agents::run::Run;
use agents::telemetry::{SHELF, SHELF_VERSION, Source, Telemetry};
use agents::tool::Toolbox;
use agents::tool::mcp::McpHandle;
use agents::workflow::Known;
use policies::tree::{DynamicPolicy, TreePolicy};
use storage::journal::{Committer, INDEX_VERSION, Journal, OpenError, Opened};
use storage::snapshots::{SnapshotError, Snapshots};
use storage::views::{Fold, ShelfError};
use supervisor::{Ended, Factory, Observer, Tree, TreeError};
use tokio_util::sync::CancellationToken;

use super::factories::{self, Makings};
use super::folds::Folds;
use super::policy::{self, InForce, Settled};
use super::prospects::Outlook;
use super::waking::Waker;
use super::{Parts, RUNS, System, TreeSlot, ratings, watchdog, watcher};

/// The shelf of the journal's stream index.
pub(crate) const STREAMS: &str = "streams";

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal did not open.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A view cannot be kept.
    #[error("the views cannot be kept")]
    Views(#[from] ShelfError),
    /// Snapshots cannot be kept.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// The committer has no thread.
    #[error("the journal's thread cannot be started")]
    Thread(#[from] actors::world::ThreadError),
    /// Opening was cut short.
    #[error(transparent)]
    Lost(#[from] actors::world::Lost),
    /// The tree's policy does not fit.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The tree ended before it was up.
    #[error("the supervision tree did not come up: {0}")]
    NotUp(String),
    /// The version of the policies in force cannot be told.
    #[error("the policies in force cannot be read from the journal: {0}")]
    Policies(String),
    /// The dead letters cannot be told.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// The views could not be read.
    #[error("the list of runs cannot be read: {0}")]
    Runs(String),
}

/// The journal with all that is opened beside it.
struct Opening {
    journal: Journal,
    committer: Committer,
    opened: Opened,
    snapshots: Arc<Snapshots>,
}

impl System {
    /// Starts a system from its parts.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(mut parts: Parts) -> Result<Self, StartError> {
        let world = parts.world.clone();
        let Opening { journal, committer, opened, snapshots } = open(&parts).await?;
        let committed = commit(&world, committer)?;
        let in_force = Arc::new(in_force(&mut parts, &journal).await?);
        let metrics = Metrics::new();
        let spine = Spine::new(world.clone(), journal.clone(), snapshots, metrics.clone());
        spine.letters.catch_up().await?;
        let stage = Arc::new(stage(&parts, &spine));
        ratings::read(&world, &journal, &stage).await;
        let figures = Figures::default();
        let reports = Reports::new(parts.shelves.open(figures.name(), figures.version())?);
        let makings = makings(&parts, &spine, &stage, &in_force, &reports);
        let slot = TreeSlot::default();
        let runs = directory(&world, &stage, &slot, in_force.tree());
        let factories = factories::all(&stage, makings);
        let outlook = Arc::new(Outlook::new(&world, &stage));
        let (tree, mut runs_up) =
            grow(&spine, parts.policies.tree.clone(), factories, parts.observer.clone(), Arc::clone(&outlook)).await?;
        outlook.look();
        attach(&stage, &tree);
        // It is filled once, here, before anything can be asked of the directory.
        let _ = slot.set(tree.clone());
        world.spawn("watchdog", watchdog::watch(world.clone(), tree.clone(), in_force.tree(), metrics.clone()));
        runs_up.see();
        let waker = Waker { journal: journal.clone(), reports: reports.clone(), runs: runs.clone() };
        world.spawn("waker", waker.clone().stay(tree.clone(), runs_up));
        if let Some(live) = &parts.live {
            live.attach(journal.clone(), &tree);
        }
        let telemetry = telemetry(&mut parts, &journal, &metrics)?;
        let Parts { feed, live, workspace, .. } = parts;
        let system = Self {
            world,
            journal,
            opened,
            tree,
            known: known(&stage),
            stage,
            runs,
            outlook,
            reports,
            metrics,
            announce: OnceLock::new(),
            folds: Folds::new(spine.recent.clone()),
            workspace,
            in_force,
            feed,
            live,
            telemetry,
            committed,
        };
        waker.wake().await.map_err(StartError::Runs)?;
        Ok(system)
    }
}

/// What the workers that are alone of their kind are started with.
fn makings(parts: &Parts, spine: &Spine, stage: &Stage, in_force: &InForce, reports: &Reports) -> Makings {
    let (journal, recent) = (&spine.journal, &spine.recent);
    Makings {
        world: spine.world.clone(),
        ledger: LedgerArguments {
            workspace: parts.workspace.clone(),
            policy: in_force.budget(),
            journal: journal.clone(),
            recent: recent.clone(),
            snapshots: Arc::clone(&spine.snapshots),
            factors: stage.ledger.factors().clone(),
            hook: parts.alerts.clone(),
        },
        context: ContextArguments {
            journal: journal.clone(),
            index: Arc::clone(&parts.index),
            embedder: Arc::clone(&parts.embedder),
        },
        aggregator: AggregatorArguments { journal: journal.clone(), recent: recent.clone(), reports: reports.clone() },
        publishers: parts.publishers.clone(),
    }
}

/// The policies in force, which are the last version's where the files say nothing new.
async fn in_force(parts: &mut Parts, journal: &Journal) -> Result<InForce, StartError> {
    let Some(governed) = parts.governed.take() else { return Ok(InForce::new(&parts.policies, None, 0, None)) };
    let Settled { version, past, policies } =
        policy::settle(&parts.world, journal, &parts.workspace, &governed).await?;
    if let Some(policies) = policies {
        parts.policies = policies;
    }
    Ok(InForce::new(&parts.policies, Some(governed.config), version, Some(past)))
}

async fn open(parts: &Parts) -> Result<Opening, StartError> {
    let (disk, shelves, options) = (Arc::clone(&parts.disk), Arc::clone(&parts.shelves), parts.journal.clone());
    let now = parts.world.now();
    let opening = move || {
        let index = shelves.open(STREAMS, INDEX_VERSION)?;
        let (journal, committer, opened) = Journal::open(Arc::clone(&disk), index, options, now)?;
        let snapshots = Arc::new(Snapshots::open(disk)?);
        Ok(Opening { journal, committer, opened, snapshots })
    };
    parts.world.blocking("journal.open", opening).await?
}

/// Runs the committer: on a thread of its own, or as a task in simulation.
fn commit(world: &World, committer: Committer) -> Result<CancellationToken, StartError> {
    let committed = CancellationToken::new();
    let done = committed.clone().drop_guard();
    if world.is_simulated() {
        world.spawn("journal", async move {
            committer.run().await;
            drop(done);
        });
    } else {
        world.thread("journal", move || {
            committer.run_blocking();
            drop(done);
        })?;
    }
    Ok(committed)
}

/// Spans and histograms on their way, where they go anywhere.
fn telemetry(parts: &mut Parts, journal: &Journal, metrics: &Metrics) -> Result<Option<Telemetry>, StartError> {
    let Some((collector, options)) = parts.telemetry.take() else { return Ok(None) };
    let shelf = parts.shelves.open(SHELF, SHELF_VERSION)?;
    let (world, journal, metrics) = (parts.world.clone(), journal.clone(), metrics.clone());
    Ok(Some(Telemetry::start(Source { world, journal, metrics, shelf }, collector, options)))
}

/// What workflows may name.
fn known(stage: &Stage) -> Known {
    let servers = stage.tools.servers();
    let classes = servers.iter().map(|(name, server)| (name.clone(), server.server().terms.classes.clone()));
    Known::new(stage.agents.keys().cloned(), stage.publishers.keys().cloned()).with_servers(classes.collect())
}

fn stage(parts: &Parts, spine: &Spine) -> Stage {
    let guards = Guards::counted(spine.world.clone(), parts.policies.guards_in_force(), spine.metrics.clone());
    let publishers = parts.publishers.iter();
    let servers = parts.servers.iter().map(|(name, server)| McpHandle::new(name, server.clone()));
    let names = parts.agents.iter().map(|spec| spec.name.as_str());
    let tools = Toolbox::new(names, parts.fetch.clone(), servers, spine.world.http());
    let agents = parts.agents.iter().map(|spec| policy::held_to(spec, &spec.name, &parts.policies));
    let stage = Stage {
        spine: spine.clone(),
        workspace: parts.workspace.clone(),
        ledger: LedgerHandle::new(),
        guards,
        prices: parts.policies.prices.clone(),
        agents: agents.map(|spec| (spec.name.clone(), AgentHandle::new(spec))).collect(),
        models: parts.models.clone(),
        ratings: Ratings::default(),
        tools,
        context: ContextHandle::new(),
        publishers: publishers.map(|(name, p)| (name.clone(), PublisherHandle::new(p.capabilities()))).collect(),
        aggregator: Front::new(),
        runs: Bound::default(),
    };
    stage.govern(&parts.policies.tree);
    stage.count_mailboxes();
    stage
}

/// Puts the tree's gates in front of all, so that what the tree has no worker for waits until it has one.
fn attach(stage: &Stage, tree: &Tree) {
    for (name, agent) in &stage.agents {
        agent.front().slot().attach(&tree.gate(name));
    }
    for (name, publisher) in &stage.publishers {
        publisher.front().slot().attach(&tree.gate(name));
    }
    for (name, server) in stage.tools.servers() {
        server.front().slot().attach(&tree.gate(name));
    }
}

/// The live runs: each a child of the tree's dynamic supervisor, which starts
/// it again when it fails.
fn directory(
    world: &World,
    stage: &Arc<Stage>,
    tree: &TreeSlot,
    policy: latest::Watcher<Arc<TreePolicy>>,
) -> Directory<Run> {
    let (stage, tree) = (Arc::clone(stage), Arc::clone(tree));
    let spawner = move |directory: Directory<Run>, id: String| {
        let (stage, tree, policy) = (Arc::clone(&stage), Arc::clone(&tree), policy.clone());
        let spawning = async move {
            let runs = tree.get().and_then(|tree| tree.dynamic(RUNS));
            let runs = runs.ok_or_else(|| WakeError::Failed("the tree has no dynamic supervisor `runs`".to_owned()))?;
            let name = format!("run/{id}");
            let factory = run_factory(&stage, &directory, &id, policy);
            match runs.spawn_child(name, factory).await {
                // The factory has published it.
                Ok(_) | Err(supervisor::SpawnError::NameTaken { .. }) => Err(WakeError::Elsewhere),
                Err(error) => Err(WakeError::Failed(error.to_string())),
            }
        };
        Box::pin(spawning) as futures::future::BoxFuture<'static, _>
    };
    Directory::new(world.clone(), Arc::new(spawner))
}

/// What a run is started with, as the policy has it now.
fn run_options(stage: &Stage, policy: &TreePolicy) -> durable::Options {
    let rest_after = policy.dynamic(RUNS).map_or_else(|| DynamicPolicy::default().rest_after, |runs| runs.rest_after);
    let (mailbox, rest_after) = (stage.runs.clone(), Some(rest_after.duration()));
    durable::Options { mailbox, rest_after, ..durable::Options::default() }
}

fn run_factory(
    stage: &Arc<Stage>,
    directory: &Directory<Run>,
    id: &str,
    policy: latest::Watcher<Arc<TreePolicy>>,
) -> Factory {
    let (stage, directory, id) = (Arc::clone(stage), directory.clone(), id.to_owned());
    Arc::new(move |context| {
        let (stage, directory, id) = (Arc::clone(&stage), directory.clone(), id.clone());
        let options = run_options(&stage, &policy.get());
        Box::pin(async move {
            let gate = context.gate().clone();
            let handle = stage
                .start(&id, options, Some(context.supervisor.clone()), gate)
                .await
                .map_err(|error| supervisor::StartError::of(&error))?;
            directory.publish(&id, handle.clone());
            let shown = handle.clone();
            context.show_mailbox(Arc::new(move || shown.fill().into()));
            Ok(handle.cell())
        })
    })
}

/// Starts the tree and waits until it is up; beside it, how often the supervisor of the runs has come up.
async fn grow(
    spine: &Spine,
    policy: TreePolicy,
    factories: BTreeMap<String, Factory>,
    observer: Option<Arc<dyn Observer>>,
    outlook: Arc<Outlook>,
) -> Result<(Tree, latest::Watcher<u64>), StartError> {
    let (world, journal) = (&spine.world, &spine.journal);
    let (watcher, scribe) = watcher::pair(observer, Arc::clone(&outlook), spine.metrics.clone());
    let runs_up = watcher.runs_up();
    world.spawn("supervision", scribe.run(world.clone(), journal.clone()));
    let tree = Tree::start_with(world.clone(), policy, factories, Arc::new(watcher), outlook).await?;
    match tree.ready().await {
        Ok(()) => Ok((tree, runs_up)),
        Err(ended) => {
            journal.close().await;
            Err(StartError::NotUp(match ended {
                Ended::Escalated(failure) => failure.message,
                other => format!("{other:?}"),
            }))
        }
    }
}
