//! The aggregator's actor: a projector that is supervised. Invariant: it has no
//! state of its own, so a restart goes on where the shelf stands.

use std::sync::Arc;

use actors::durable::Recent;
use actors::world::World;
use policies::failure::FailureClass;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::journal::Journal;
use storage::views::Projector;
use supervisor::Failure;

use super::fold::Figures;
use super::report::Reports;
use crate::tether::Tether;

/// What the aggregator is told.
#[derive(Debug)]
pub enum AggregatorMsg {
    /// The projector ended; only the aggregator's own one says so.
    Broken(String),
}

/// What an aggregator is started with.
#[derive(Clone)]
pub struct AggregatorArguments {
    /// What it folds.
    pub journal: Journal,
    /// What was written to it moments ago.
    pub recent: Recent,
    /// Where the figures go.
    pub reports: Reports,
}

/// The actor.
pub struct AggregatorActor {
    world: World,
}

/// The actor's state: its projector ends with it.
pub struct Running(#[expect(dead_code, reason = "held, not read")] Tether);

impl AggregatorActor {
    /// An aggregator's actor in this world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

impl Actor for AggregatorActor {
    type Msg = AggregatorMsg;
    type State = Running;
    type Arguments = AggregatorArguments;

    async fn pre_start(
        &self,
        me: ActorRef<AggregatorMsg>,
        arguments: AggregatorArguments,
    ) -> Result<Running, ActorProcessingErr> {
        let AggregatorArguments { journal, recent, reports } = arguments;
        let projector = Projector::new(journal, Box::new(Figures::new(recent)), Arc::clone(&reports.shelf));
        let mut reached = projector.reached();
        let tether = Tether::new(self.world.clone());
        tether.spawn("aggregator/reached", async move {
            while let Ok(at) = reached.next().await {
                reports.reached.set(at);
            }
        });
        tether.spawn("aggregator/projector", async move {
            if let Err(error) = projector.run().await {
                let _ = me.cast(AggregatorMsg::Broken(Failure::classify(&error).message));
            }
        });
        Ok(Running(tether))
    }

    async fn handle(
        &self,
        _: ActorRef<AggregatorMsg>,
        message: AggregatorMsg,
        _: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let AggregatorMsg::Broken(reason) = message;
        Err(Failure::new(FailureClass::Bug, format!("the aggregator cannot go on: {reason}")).into())
    }
}
