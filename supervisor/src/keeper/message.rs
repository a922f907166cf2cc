//! What a supervisor is told: reports of its own tasks, and requests.

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::board::NodeId;
use crate::child::{Factory, StartError};
use crate::dynamic::SpawnError;
use crate::stop::Manner;
use crate::tree::Fault;

pub(crate) enum Message {
    /// A start task has ended.
    Started { node: NodeId, generation: u64, result: Result<ActorCell, StartError> },
    /// A child was found dead when its start was reported.
    Vanished { node: NodeId, generation: u64 },
    /// A stop task has ended; whether it dropped a start half-way.
    Stopped { node: NodeId, generation: u64, dropped_start: bool },
    /// A back-off timer has run out.
    BackoffOver { node: NodeId, generation: u64 },
    /// Stop every child in order, and end.
    Close { manner: Manner },
    /// Kill a child on purpose; answered with whether it was up.
    Fault { node: NodeId, fault: Fault, reply: oneshot::Sender<bool> },
    /// Take in a child at run time.
    Spawn { name: String, factory: Factory, reply: oneshot::Sender<Result<ActorCell, SpawnError>> },
    /// Stop a child that was taken in at run time; answered when it has left the books.
    Terminate { node: NodeId, reply: oneshot::Sender<()> },
}
