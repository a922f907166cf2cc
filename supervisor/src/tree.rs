//! The whole tree: started from a policy, watched, and shut down in order.
//!
//! Invariant: when [`Tree::wait`] returns, no actor of the tree runs any more (but for one
//! that runs blocking code, which the report names).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::latest::{Latest, Watcher};
use actors::telemetry::Census;
use actors::world::World;
use policies::reshape::Reshaping;
use policies::tree::TreePolicy;
use ractor::{Actor, ActorCell, SpawnErr};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::board::{Board, NodeId, View};
use crate::books::End;
use crate::child::Factory;
use crate::dynamic::Dynamic;
use crate::failure::Failure;
use crate::gate::Gate;
use crate::keeper::{Keeper, Launch, Message, Shared, Stage};
use crate::observer::{Observer, SupervisionEvent};
use crate::picture;
use crate::plan;
use crate::plans::Plans;
use crate::prospects::{Bright, Prospects};
use crate::snapshot::{Depth, NodeState, TreeSnapshot};
use crate::stop::{self, Manner, ShutdownReport};
use crate::word::{NotFollowed, Word};

/// The tree could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The policy names a node that it does not declare.
    #[error("the tree names `{name}` but does not declare it; add [worker.{name}] or remove the name")]
    NotDeclared {
        /// The node.
        name: String,
    },
    /// A node that has to supervise is a worker.
    #[error("the tree's root `{name}` is a worker; make it a [supervisor.{name}]")]
    NotASupervisor {
        /// The node.
        name: String,
    },
    /// A node is in the tree twice.
    #[error("`{name}` has two places in the tree; let one supervisor name it, once")]
    TwoPlaces {
        /// The node.
        name: String,
    },
    /// The root is another than that of the running tree.
    #[error("`{name}` is not the root of the running tree, which stays; stop the system and start it anew")]
    OtherRoot {
        /// The root asked for.
        name: String,
    },
    /// No factory is known for a worker.
    #[error("nothing in this program can start the worker `{name}`; remove it from the tree or correct its name")]
    NoFactory {
        /// The worker.
        name: String,
    },
    /// The root's actor did not start.
    #[error("the root supervisor did not start")]
    Root(#[source] SpawnErr),
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By [`Tree::shutdown`].
    Shutdown(ShutdownReport),
    /// The root's significant children had ended.
    Finished,
    /// A failure went past the root's intensity.
    Escalated(Failure),
    /// The root's actor was killed or failed itself.
    Killed,
}

/// A kill on purpose, by an operator or a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An operator's kill.
    Kill,
    /// A kill because the child makes no progress: it counts as hung.
    Hung,
}

/// Why nothing was killed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No node has this name.
    #[error("the tree has no node `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// It is down, or on its way up or down.
    #[error("`{name}` is not up now, so it cannot be killed")]
    NotUp {
        /// The node.
        name: String,
    },
}

/// A running tree. Cheap to clone; the tree lives until it ends, whoever holds it.
#[derive(Clone)]
pub struct Tree {
    shared: Arc<Shared>,
    factories: Arc<BTreeMap<String, Factory>>,
    root: ActorCell,
    stage: Watcher<Stage>,
    picture: Watcher<TreeSnapshot>,
    ended: Watcher<Option<Ended>>,
}

impl Tree {
    /// Starts the policy's tree; returns before its children are up (see [`Tree::ready`]).
    /// Every worker of the policy needs a factory of its name.
    ///
    /// # Errors
    /// See [`TreeError`]; nothing was started then.
    pub async fn start(
        world: World,
        policy: TreePolicy,
        factories: BTreeMap<String, Factory>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, TreeError> {
        Self::start_with(world, policy, factories, observer, Arc::new(Bright)).await
    }

    /// As [`Tree::start`]; restarts ask `prospects` first.
    ///
    /// # Errors
    /// See [`TreeError`]; nothing was started then.
    pub async fn start_with(
        world: World,
        policy: TreePolicy,
        factories: BTreeMap<String, Factory>,
        observer: Arc<dyn Observer>,
        prospects: Arc<dyn Prospects>,
    ) -> Result<Self, TreeError> {
        let board = Board::new(world.clone());
        let plan = plan::plan(&policy, &factories, &board)?;
        let node = plan.node;
        let plans = Plans::new(policy, &plan);
        let shared = Arc::new(Shared { world: world.clone(), board, observer, prospects, plans });
        let picture = Latest::new(picture::draw(&shared));
        let stage = Latest::new(Stage::Starting);
        let reached = stage.watch();
        let launch = Launch { shared: Arc::clone(&shared), plan, stage };
        let (root, _) = Actor::spawn(None, Keeper, launch).await.map_err(TreeError::Root)?;
        let root = root.get_cell();
        shared.board.set_cell(node, root.clone(), Arc::default());
        let end = Latest::new(None);
        let factories = Arc::new(factories);
        let tree = Self { shared, factories, root, stage: reached, picture: picture.watch(), ended: end.watch() };
        let guardian = Guardian { tree: tree.clone(), node, picture: Arc::new(picture), end };
        // It ends with the root.
        drop(world.spawn("supervisor.guardian", guardian.run()));
        Ok(tree)
    }

    /// Whether the tree can be held to this policy.
    ///
    /// # Errors
    /// [`TreeError`], as [`Tree::govern`] would have it.
    pub fn fits(&self, policy: &TreePolicy) -> Result<(), TreeError> {
        plan::rehearse(policy, &self.factories, &self.shared.board)
    }

    /// Holds the tree to another policy from now on, whole. Children that are new are started in their
    /// turn, those that it has no more are stopped within their time, and those that it has under another
    /// supervisor are stopped, and started there; what takes time goes on after this has returned. Nobody
    /// else is stopped or started.
    ///
    /// # Errors
    /// [`TreeError`] when its root is another, or a worker has no factory; nothing has changed then.
    pub fn govern(&self, policy: &TreePolicy) -> Result<(), TreeError> {
        let Shared { board, plans, .. } = &*self.shared;
        self.fits(policy)?;
        let plan = |reshaping: &Reshaping| plan::replan(policy, &self.factories, board, reshaping);
        for supervisor in plans.replace(policy, plan)? {
            // One that is down takes it up when it starts.
            drop(board.cell(supervisor).map(|cell| cell.send_message(Message::Governed)));
        }
        Ok(())
    }

    /// The gate of the worker that the tree has under this name, or may have one day; it is closed while
    /// there is none.
    pub fn gate(&self, worker: &str) -> Gate {
        self.shared.board.gate_of(worker)
    }

    /// Resolves when every child has been up once.
    ///
    /// # Errors
    /// How the tree ended before that.
    pub async fn ready(&self) -> Result<(), Ended> {
        let mut stage = self.stage.clone();
        match stage.wait_for(|stage| *stage != Stage::Starting).await {
            Ok(Stage::Up) => Ok(()),
            _ => Err(self.wait().await),
        }
    }

    /// How many children each supervisor has in which state now, and held back by what.
    pub fn census(&self) -> Census {
        self.shared.board.census()
    }

    /// Shows each mailbox with the name of its node, as of now, at the price of no picture. The tree stands
    /// still meanwhile: `see` asks nothing of it.
    pub fn mailboxes(&self, see: impl FnMut(&str, Depth)) {
        self.shared.board.mailboxes(see);
    }

    /// Whether every child has been up once and the tree is not being stopped.
    pub fn is_up(&self) -> bool {
        self.stage.get() == Stage::Up
    }

    /// The live picture, published at most every 50 ms; of a large tree, every 100 µs a node.
    pub fn snapshot(&self) -> Watcher<TreeSnapshot> {
        self.picture.clone()
    }

    /// The picture as of now, mailboxes included.
    pub fn draw(&self) -> TreeSnapshot {
        picture::draw(&self.shared)
    }

    /// The picture of a branch as of now. It may be named with some that are above it.
    ///
    /// # Errors
    /// [`NotFollowed::Unknown`] when there is none of this name.
    pub fn draw_branch(&self, name: &str) -> Result<TreeSnapshot, NotFollowed> {
        let unknown = |closest| NotFollowed::Unknown { name: name.to_owned(), closest };
        let meant = self.shared.board.meant(name).map_err(unknown)?;
        let TreeSnapshot { at, root } = self.draw();
        let root = root.find(&meant).cloned().ok_or_else(|| unknown(None))?;
        Ok(TreeSnapshot { at, root })
    }

    /// The dynamic supervisor of this name.
    pub fn dynamic(&self, name: &str) -> Option<Dynamic> {
        Dynamic::new(Arc::clone(&self.shared), name)
    }

    /// Kills the node of this name; its supervisor restarts it by policy.
    ///
    /// # Errors
    /// See [`FaultError`]; nothing was killed then.
    pub async fn fault(&self, name: &str, fault: Fault) -> Result<(), FaultError> {
        let not_up = || FaultError::NotUp { name: name.to_owned() };
        let (node, _, supervisor) =
            self.shared.board.find(name).ok_or_else(|| FaultError::Unknown { name: name.to_owned() })?;
        let Some(supervisor) = supervisor else {
            let cell = self.shared.board.cell(node).ok_or_else(not_up)?;
            cell.kill();
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        supervisor.send_message(Message::Fault { node, fault, reply }).map_err(|_| not_up())?;
        if answer.await.unwrap_or(false) { Ok(()) } else { Err(not_up()) }
    }

    /// Stops a node until it is resumed, wherever it is in its life; it is not brought back meanwhile.
    /// False when there is none of this name, it has ended for good, or it is the root.
    pub async fn park(&self, name: &str) -> bool {
        self.operate(name, Word::Stop).await.is_ok()
    }

    /// Has a node start that was parked, or that is paused: whatever held it back is not asked
    /// again. False when it is neither.
    pub async fn resume(&self, name: &str) -> bool {
        self.operate(name, Word::Resume).await.is_ok()
    }

    /// Does to a child or a branch as an operator says, and returns its name. It may be named with some
    /// that are above it, as in `agents.writer`. What takes time goes on after this has returned.
    ///
    /// # Errors
    /// See [`NotFollowed`]; nothing was changed then.
    pub async fn operate(&self, name: &str, word: Word) -> Result<String, NotFollowed> {
        let board = &self.shared.board;
        let unknown = |closest| NotFollowed::Unknown { name: name.to_owned(), closest };
        let name = board.meant(name).map_err(unknown)?;
        let (node, _, supervisor) = board.find(&name).ok_or_else(|| unknown(None))?;
        if node == board.root() {
            return Err(NotFollowed::Root { name, word });
        }
        let (reply, answer) = oneshot::channel();
        // A supervisor that is down, or goes down meanwhile, drops the reply.
        drop(supervisor.map(|supervisor| supervisor.send_message(Message::Told { node, word, reply })));
        match answer.await {
            Ok(Ok(())) => Ok(name),
            Ok(Err(state)) => Err(NotFollowed::Unfit { name, word, state }),
            Err(_) => Err(NotFollowed::Down { name }),
        }
    }

    /// Stops every child in reverse start order, each within its time, and returns who had
    /// to be killed. Any number of callers get the same report; it is empty when the tree
    /// ended otherwise.
    pub async fn shutdown(&self) -> ShutdownReport {
        // A root that has ended needs no asking.
        let _ = self.root.send_message(Message::Close { manner: Manner::Drain });
        match self.wait().await {
            Ended::Shutdown(report) => report,
            Ended::Finished | Ended::Escalated(_) | Ended::Killed => ShutdownReport::default(),
        }
    }

    /// Resolves when the tree has ended.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await;
        // The guardian only goes without a word when the runtime does.
        ended.ok().flatten().unwrap_or(Ended::Killed)
    }

    /// The failure that ended the tree, if one did.
    pub fn escalated(&self) -> Option<Failure> {
        match self.ended.get() {
            Some(Ended::Escalated(failure)) => Some(failure),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("stage", &self.stage.get()).finish_non_exhaustive()
    }
}

/// Stands above the root: shows where it is, and cleans up after it.
struct Guardian {
    tree: Tree,
    node: NodeId,
    picture: Arc<Latest<TreeSnapshot>>,
    end: Latest<Option<Ended>>,
}

impl Guardian {
    async fn run(self) {
        let painter = self.paint();
        let mut stage = self.tree.stage.clone();
        loop {
            self.show(match stage.see() {
                Stage::Starting => NodeState::Starting,
                Stage::Up => NodeState::Up,
                Stage::Closing | Stage::Ended(_) => NodeState::Stopping,
            });
            // What it is set through is in the root's state, and goes with it.
            if stage.next().await.is_err() {
                break;
            }
        }
        let board = &self.tree.shared.board;
        let root = std::slice::from_ref(&self.tree.root);
        stop::wait_killed(root).await;
        stop::wait_killed(&board.kill_below(self.node)).await;
        drop(painter);
        self.show(NodeState::Done);
        self.picture.set(picture::draw(&self.tree.shared));
        self.tree.shared.observer.event(SupervisionEvent::Stopped);
        let ended = match stage.get() {
            Stage::Ended(End::Closed) => Ended::Shutdown(ShutdownReport { forced: board.take_forced() }),
            Stage::Ended(End::Finished) => Ended::Finished,
            Stage::Ended(End::Escalated(failure)) => Ended::Escalated(failure),
            Stage::Starting | Stage::Up | Stage::Closing => Ended::Killed,
        };
        self.end.set(Some(ended));
    }

    fn show(&self, state: NodeState) {
        self.tree.shared.board.record(self.node, View::of(state, 1));
    }

    /// Publishes the picture when it has changed, but not too often.
    fn paint(&self) -> AbortOnDropHandle<()> {
        let (shared, published) = (Arc::clone(&self.tree.shared), Arc::clone(&self.picture));
        AbortOnDropHandle::new(self.tree.shared.world.spawn("supervisor.picture", async move {
            loop {
                shared.board.changed().await;
                let (drawn, rest) = picture::draw_between(&shared).await;
                published.set(drawn);
                tokio::time::sleep(rest).await;
            }
        }))
    }
}
