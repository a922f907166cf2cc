//! What a supervisor is told: reports of its own tasks, and requests.

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::board::NodeId;
use crate::child::{Factory, StartError};
use crate::dynamic::SpawnError;
use crate::snapshot::NodeState;
use crate::stop::Manner;
use crate::tree::Fault;
use crate::word::Word;

pub(crate) enum Message {
    /// A start task has ended.
    Started { node: NodeId, generation: u64, result: Result<ActorCell, StartError> },
    /// A child was found dead when its start was reported.
    Vanished { node: NodeId, generation: u64 },
    /// A stop task has ended; whether it dropped a start half-way, and whether even its kill had no
    /// effect.
    Stopped { node: NodeId, generation: u64, dropped_start: bool, stuck: bool },
    /// A child that was killed runs on.
    Stuck { node: NodeId, generation: u64 },
    /// A back-off timer has run out, or a held start is to be asked for again.
    BackoffOver { node: NodeId, generation: u64 },
    /// Another policy is in force.
    Governed,
    /// Stop every child in order, and end.
    Close { manner: Manner },
    /// Kill a child on purpose; answered with whether it was up.
    Fault { node: NodeId, fault: Fault, reply: oneshot::Sender<bool> },
    /// Do as an operator says; answered with where the child is when it does not fit that.
    Told { node: NodeId, word: Word, reply: oneshot::Sender<Result<(), NodeState>> },
    /// A child that is to drain has nothing under way any more.
    Drained { node: NodeId, generation: u64 },
    /// Take in a child at run time.
    Spawn { name: String, factory: Factory, reply: oneshot::Sender<Result<ActorCell, SpawnError>> },
    /// Stop a child that was taken in at run time; answered when it has left the books.
    Terminate { node: NodeId, reply: oneshot::Sender<()> },
}
