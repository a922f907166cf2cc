//! What the tests of this crate stand on: a world, a simulated disk with a
//! journal on it that can be cut off and opened again, and actors in their fronts.

pub(crate) mod batches;

use std::sync::Arc;

use actors::guard::{Guards, Permit};
use actors::latest::Watcher;
use actors::transport;
use actors::world::World;
use policies::budget::{BudgetPolicy, ScopeId};
use policies::instant::Timestamp;
use policies::money::Money;
use policies::span::Span;
use policies::tokens::{Tokens, Usage};
use ractor::{Actor, ActorRef};
use serde_json::Value;
use storage::disk::sim::{Loss, SimDisk};
use storage::journal::{
    Batch, Event, INDEX_VERSION, Journal, NewEvent, Options, RecordId, Seq, StreamId, TraceId, Version, Write,
};
use storage::snapshots::Snapshots;
use storage::views::Shelves;
use storage::views::memory::MemoryShelves;

use crate::front::Front;
use crate::ledger::{AlertHook, LedgerActor, LedgerArguments, LedgerHandle, LedgerMsg};
use crate::run::{self, Accepted, EffectKey, EffectOutcome, Intended, Resolved, RunId, Terms, Then};
use crate::workflow::{Action, AgentCall, EffectClass, StepPath, Workflow};

/// A system's ground. The world must be made within a runtime.
pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) disk: SimDisk,
    pub(crate) journal: Journal,
    pub(crate) snapshots: Arc<Snapshots>,
    records: u128,
}

impl Ground {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = SimDisk::new();
        let world = World::simulated(seed, transport::unplugged());
        Self {
            journal: open(&world, &disk),
            snapshots: Arc::new(Snapshots::open(Arc::new(disk.clone())).unwrap()),
            world,
            disk,
            records: 0,
        }
    }

    /// A ledger over this journal, up, held to a policy that may change; with a place for its alerts.
    pub(crate) async fn ledger(
        &self,
        policy: Watcher<BudgetPolicy>,
        hook: Option<AlertHook>,
    ) -> (LedgerHandle, ActorRef<LedgerMsg>) {
        let handle = LedgerHandle::new();
        let arguments = LedgerArguments {
            workspace: "main".to_owned(),
            policy,
            journal: self.journal.clone(),
            recent: Default::default(),
            snapshots: self.snapshots.clone(),
            factors: handle.factors().clone(),
            hook,
        };
        let actor = start(handle.front(), LedgerActor::new(self.world.clone()), arguments).await;
        (handle, actor)
    }

    /// The machine loses power and comes back.
    pub(crate) async fn crash(&mut self, loss: Loss) {
        self.disk.power_cut(loss);
        self.journal = open(&self.world, &self.disk);
    }

    /// Appends one event of that kind, if the stream of the precondition is at its version.
    pub(crate) async fn append(
        &mut self,
        stream: &str,
        kind: &str,
        payload: &Value,
        precondition: Option<(StreamId, Version)>,
    ) -> Result<Seq, storage::journal::AppendError> {
        self.records += 1;
        let event = NewEvent {
            kind: kind.to_owned(),
            schema: 1,
            time: self.world.now(),
            principal: "test".to_owned(),
            trace: TraceId(1),
            cause: None,
            subject: None,
            payload: serde_json::to_vec(payload).unwrap(),
        };
        let batch = Batch {
            id: RecordId(u128::MAX - self.records),
            writes: vec![Write { stream: StreamId::from(stream), expected: None, events: vec![event] }],
            preconditions: precondition.into_iter().collect(),
        };
        self.journal.append(batch).await.map(|appended| appended.last)
    }

    /// Appends an event of a run, as its actor does.
    pub(crate) async fn run(
        &mut self,
        run: &str,
        event: &crate::run::Event,
        precondition: Option<(StreamId, Version)>,
    ) -> Result<Seq, storage::journal::AppendError> {
        let payload = serde_json::to_value(event).unwrap();
        self.append(&format!("run/{run}"), event.kind(), &payload, precondition).await
    }

    /// Appends so many events that mean nothing to anybody.
    pub(crate) async fn fill(&mut self, count: usize) {
        const BATCH: usize = 1000;
        for from in (0..count).step_by(BATCH) {
            self.records += 1;
            let event = NewEvent {
                kind: "test.noise".to_owned(),
                schema: 1,
                time: self.world.now(),
                principal: "test".to_owned(),
                trace: TraceId(1),
                cause: None,
                subject: None,
                payload: b"null".to_vec(),
            };
            let events = vec![event; BATCH.min(count - from)];
            let writes = vec![Write { stream: StreamId::from("noise"), expected: None, events }];
            let batch = Batch { id: RecordId(u128::MAX - self.records), writes, preconditions: Vec::new() };
            self.journal.append(batch).await.unwrap();
        }
    }

    /// Every event.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.journal.read(Seq::FIRST, usize::MAX >> 1).unwrap()
    }
}

fn open(world: &World, disk: &SimDisk) -> Journal {
    let index = MemoryShelves::new().open("journal", INDEX_VERSION).unwrap();
    let now: Timestamp = world.now();
    let (journal, committer, _) = Journal::open(Arc::new(disk.clone()), index, Options::default(), now).unwrap();
    world.spawn("committer", committer.run());
    journal
}

/// Starts an actor and puts it in its front.
pub(crate) async fn start<A: Actor>(front: &Front<A::Msg>, actor: A, arguments: A::Arguments) -> ActorRef<A::Msg> {
    let (actor, _) = Actor::spawn(None, actor, arguments).await.unwrap();
    front.slot().publish(actor.clone());
    actor
}

/// A permit of a guard that nothing else uses.
pub(crate) fn permit(world: &World) -> Permit {
    Guards::new(world.clone(), policies::guard::Guards::builtin().unwrap()).get("test").try_admit().unwrap()
}

/// A plain call of the writer.
pub(crate) fn call(prompt: &str) -> AgentCall {
    AgentCall { agent: "writer".to_owned(), prompt: prompt.to_owned(), output_max: Tokens(10), ..AgentCall::default() }
}

/// That a run of that name was accepted, at that moment.
pub(crate) fn accepted(run: &str, at: Timestamp) -> run::Event {
    let workflow = Workflow {
        name: "announce".to_owned(),
        description: String::new(),
        inputs: Default::default(),
        data: Default::default(),
        steps: Vec::new(),
        outputs: Default::default(),
    };
    run::Event::Accepted(Arc::new(Accepted {
        at,
        id: RunId::new(run),
        version: workflow.version(),
        workflow: Arc::new(workflow),
        inputs: Default::default(),
        principal: "test".to_owned(),
        terms: Terms::default(),
    }))
}

/// An intent of a model call at that path.
pub(crate) fn intended(path: &str, key: &str, attempt: u32, reserved: Money, scopes: Vec<ScopeId>) -> Intended {
    let request = Action::Agent(call("Write."));
    Intended {
        at: Timestamp::EPOCH,
        key: as_key(key),
        path: StepPath::from(path),
        attempt,
        class: EffectClass::Model,
        request,
        request_hash: String::new(),
        reserved,
        scopes,
        granted: None,
        stand_in: None,
        choice: None,
        call: None,
    }
}

/// The end of an attempt that went well.
pub(crate) fn resolved(path: &str, key: &str, attempt: u32, cost: Money) -> Resolved {
    Resolved {
        at: Timestamp::EPOCH,
        key: as_key(key),
        path: StepPath::from(path),
        attempt,
        outcome: EffectOutcome::ok(Value::Null),
        cost,
        usage: Usage { input: Tokens(7), output: Tokens(3), ..Usage::default() },
        remote_id: None,
        took: Span::from_millis(250),
        then: Then::Done,
        death: None,
        replied: None,
    }
}

fn as_key(key: &str) -> EffectKey {
    serde_json::from_value(key.into()).unwrap()
}
