//! Children that come and go at run time.
//!
//! Invariant: a dynamic supervisor never has more children than its limit, and a child that
//! was stopped is not brought back.

use std::sync::Arc;

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::board::NodeId;
use crate::child::{Factory, StartError};
use crate::keeper::{Message, Shared};
use crate::snapshot::NodeKind;

/// Why a child was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The supervisor has as many children as it may have.
    #[error("`{supervisor}` has its {max} children; try again when one has ended, or raise its `limit`")]
    Full {
        /// The dynamic supervisor.
        supervisor: String,
        /// Its limit.
        max: usize,
    },
    /// A node of this name is in the tree.
    #[error("the tree has a node `{name}` already; choose another name, or use that one")]
    NameTaken {
        /// The name asked for.
        name: String,
    },
    /// The child's factory failed. It is not tried again: ask again.
    #[error(transparent)]
    Start(StartError),
    /// The supervisor is stopping, stopped or restarting.
    #[error("`{supervisor}` is not up now; try again when it is")]
    Down {
        /// The dynamic supervisor.
        supervisor: String,
    },
    /// The supervisor has declared children only.
    #[error("`{supervisor}` takes no children at run time; declare it as [dynamic.{supervisor}]")]
    NotDynamic {
        /// The supervisor.
        supervisor: String,
    },
}

/// A handle on a dynamic supervisor; survives its restarts (its children do not). Cheap to
/// clone.
#[derive(Clone)]
pub struct Dynamic {
    shared: Arc<Shared>,
    node: NodeId,
    name: String,
}

impl Dynamic {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Option<Self> {
        let (node, kind, _) = shared.board.find(name)?;
        (kind == NodeKind::Dynamic).then(|| Self { shared, node, name: name.to_owned() })
    }

    /// Takes in a child and waits until it is up.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub async fn spawn_child(&self, name: impl Into<String>, factory: Factory) -> Result<ActorCell, SpawnError> {
        let down = || SpawnError::Down { supervisor: self.name.clone() };
        let (reply, answer) = oneshot::channel();
        let spawn = Message::Spawn { name: name.into(), factory, reply };
        let keeper = self.shared.board.cell(self.node).ok_or_else(down)?;
        keeper.send_message(spawn).map_err(|_| down())?;
        answer.await.unwrap_or_else(|_| Err(down()))
    }

    /// Stops a child for good, wherever it is in its life (a back-off, too), and waits until
    /// it is down. False when there is no such child.
    pub async fn stop_child(&self, name: &str) -> bool {
        let (reply, answer) = oneshot::channel();
        let Some((node, _, Some(keeper))) = self.shared.board.find(name) else { return false };
        let ours = self.shared.board.cell(self.node).is_some_and(|own| own == keeper);
        ours && keeper.send_message(Message::Terminate { node, reply }).is_ok() && answer.await.is_ok()
    }
}

impl std::fmt::Debug for Dynamic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dynamic").field("name", &self.name).finish_non_exhaustive()
    }
}
