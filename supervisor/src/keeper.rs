//! The supervisor actor.
//!
//! Invariant: a handler never awaits. It enters what happened in the [`Books`] and carries
//! out their orders by starting tasks, which report back as messages; when the actor ends,
//! its tasks end with it.

mod message;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::latest::Latest;
use actors::world::{Chance, World};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::board::{Board, NodeId};
use crate::books::{Books, Child, End, Moment, Order, Report};
use crate::child::StartError;
use crate::dynamic::SpawnError;
use crate::failure::Exit;
use crate::observer::{Observer, Sphere};
use crate::plan::{ChildPlan, Maker, SupervisorPlan};
use crate::plans::{Edition, Plans};
use crate::prospects::{self, Prospects};
use crate::snapshot::{NodeKind, NodeState};
use crate::stop::Manner;
use crate::tree::Fault;
use crate::word::Word;
pub(crate) use message::Message;

/// What all supervisors of one tree share.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) board: Board,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) prospects: Arc<dyn Prospects>,
    pub(crate) plans: Plans,
}

/// What a supervisor is started with.
pub(crate) struct Launch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Arc<SupervisorPlan>,
    pub(crate) stage: Latest<Stage>,
}

/// How far a supervisor has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not every child has been up yet.
    Starting,
    Up,
    /// Its children are being stopped.
    Closing,
    /// Its children are down, and it is about to be.
    Ended(End),
}

/// The actor itself: one supervisor.
pub(crate) struct Keeper;

pub(crate) struct State {
    shared: Arc<Shared>,
    plan: Arc<SupervisorPlan>,
    /// Which policy the plan is of.
    edition: Edition,
    books: Books,
    chance: Chance,
    children: BTreeMap<NodeId, Arc<ChildPlan>>,
    starts: BTreeMap<NodeId, Task>,
    stops: BTreeMap<NodeId, Task>,
    timers: BTreeMap<NodeId, Task>,
    /// Children that were killed, and are waited for.
    kills: BTreeMap<NodeId, Task>,
    /// Children that finish what is under way.
    drains: BTreeMap<NodeId, Task>,
    stage: Latest<Stage>,
    spawned: BTreeMap<NodeId, oneshot::Sender<Result<ActorCell, SpawnError>>>,
    terminated: BTreeMap<NodeId, Vec<oneshot::Sender<()>>>,
    manner: Manner,
    /// A start was dropped half-way, so an actor may be linked that nobody reported.
    strays: bool,
}

type Task = AbortOnDropHandle<()>;

impl Actor for Keeper {
    type Msg = Message;
    type State = State;
    type Arguments = Launch;

    async fn pre_start(&self, _me: ActorRef<Message>, launch: Launch) -> Result<State, ActorProcessingErr> {
        Ok(State::new(launch))
    }

    async fn post_start(&self, me: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.carry_out(&me)
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.keep_to_the_policy();
        state.receive(&me, message);
        state.carry_out(&me)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.keep_to_the_policy();
        if let Some((actor, exit)) = Exit::of(&event) {
            if let Some(id) = state.books.child_of(actor) {
                state.shared.board.kill_below(id);
            }
            let at = state.moment();
            state.books.exited(actor, exit, at);
        }
        state.carry_out(&me)
    }
}

impl State {
    fn new(launch: Launch) -> Self {
        let Launch { shared, plan, stage } = launch;
        let (edition, plan) = shared.plans.take_up(plan.node, |edition, in_force| {
            let plan = in_force.cloned().unwrap_or(plan.clone());
            // Children of an earlier life that came at run time, or that a reload took out, are not known.
            let order: Vec<NodeId> = plan.children.iter().map(|child| child.node).collect();
            shared.board.keep_only(plan.node, &order);
            shared.board.arrange(plan.node, &order);
            (edition, plan)
        });
        let chance = shared.world.chance(&plan.name);
        let mut books = Books::new(&plan.name, plan.regime, plan.intensity);
        let mut children = BTreeMap::new();
        for child in &plan.children {
            let history = shared.board.history(child.node);
            books.add(child.node, Child::after(history, &child.name, child.rules.clone()));
            children.insert(child.node, Arc::clone(child));
        }
        Self {
            shared,
            plan,
            edition,
            books,
            chance,
            children,
            starts: BTreeMap::new(),
            stops: BTreeMap::new(),
            timers: BTreeMap::new(),
            kills: BTreeMap::new(),
            drains: BTreeMap::new(),
            stage,
            spawned: BTreeMap::new(),
            terminated: BTreeMap::new(),
            manner: Manner::Stop,
            strays: false,
        }
    }

    fn moment(&mut self) -> Moment {
        Moment { now: self.shared.world.elapsed(), chance: self.chance.unit() }
    }

    /// Takes the plan in force up before anything is decided, if it is another than it was.
    fn keep_to_the_policy(&mut self) {
        if self.shared.plans.edition() == self.edition {
            return;
        }
        let Shared { plans, board, .. } = &*self.shared;
        let in_force = plans.take_up(self.plan.node, |edition, plan| {
            let plan = Arc::clone(plan?);
            if plan.template.is_none() {
                // Nobody else knows of children that came and went by policies that were never taken up.
                let known = plan.children.iter().map(|child| child.node).chain(self.children.keys().copied());
                board.keep_only(plan.node, &known.collect::<Vec<_>>());
            }
            Some((edition, plan))
        });
        let Some((edition, plan)) = in_force else { return };
        self.edition = edition;
        self.books.govern(plan.regime, plan.intensity);
        match &plan.template {
            Some(template) => {
                for child in self.children.values_mut() {
                    *child = Arc::new(child.under(template));
                }
            }
            None => self.reshape(&plan),
        }
        for (node, child) in &self.children {
            self.books.amend(*node, child.rules.clone());
        }
        self.plan = plan;
    }

    /// Takes the children of the plan in, and lets those go that it does not have.
    fn reshape(&mut self, plan: &SupervisorPlan) {
        for child in &plan.children {
            self.children.insert(child.node, Arc::clone(child));
        }
        let order: Vec<NodeId> = plan.children.iter().map(|child| child.node).collect();
        let (board, children) = (&self.shared.board, &self.children);
        self.books.reshape(&order, |node| {
            let child = children.get(&node)?;
            Some(Child::after(board.history(node), &child.name, child.rules.clone()))
        });
        board.arrange(plan.node, &self.books.order());
    }

    fn receive(&mut self, me: &ActorRef<Message>, message: Message) {
        let at = self.moment();
        match message {
            Message::Started { node, generation, result } => self.start_reported(me, node, generation, result, at),
            Message::Vanished { node, generation } => self.books.vanished(node, generation, at),
            Message::Stopped { node, generation, dropped_start, stuck } => {
                self.strays |= dropped_start;
                if stuck {
                    self.books.stuck(node, generation);
                }
                self.stops.remove(&node);
                self.shared.board.clear_cell(node);
                self.books.stopped(node, generation);
            }
            Message::Stuck { node, generation } => self.books.stuck(node, generation),
            Message::BackoffOver { node, generation } => self.books.woke(node, generation),
            // It was taken up before this was looked at.
            Message::Governed => {}
            Message::Close { manner } => {
                self.manner = manner;
                self.books.close(End::Closed);
            }
            // An asker who has gone needs no answer.
            Message::Fault { node, fault, reply } => drop(reply.send(self.kill(me, node, fault))),
            Message::Told { node, word, reply } => drop(reply.send(self.told(me, node, word))),
            Message::Drained { node, generation } => self.books.drained(node, generation),
            Message::Spawn { name, factory, reply } => match self.admit(&name, Maker::Worker(factory)) {
                Ok(node) => drop(self.spawned.insert(node, reply)),
                Err(refused) => drop(reply.send(Err(refused))),
            },
            Message::Terminate { node, reply } => {
                if self.books.retire(node) {
                    self.terminated.entry(node).or_default().push(reply);
                }
            }
        }
    }

    /// Kills a child that is up, and sees to it that it ends.
    fn kill(&mut self, me: &ActorRef<Message>, node: NodeId, fault: Fault) -> bool {
        let (Some(child), Some(cell)) = (self.children.get(&node), self.shared.board.cell(node)) else { return false };
        let Some(generation) = self.books.blame(node, fault) else { return false };
        cell.kill();
        // Killed again, it has no more time than it had.
        let watch = || tasks::watch_kill(&self.shared, me, child, generation, cell);
        self.kills.entry(node).or_insert_with(watch);
        true
    }

    /// Does as an operator says; else where the child is.
    fn told(&mut self, me: &ActorRef<Message>, node: NodeId, word: Word) -> Result<(), NodeState> {
        self.drains.remove(&node);
        if !self.books.told(node, word) {
            return Err(self.books.view(node).map_or(NodeState::Done, |view| view.state));
        }
        if let Some(generation) = self.books.draining(node) {
            self.drains.insert(node, tasks::watch_drain(&self.shared, me, node, generation));
        }
        Ok(())
    }

    fn start_reported(
        &mut self,
        me: &ActorRef<Message>,
        node: NodeId,
        generation: u64,
        result: Result<ActorCell, StartError>,
        at: Moment,
    ) {
        match result {
            Ok(cell) => {
                if self.books.started(node, generation, cell.get_id(), at) == Report::Stale {
                    cell.kill();
                    return;
                }
                self.starts.remove(&node);
                // Its exit was heard before, is in our queue, or will never be heard; a message
                // to ourselves comes after what is in the queue.
                if cell.get_status() >= ActorStatus::Stopping {
                    let _ = me.send_message(Message::Vanished { node, generation });
                }
                if let Some(reply) = self.spawned.remove(&node) {
                    let _ = reply.send(Ok(cell));
                }
            }
            Err(error) => {
                self.starts.remove(&node);
                self.books.start_failed(node, generation, error.0.clone(), at);
                if let Some(reply) = self.spawned.remove(&node) {
                    let _ = reply.send(Err(SpawnError::Start(error)));
                }
            }
        }
    }

    /// Takes in a child at run time, if there is room for one more.
    fn admit(&mut self, name: &str, maker: Maker) -> Result<NodeId, SpawnError> {
        let Some(template) = &self.plan.template else {
            return Err(SpawnError::NotDynamic { supervisor: self.plan.name.clone() });
        };
        if self.books.is_closing() {
            return Err(SpawnError::Down { supervisor: self.plan.name.clone() });
        }
        if self.books.len() >= template.limit {
            let (supervisor, max) = (self.plan.name.clone(), template.limit);
            return Err(SpawnError::Full { supervisor, max });
        }
        let node = self.shared.board.add(Some(self.plan.node), name, NodeKind::Worker);
        let node = node.map_err(|_| SpawnError::NameTaken { name: name.to_owned() })?;
        let (rules, shutdown, kill) = (template.rules.clone(), template.shutdown, template.kill);
        self.books.add(node, Child::new(name, rules.clone(), 0, 0));
        let child = ChildPlan { node, name: name.to_owned(), rules, shutdown, kill, maker };
        self.children.insert(node, Arc::new(child));
        Ok(node)
    }

    /// Does what the books say now.
    fn carry_out(&mut self, me: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        if self.strays && self.starts.is_empty() {
            self.strays = false;
            let linked = me.get_children();
            linked.iter().filter(|cell| self.books.child_of(cell.get_id()).is_none()).for_each(ActorCell::kill);
        }
        let shared = Arc::clone(&self.shared);
        let orders = self.books.orders(|child, asks| prospects::hold(shared.prospects.as_ref(), child, asks));
        if self.books.is_closing() {
            self.reach(Stage::Closing);
        }
        for order in orders {
            match order {
                Order::Start(node, generation) => self.start(me, node, generation),
                Order::Stop(node, generation) => self.stop(me, node, generation),
                Order::Wake(node, generation, after) => {
                    self.timers.insert(node, tasks::wake(&self.shared, me, node, generation, after));
                }
                Order::Show(node) => self.show(node),
                Order::Failed(node, failure) => self.shared.board.record_failure(node, &failure),
                Order::Forget(node) => self.forget(node),
                Order::Tell(event) => {
                    let sphere = Sphere { supervisor: &self.plan.name, is_dynamic: self.plan.template.is_some() };
                    self.shared.observer.event_in(sphere, event);
                }
                Order::Ready => self.reach(Stage::Up),
                Order::End(end) => return self.end(me, end),
            }
        }
        Ok(())
    }

    fn start(&mut self, me: &ActorRef<Message>, node: NodeId, generation: u64) {
        self.timers.remove(&node);
        self.kills.remove(&node);
        self.drains.remove(&node);
        self.shared.board.clear_cell(node);
        if let Some(child) = self.children.get(&node) {
            self.starts.insert(node, tasks::start(&self.shared, me, child, generation));
        }
    }

    fn stop(&mut self, me: &ActorRef<Message>, node: NodeId, generation: u64) {
        let start = self.starts.remove(&node);
        if let Some(child) = self.children.get(&node) {
            let stop = tasks::Stop { start, manner: self.manner };
            self.stops.insert(node, tasks::stop(&self.shared, me, child, generation, stop));
        }
    }

    fn show(&self, node: NodeId) {
        if let Some(view) = self.books.view(node) {
            self.shared.board.record(node, view);
        }
    }

    fn forget(&mut self, node: NodeId) {
        self.timers.remove(&node);
        self.kills.remove(&node);
        self.drains.remove(&node);
        self.children.remove(&node);
        self.shared.board.remove(node);
        if let Some(reply) = self.spawned.remove(&node) {
            let _ = reply.send(Err(SpawnError::Down { supervisor: self.plan.name.clone() }));
        }
        for reply in self.terminated.remove(&node).unwrap_or_default() {
            let _ = reply.send(());
        }
    }

    fn reach(&self, stage: Stage) {
        self.stage.set_if(|at| {
            let moved = *at != stage;
            *at = stage;
            moved
        });
    }

    fn end(&mut self, me: &ActorRef<Message>, end: End) -> Result<(), ActorProcessingErr> {
        self.reach(Stage::Ended(end.clone()));
        match end {
            End::Closed | End::Finished => {
                me.stop(None);
                Ok(())
            }
            End::Escalated(failure) => Err(Box::new(failure)),
        }
    }
}
