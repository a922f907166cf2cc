//! A place to try trees in: workers that do as they are told, and a log of what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::transport;
use actors::world::World;
use policies::failure::FailureClass;
use policies::tree::{NodePolicy, TreePolicy};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{Factory, Failure, NodeState, Observer, Prospects, Slot, SupervisionEvent, Tree, TreeSnapshot, worker};

/// What a hand is told to do.
pub(super) enum Do {
    Panic,
    Fail(FailureClass),
    End,
    Sleep(Duration),
    /// Says that it has begun, and blocks its thread until the other end is dropped.
    Block(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>),
}

/// How the hand of one name behaves, in every generation.
#[derive(Clone, Default)]
pub(super) struct Habit {
    /// So many starts fail.
    pub(super) failing_starts: u32,
    pub(super) start_takes: Duration,
    pub(super) stop_takes: Duration,
}

#[derive(Default)]
pub(super) struct Record {
    log: Vec<String>,
    live: BTreeMap<String, usize>,
    /// Names of which two generations lived at once.
    doubles: Vec<String>,
    habits: BTreeMap<String, Habit>,
    events: Vec<SupervisionEvent>,
}

pub(super) type Shared = Arc<Mutex<Record>>;

/// A live hand; counted for as long as its state exists.
pub(super) struct Alive {
    name: String,
    record: Shared,
}

impl Drop for Alive {
    fn drop(&mut self) {
        *self.record.lock().unwrap().live.get_mut(&self.name).unwrap() -= 1;
    }
}

pub(super) struct Hand;

impl Actor for Hand {
    type Msg = Do;
    type State = Alive;
    type Arguments = (String, Shared);

    async fn pre_start(&self, _me: ActorRef<Do>, (name, record): Self::Arguments) -> Result<Alive, ActorProcessingErr> {
        let habit = record.lock().unwrap().habits.entry(name.clone()).or_default().clone();
        tokio::time::sleep(habit.start_takes).await;
        let mut locked = record.lock().unwrap();
        let left = &mut locked.habits.get_mut(&name).unwrap().failing_starts;
        if *left > 0 {
            *left -= 1;
            return Err("cannot start".into());
        }
        let live = locked.live.entry(name.clone()).or_default();
        *live += 1;
        if *live > 1 {
            locked.doubles.push(name.clone());
        }
        locked.log.push(format!("+{name}"));
        drop(locked);
        Ok(Alive { name, record })
    }

    async fn handle(&self, me: ActorRef<Do>, told: Do, _alive: &mut Alive) -> Result<(), ActorProcessingErr> {
        match told {
            Do::Panic => panic!("told to panic"),
            Do::Fail(class) => return Err(Box::new(Failure::new(class, "told to fail"))),
            Do::End => me.stop(None),
            Do::Sleep(time) => tokio::time::sleep(time).await,
            Do::Block(begun, until) => {
                let _ = begun.send(());
                let _ = until.recv();
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _me: ActorRef<Do>, alive: &mut Alive) -> Result<(), ActorProcessingErr> {
        let stop_takes = alive.record.lock().unwrap().habits[&alive.name].stop_takes;
        tokio::time::sleep(stop_takes).await;
        alive.record.lock().unwrap().log.push(format!("-{}", alive.name));
        Ok(())
    }
}

struct Listener(Shared);

impl Observer for Listener {
    fn event(&self, event: SupervisionEvent) {
        self.0.lock().unwrap().events.push(event);
    }
}

/// What restarts ask for.
#[derive(Default)]
pub(super) struct Weather {
    /// For how long the breaker that all share stays open.
    pub(super) breaker: Mutex<Option<Duration>>,
    /// Those whose next attempt no budget pays.
    pub(super) poor: Mutex<BTreeSet<String>>,
}

impl Prospects for Weather {
    fn breaker_open(&self, _child: &str) -> Option<Duration> {
        *self.breaker.lock().unwrap()
    }

    fn can_pay(&self, child: &str) -> bool {
        !self.poor.lock().unwrap().contains(child)
    }
}

/// A tree of hands.
pub(super) struct Yard {
    pub(super) weather: Arc<Weather>,
    pub(super) world: World,
    pub(super) record: Shared,
    pub(super) policy: TreePolicy,
    pub(super) factories: BTreeMap<String, Factory>,
    pub(super) slots: BTreeMap<String, Slot<Do>>,
}

impl Yard {
    pub(super) fn new(toml: &str) -> Self {
        Self::of(TreePolicy::read("tree.toml", toml).unwrap(), 1)
    }

    pub(super) fn of(policy: TreePolicy, seed: u64) -> Self {
        let world = World::simulated(seed, transport::unplugged());
        let mut yard = Self {
            weather: Arc::default(),
            world,
            record: Shared::default(),
            policy: policy.clone(),
            factories: BTreeMap::new(),
            slots: BTreeMap::new(),
        };
        for (name, node) in &policy.nodes {
            if matches!(node, NodePolicy::Worker(_)) {
                let factory = yard.hand(name);
                yard.factories.insert(name.clone(), factory);
            }
        }
        yard
    }

    /// A factory of hands, and its slot under that name.
    pub(super) fn hand(&mut self, name: &str) -> Factory {
        let (slot, record) = (Slot::new(), Arc::clone(&self.record));
        self.slots.insert(name.to_owned(), slot.clone());
        worker(slot, move |context| (Hand, (context.name.clone(), Arc::clone(&record))))
    }

    pub(super) fn habit(&self, name: &str, habit: Habit) {
        self.record.lock().unwrap().habits.insert(name.to_owned(), habit);
    }

    pub(super) async fn start(&self) -> Tree {
        let observer = Arc::new(Listener(Arc::clone(&self.record)));
        let (policy, factories) = (self.policy.clone(), self.factories.clone());
        Tree::start_with(self.world.clone(), policy, factories, observer, self.weather.clone()).await.unwrap()
    }

    /// Starts the tree, waits until it is up, and forgets what was logged on the way.
    pub(super) async fn up(&self) -> Tree {
        let tree = self.start().await;
        tree.ready().await.unwrap();
        self.take_log();
        self.record.lock().unwrap().events.clear();
        tree
    }

    pub(super) fn tell(&self, name: &str, told: Do) {
        let hand = self.slots[name].current().unwrap();
        hand.send_message(told).map_err(|_| "down").unwrap();
    }

    pub(super) fn take_log(&self) -> String {
        std::mem::take(&mut self.record.lock().unwrap().log).join(" ")
    }

    pub(super) fn take_events(&self) -> Vec<SupervisionEvent> {
        std::mem::take(&mut self.record.lock().unwrap().events)
    }

    /// The names of the hands that live.
    pub(super) fn live(&self) -> Vec<String> {
        let record = self.record.lock().unwrap();
        assert_eq!(record.doubles, Vec::<String>::new(), "two generations lived at once");
        record.live.iter().filter(|(_, live)| **live > 0).map(|(name, _)| name.clone()).collect()
    }
}

/// Waits (in paused time) until the picture is as told.
pub(super) async fn until(tree: &Tree, what: &str, is_so: impl Fn(&TreeSnapshot) -> bool) -> TreeSnapshot {
    for _ in 0..100_000 {
        let picture = tree.draw();
        if is_so(&picture) {
            return picture;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}: {:#?}", tree.draw());
}

/// Waits until this node is up in this generation.
pub(super) async fn up_again(tree: &Tree, name: &str, generation: u64) -> TreeSnapshot {
    until(tree, "up again", |picture| {
        picture.find(name).is_some_and(|node| node.state == NodeState::Up && node.generation == generation)
    })
    .await
}
