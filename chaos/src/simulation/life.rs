//! One life of the process: it starts on what the disk has, is driven and disturbed, and ends, one
//! way or another. Invariant: when it has ended nothing of it is left but the disk.

use std::sync::Arc;
use std::time::Duration;

use actors::transport;
use actors::world::{Trouble, Troublemaker, World, reboot};
use gateway::http::router;
use gateway::system::System;
use policies::pattern::covers;
use policies::tree::TreePolicy;
use storage::disk::Disk;
use storage::disk::sim::Operation;
use storage::disk::watched::{DiskPoint, watched};
use supervisor::{Ended, Failure, Fault as Kill, Observer, SupervisionEvent};

use super::board::Board;
use super::client::Client;
use super::gauge::Gauge;
use super::model::Provider;
use super::parts::{PartsError, have_stand_ins, parts};
use super::sabotage::Sabotage;
use super::scene::{Death, Scene};
use super::weather::{Due, Weather};
use crate::fault::{ActorEffect, DiskEffect, Fault, Loss, Point};
use crate::history::Seen;
use crate::plan::{Plan, Platform};

/// How long a shutdown may take before it counts as stuck.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);
/// When a tree has ended, its actors' tasks are gone within this.
const GONE_WITHIN: Duration = Duration::from_millis(1);
/// Between two looks at the mailboxes.
const GAUGE_EVERY: Duration = Duration::from_millis(500);
/// A fault that found nothing to strike is tried again so much later.
const STRIKE_AGAIN: Duration = Duration::from_millis(250);

/// Who takes part in every life.
pub(super) struct Cast {
    pub(super) scene: Scene,
    pub(super) provider: Arc<Provider>,
    pub(super) board: Arc<Board>,
    pub(super) client: Client,
    pub(super) plan: Plan,
    pub(super) sabotage: Option<Sabotage>,
}

/// How a life ended.
#[derive(Debug)]
pub(super) enum End {
    /// The plan killed it.
    Died,
    /// It gave up by itself, as a service manager sees it; why.
    Fell(String),
    /// All is done, or the time is up.
    Over,
}

/// What a life leaves behind, for the trace and the figures.
#[derive(Debug, Default)]
pub(super) struct Remains {
    pub(super) trace: u64,
    pub(super) steps: u64,
}

impl Cast {
    /// Lives one life, in a runtime of its own that ends with it.
    pub(super) async fn live(&self, life: u32) -> Result<(End, Remains), PartsError> {
        self.scene.begin();
        let world = World::simulated(reboot(self.plan.seed, u64::from(life)), self.network());
        world.jump(self.scene.clock_offset_ms());
        self.listen(&world);
        if !self.plan.yields {
            world.still();
        }
        let end = tokio::select! {
            biased;
            () = self.scene.died() => End::Died,
            end = self.act(&world, life) => end?,
        };
        world.trouble(None);
        Ok((end, Remains { trace: world.trace_hash().unwrap_or_default(), steps: world.steps() }))
    }

    async fn act(&self, world: &World, life: u32) -> Result<End, PartsError> {
        self.scene.make_room();
        self.make_room(world);
        let mut parts = parts(world, self.scene.disk())?;
        let scene = self.scene.clone();
        let disk: Arc<dyn Disk> = Arc::new(self.scene.disk().clone());
        parts.disk = watched(disk, Arc::new(move |point| scene.pass(at_disk(point))));
        if let Some(budget) = self.plan.workload.budget {
            parts.policies.budget.workspace = policies::budget::Limits::total(budget);
        }
        if self.plan.workload.stand_in {
            have_stand_ins(&mut parts, world)?;
        }
        let board = self.platform(world)?;
        parts.publishers.values_mut().for_each(|publisher| *publisher = Arc::clone(&board));
        parts.observer = Some(Arc::new(Watch::new(self.scene.clone(), parts.policies.tree.clone())));
        if let Some(sabotage) = self.sabotage {
            sabotage.apply(&mut parts);
        }
        let system = match System::start(parts).await {
            Ok(system) => Arc::new(system),
            Err(error) => {
                // A start that failed because the plan has killed it is that death, and no second one.
                self.scene.hold_if_dead().await;
                return Ok(End::Fell(Failure::classify(&error).message));
            }
        };
        self.scene.hold_if_dead().await;
        self.scene.see(Seen::Ready { life });
        let server = router(Arc::clone(&system));
        let server = self.sabotage.map_or(server.clone(), |sabotage| sabotage.stand_at(server));
        let end = tokio::select! {
            biased;
            ended = system.tree().wait() => Some(ended),
            () = self.disturb(world, &system, &server) => None,
            () = self.gauge(&system) => None,
            () = self.attend(&server) => None,
            () = tokio::time::sleep(self.time_left()) => None,
        };
        match end {
            Some(ended) => {
                self.count_orphans(world).await;
                Ok(End::Fell(match ended {
                    Ended::Escalated(failure) => failure.to_string(),
                    other => format!("{other:?}"),
                }))
            }
            None => {
                self.close(world, &system).await;
                Ok(End::Over)
            }
        }
    }

    /// Until the client is done, no fault can come any more, and it has looked back at what became of all.
    async fn attend(&self, server: &axum::Router) {
        self.client.attend(server).await;
        let rest = Duration::from_millis(self.plan.duration_ms).saturating_sub(self.scene.now());
        self.scene.sleep(rest).await;
        self.client.look_back(server).await;
    }

    fn time_left(&self) -> Duration {
        Duration::from_millis(self.plan.duration_ms + self.plan.quiet_ms).saturating_sub(self.scene.now())
    }

    async fn close(&self, world: &World, system: &Arc<System>) {
        let stuck = tokio::time::timeout(SHUTDOWN_MAX, system.shutdown()).await.is_err();
        self.count_orphans(world).await;
        // What was cancelled by the shutdown has its turn to notice.
        tokio::time::sleep(GAUGE_EVERY).await;
        self.board.settle_late();
        let unfinished = self.client.unfinished();
        let tasks = world.tasks() as u64 + u64::from(stuck);
        self.scene.see(Seen::Over { tasks, unfinished, orphans: self.scene.orphans() });
    }

    /// Counts the actors that are alive though their tree has ended: what the runtime has of tasks beside
    /// those that the world has started, for everything but ractor's actors is started by the world. A timer
    /// of ractor counts too: it holds the actor that it is for.
    async fn count_orphans(&self, world: &World) {
        // The last actors of the tree have their turn to go.
        tokio::time::sleep(GONE_WITHIN).await;
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        self.scene.orphaned(alive.saturating_sub(world.tasks()) as u64);
    }

    /// Applies each fault that strikes by itself, at its time; never ends.
    async fn disturb(&self, world: &World, system: &Arc<System>, server: &axum::Router) {
        let end = Duration::from_millis(self.plan.duration_ms);
        loop {
            let now = self.scene.now();
            if now >= end {
                self.scene.weather(|weather, _| weather.clear());
                self.scene.disk().set_capacity(None);
                return std::future::pending().await;
            }
            for due in self.scene.weather(Weather::due) {
                self.strike(due, world, system, server).await;
            }
            let next = self.scene.weather(|weather, _| weather.next_due()).unwrap_or(end).min(end);
            self.scene.sleep(next.saturating_sub(self.scene.now()).max(Duration::from_millis(1))).await;
        }
    }

    async fn strike(&self, due: Due, world: &World, system: &Arc<System>, server: &axum::Router) {
        let Due { number, fault, mut chance } = due;
        match fault {
            Fault::Disk { effect } => {
                self.scene.see(Seen::Struck { number });
                self.spoil(world, effect);
            }
            Fault::Clock { by_ms } => {
                self.scene.see(Seen::Struck { number });
                self.scene.jump(by_ms);
                world.jump(by_ms);
            }
            Fault::Crash { loss, .. } => {
                self.scene.see(Seen::Struck { number });
                self.scene.die(Death { point: None, loss });
            }
            Fault::Actor { target, effect: ActorEffect::Kill } => {
                while !self.kill(system, &target, chance.below(u64::MAX)).await {
                    if self.scene.now() >= Duration::from_millis(self.plan.duration_ms) {
                        return;
                    }
                    self.scene.sleep(STRIKE_AGAIN).await;
                }
                self.scene.see(Seen::Struck { number });
            }
            Fault::Actor { effect: ActorEffect::Flood { messages }, .. } => {
                let nth = chance.below(u64::MAX);
                let run = loop {
                    match self.client.some_run(nth) {
                        Some(run) => break run,
                        None if self.scene.now() >= Duration::from_millis(self.plan.duration_ms) => return,
                        None => self.scene.sleep(STRIKE_AGAIN).await,
                    }
                };
                self.scene.see(Seen::Struck { number });
                self.client.flood(server, &run, messages).await;
            }
            Fault::Actor { .. } | Fault::Provider { .. } | Fault::Platform { .. } => {}
        }
    }

    fn spoil(&self, world: &World, effect: DiskEffect) {
        let disk = self.scene.disk();
        match effect {
            DiskEffect::SyncError => disk.fail_next_sync(),
            DiskEffect::AppendError => disk.fail_nth(Operation::Append, 1),
            DiskEffect::Full { for_ms } => {
                self.scene.fill_disk(Duration::from_millis(for_ms));
                self.make_room(world);
            }
        }
    }

    /// Makes room on a full disk when its time has come. A disk that was full at a death is full at the next start.
    fn make_room(&self, world: &World) {
        if let Some(time) = self.scene.full_for() {
            let scene = self.scene.clone();
            world.spawn("chaos/room", async move {
                tokio::time::sleep(time).await;
                scene.make_room();
            });
        }
    }

    /// Kills one of the actors that the pattern names; whether there was one.
    async fn kill(&self, system: &Arc<System>, target: &str, nth: u64) -> bool {
        let picture = system.picture();
        let names: Vec<&str> = picture.root.nodes().map(|node| node.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| covers(target, name)).collect();
        let Some(place) = usize::try_from(nth >> 1).ok().and_then(|nth| nth.checked_rem(names.len())) else {
            return false;
        };
        match names.get(place) {
            Some(name) => system.tree().fault(name, Kill::Kill).await.is_ok(),
            None => false,
        }
    }

    /// Notes how full the mailboxes are, now and then; never ends.
    async fn gauge(&self, system: &Arc<System>) {
        let mut gauge = Gauge::default();
        loop {
            self.scene.sleep(GAUGE_EVERY).await;
            system.tree().mailboxes(|child, depth| {
                if let Some(seen) = gauge.see(child, depth) {
                    self.scene.see(seen);
                }
            });
        }
    }

    fn network(&self) -> Arc<dyn transport::Transport> {
        let (provider, board) = (Arc::clone(&self.provider), Arc::clone(&self.board));
        transport::scripted(move |request| {
            let (provider, board) = (Arc::clone(&provider), Arc::clone(&board));
            async move {
                match request.uri().host() {
                    Some("platform.test") => board.serve(request).await,
                    _ => provider.serve(request.body()).await,
                }
            }
        })
    }

    fn platform(&self, world: &World) -> Result<Arc<dyn agents::publisher::Publisher>, PartsError> {
        let careful = self.plan.workload.platform == Platform::Careful;
        let options = agents::publisher::WebhookOptions {
            deduplicates: careful || self.sabotage == Some(Sabotage::PostsWithoutAsking),
            can_be_asked: careful,
            ..agents::publisher::WebhookOptions::new("http://platform.test/posts")
        };
        Ok(Arc::new(agents::publisher::WebhookPublisher::new(options, world.http())?))
    }

    fn listen(&self, world: &World) {
        let scene = self.scene.clone();
        world.listen(Arc::new(move |line| {
            scene.line(line);
            let mut words = line.split(' ');
            if let (Some("breaker"), Some(guard), Some(to)) = (words.next(), words.next(), words.next()) {
                scene.see(Seen::BreakerMoved { guard: guard.to_owned(), to: to.to_owned() });
            }
        }));
        world.trouble(Some(Arc::new(Storm(self.scene.clone()))));
    }
}

fn at_disk(point: DiskPoint) -> Point {
    match point {
        DiskPoint::AppendBefore => Point::AppendBefore,
        DiskPoint::AppendAfter => Point::AppendAfter,
        DiskPoint::SyncBefore => Point::SyncBefore,
        DiskPoint::SyncAfter => Point::SyncAfter,
    }
}

/// Makes trouble as the weather has it.
struct Storm(Scene);

impl Troublemaker for Storm {
    fn strike(&self, actor: &str) -> Option<Trouble> {
        self.0.strike(|weather, now| weather.actor(actor, now))
    }
}

/// Notes restarts and escalations.
struct Watch {
    scene: Scene,
    tree: TreePolicy,
    /// The class of each child's latest failure, which is told before its restart.
    classes: std::sync::Mutex<std::collections::BTreeMap<String, String>>,
}

impl Watch {
    fn new(scene: Scene, tree: TreePolicy) -> Self {
        Self { scene, tree, classes: std::sync::Mutex::default() }
    }

    fn classes(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<String, String>> {
        self.classes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn supervisor(&self, child: &str) -> String {
        let declared = self.tree.parent(child).map(str::to_owned);
        declared.unwrap_or_else(|| child.split('/').next().map(|kind| format!("{kind}s")).unwrap_or_default())
    }
}

impl Observer for Watch {
    fn event(&self, event: SupervisionEvent) {
        match event {
            SupervisionEvent::ChildDown { child, class: Some(class), .. } => {
                let class = serde_json::to_value(class).ok().and_then(|class| class.as_str().map(str::to_owned));
                self.classes().insert(child, class.unwrap_or_default());
            }
            SupervisionEvent::Restarting { child, .. } => {
                let class = self.classes().get(&child).cloned().unwrap_or_default();
                let supervisor = self.supervisor(&child);
                self.scene.see(Seen::Restarted { child, supervisor, class });
            }
            SupervisionEvent::Escalated { supervisor, .. } => self.scene.see(Seen::Escalated { supervisor }),
            _ => {}
        }
    }
}

impl Scene {
    /// What the disk suffers when the process has ended, and the time until it is started again.
    pub(super) fn bury(&self, seed: u64, life: u32) {
        let loss = self.death().map_or(Loss::KeepAll, |death| death.loss);
        self.disk().power_cut(match loss {
            Loss::KeepAll => storage::disk::sim::Loss::KeepAll,
            Loss::LoseUnsynced => storage::disk::sim::Loss::LoseUnsynced,
            Loss::Torn => storage::disk::sim::Loss::Torn { seed: seed ^ u64::from(life) },
        });
    }
}
