//! What takes time, as tasks that report back to their supervisor.
//!
//! Invariant: an actor that a start has made is on the board or dead before the supervisor
//! hears of it, and no supervisor starts while an actor of its earlier life still runs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actors::latest::Latest;
use futures::FutureExt;
use policies::failure::FailureClass;
use ractor::{Actor, ActorCell, ActorRef, ActorStatus};
use tokio_util::task::AbortOnDropHandle;

use super::{Keeper, Launch, Message, Shared, Stage, Task};
use crate::board::NodeId;
use crate::books::End;
use crate::child::{Factory, StartContext, StartError};
use crate::failure::Failure;
use crate::plan::{ChildPlan, Maker, SupervisorPlan};
use crate::stop::{self, Forced, Manner, Stopped};

/// Waits out a back-off.
pub(super) fn wake(shared: &Shared, me: &ActorRef<Message>, node: NodeId, generation: u64, after: Duration) -> Task {
    let me = me.clone();
    AbortOnDropHandle::new(shared.world.spawn("supervisor.backoff", async move {
        tokio::time::sleep(after).await;
        report(&me, Message::BackoffOver { node, generation });
    }))
}

/// Sees that a child that was killed ends in its time, and reports it when it does not.
pub(super) fn watch_kill(
    shared: &Shared,
    me: &ActorRef<Message>,
    child: &ChildPlan,
    generation: u64,
    cell: ActorCell,
) -> Task {
    let (me, node, within) = (me.clone(), child.node, child.kill);
    AbortOnDropHandle::new(shared.world.spawn("supervisor.kill", async move {
        if cell.wait(Some(within)).await.is_err() {
            report(&me, Message::Stuck { node, generation });
        }
    }))
}

/// Between two looks at what a child that is to drain has under way.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until nothing is under way at a child and below it, and reports that.
pub(super) fn watch_drain(shared: &Arc<Shared>, me: &ActorRef<Message>, node: NodeId, generation: u64) -> Task {
    let (watched, me) = (Arc::clone(shared), me.clone());
    AbortOnDropHandle::new(shared.world.spawn("supervisor.drain", async move {
        // What passed the gate before it closed is seen by the first look at the latest.
        tokio::time::sleep(LOOK_EVERY).await;
        while !watched.board.is_quiet(node) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        report(&me, Message::Drained { node, generation });
    }))
}

/// Between two looks whether those that a child takes the place of have ended.
const FREE_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Runs the child's factory, or starts the supervisor that it is.
pub(super) fn start(shared: &Arc<Shared>, me: &ActorRef<Message>, child: &Arc<ChildPlan>, generation: u64) -> Task {
    let (starting, me, child) = (Arc::clone(shared), me.clone(), Arc::clone(child));
    AbortOnDropHandle::new(shared.world.spawn("supervisor.start", async move {
        let start = async {
            while !starting.board.is_free(child.node) {
                tokio::time::sleep(FREE_LOOK_EVERY).await;
            }
            match &child.maker {
                Maker::Worker(factory) => start_worker(&starting, &me, &child, factory, generation).await,
                Maker::Supervisor(plan) => start_supervisor(&starting, &me, plan).await,
            }
        };
        let result = AssertUnwindSafe(start).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        let node = child.node;
        report(&me, Message::Started { node, generation, result });
    }))
}

async fn start_worker(
    shared: &Shared,
    me: &ActorRef<Message>,
    child: &ChildPlan,
    factory: &Factory,
    generation: u64,
) -> Result<ActorCell, StartError> {
    let gate = shared.board.gate(child.node);
    let context = StartContext::new(child.name.clone(), generation, me.get_cell()).behind(gate);
    let gauge = context.gauge();
    let cell = factory(context).await?;
    adopt(me, &cell)?;
    shared.board.set_cell(child.node, cell.clone(), gauge);
    Ok(cell)
}

/// Links a child that its factory left unlinked.
fn adopt(me: &ActorRef<Message>, cell: &ActorCell) -> Result<(), StartError> {
    if cell.try_get_supervisor().is_none() {
        cell.link(me.get_cell());
    }
    if me.get_status() >= ActorStatus::Draining {
        cell.kill();
        return Err(Failure::new(FailureClass::Shutdown, "its supervisor has ended").into());
    }
    Ok(())
}

/// Starts a supervisor, and waits until its children are up.
async fn start_supervisor(
    shared: &Arc<Shared>,
    me: &ActorRef<Message>,
    plan: &Arc<SupervisorPlan>,
) -> Result<ActorCell, StartError> {
    let leftover = shared.board.kill_below(plan.node);
    if !stop::wait_killed(&leftover).await {
        tracing::warn!(supervisor = plan.name, "an actor of its earlier life still runs blocking code");
    }
    let stage = Latest::new(Stage::Starting);
    let mut reached = stage.watch();
    let launch = Launch { shared: Arc::clone(shared), plan: Arc::clone(plan), stage };
    let (keeper, _) = Actor::spawn_linked(None, Keeper, launch, me.get_cell()).await?;
    shared.board.set_cell(plan.node, keeper.get_cell(), Arc::default());
    let up_or_ended = |stage: &Stage| matches!(stage, Stage::Up | Stage::Ended(_));
    match reached.wait_for(up_or_ended).await {
        Ok(Stage::Ended(End::Escalated(failure))) => {
            // It is about to end; its next life must not meet it.
            stop::wait_killed(&[keeper.get_cell()]).await;
            Err(failure.into())
        }
        // If it has ended already, its exit tells the rest.
        Ok(_) => Ok(keeper.get_cell()),
        Err(_) => Err(Failure::new(FailureClass::Bug, "ended while its children were starting").into()),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> StartError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Failure::new(FailureClass::Bug, format!("its factory panicked: {text}")).into()
}

/// How a child is to be stopped.
pub(super) struct Stop {
    /// Its start, when that is still under way.
    pub(super) start: Option<Task>,
    pub(super) manner: Manner,
}

/// Stops the child within its time, then kills it.
pub(super) fn stop(
    shared: &Arc<Shared>,
    me: &ActorRef<Message>,
    child: &Arc<ChildPlan>,
    generation: u64,
    how: Stop,
) -> Task {
    let (stopping, me, child) = (Arc::clone(shared), me.clone(), Arc::clone(child));
    AbortOnDropHandle::new(shared.world.spawn("supervisor.stop", async move {
        let Stop { start, manner } = how;
        let dropped_start = start.is_some();
        if let Some(start) = start {
            start.abort();
            // Cancelled or ended: either way it does nothing any more.
            let _ = start.await;
        }
        let node = child.node;
        let mut stuck = false;
        if let Some(cell) = stopping.board.cell(node) {
            let outcome = stop_actor(&stopping, &child, &cell, manner).await;
            stuck = outcome == Stopped::Stuck;
            // Only a shutdown drains, so only its kills go into its report.
            if manner == Manner::Drain && outcome != Stopped::InTime {
                let forced = Forced { child: child.name.clone(), stuck };
                stopping.board.note_forced(forced);
            }
        }
        report(&me, Message::Stopped { node, generation, dropped_start, stuck });
    }))
}

async fn stop_actor(shared: &Shared, child: &ChildPlan, cell: &ActorCell, manner: Manner) -> Stopped {
    match &child.maker {
        Maker::Worker(_) => stop::stop(cell, |cell| manner.ask(cell), child.shutdown).await,
        Maker::Supervisor(plan) => {
            // A supervisor stops its children itself; to stop the actor would lose them.
            let close = |cell: &ActorCell| drop(cell.send_message(Message::Close { manner }));
            let outcome = stop::stop(cell, close, child.shutdown).await;
            stop::wait_killed(&shared.board.kill_below(plan.node)).await;
            outcome
        }
    }
}

/// Reports to the supervisor; if that has ended, its end has ended the actor concerned too.
fn report(me: &ActorRef<Message>, message: Message) {
    if me.send_message(message).is_err() {
        tracing::debug!("a report came after its supervisor's end");
    }
}
