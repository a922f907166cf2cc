//! What the durable actor promises, on a simulated disk and with time paused.

mod answers;
mod directory;
mod letters;
mod lives;

use std::sync::Mutex;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use storage::disk::sim::SimDisk;
use storage::journal::{Committer, INDEX_VERSION, Journal, StreamId, Version};
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

use super::*;
use crate::entity::{Decided, Decision};
use crate::transport::unplugged;

/// A sum of what was added.
struct Tally;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum(u64);

#[derive(Clone, Debug)]
enum Command {
    Add(u64),
    /// Adds one if the stream is still there.
    AddProvided(StreamId, Version),
    Ask,
    Panic,
    Overflow,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Added(u64),
}

impl Entity for Tally {
    const KIND: &'static str = "tally";
    const SCHEMA: u16 = 1;
    type State = Sum;
    type Command = Command;
    type Event = Event;
    type Reply = u64;
    type Refusal = String;

    fn decide(state: &Sum, command: Command) -> Decided<Self> {
        let add = |n| Decision::happens(vec![Event::Added(n)], state.0 + n);
        match command {
            Command::Add(n) => Ok(add(n)),
            Command::AddProvided(stream, version) => Ok(add(1).provided(stream, version)),
            Command::Ask => Ok(Decision::answer(state.0)),
            Command::Panic => panic!("on purpose"),
            Command::Overflow => Err(format!("{} is enough", state.0)),
        }
    }

    fn gist(command: &Command) -> Option<String> {
        Some(format!("{command:?}"))
    }

    fn evolve(state: &mut Sum, Event::Added(n): &Event) {
        state.0 += n;
    }

    fn kind(_: &Event) -> &'static str {
        "added"
    }
}

/// Notes what the actor does with its host.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    ended: Mutex<Option<CancellationToken>>,
    busy: std::sync::atomic::AtomicBool,
}

impl Notes {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    /// What was noted since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

#[async_trait]
impl Host<Tally> for Notes {
    async fn prepare(&self, state: &Sum, command: Command) -> Command {
        self.note(format!("prepare {command:?} on {}", state.0));
        command
    }

    async fn started(&self, _: &Context<Tally>, state: &Sum, events: &[Event]) {
        // Others have their turn meanwhile.
        tokio::task::yield_now().await;
        self.note(format!("started {events:?} at {}", state.0));
    }

    async fn undone(&self, state: &Sum) {
        self.note(format!("undone at {}", state.0));
    }

    async fn recovered(&self, context: &Context<Tally>, state: &Sum) {
        *self.ended.lock().unwrap() = Some(context.ended().clone());
        self.note(format!("recovered {}", state.0));
    }

    fn idle(&self, _: &Sum) -> bool {
        !self.busy.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A disk and a spine on it.
struct Rig {
    disk: SimDisk,
    spine: Spine,
    notes: Arc<Notes>,
    /// Until it runs, nothing is ever synced: the slowest journal there is.
    committer: Option<Committer>,
}

impl Rig {
    /// A new disk, and a journal that syncs nothing yet.
    fn held(seed: u64) -> Self {
        Self::on(SimDisk::new(), &MemoryShelves::new(), seed)
    }

    /// A new disk, and a journal at work.
    fn new(seed: u64) -> Self {
        let mut rig = Self::held(seed);
        rig.commit();
        rig
    }

    fn on(disk: SimDisk, shelves: &MemoryShelves, seed: u64) -> Self {
        let world = World::simulated(seed, unplugged());
        let index = shelves.open("index", INDEX_VERSION).unwrap();
        let options = storage::journal::Options::default();
        let (journal, committer, _) = Journal::open(Arc::new(disk.clone()), index, options, world.now()).unwrap();
        let snapshots = Arc::new(Snapshots::open(Arc::new(disk.clone())).unwrap());
        let spine = Spine::new(world, journal, snapshots, Metrics::new());
        Self { disk, spine, notes: Arc::default(), committer: Some(committer) }
    }

    fn commit(&mut self) {
        self.spine.world.spawn("committer", self.committer.take().unwrap().run());
    }

    async fn start(&self, options: Options) -> Result<Handle<Tally>, StartError> {
        Durable::start(&self.spine, "t", self.notes.clone(), options, None).await
    }

    /// Asks in a task; what comes back is noted too.
    fn asking(&self, handle: &Handle<Tally>, command: Command) -> tokio::task::JoinHandle<Asked<Tally>> {
        let (handle, notes) = (handle.clone(), Arc::clone(&self.notes));
        self.spine.world.spawn("asks", async move {
            let asked = handle.ask(command.clone()).await;
            notes.note(format!("answer to {command:?}: {asked:?}"));
            asked
        })
    }
}

/// Until nothing moves any more, except what waits for longer.
async fn quiet() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn busy_for_ever() -> Options {
    Options { rest_after: None, ..Options::default() }
}
