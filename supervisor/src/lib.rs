//! What keeps it alive: a tree of supervisors over ractor, driven by policy.
//!
//! A [`Tree`] is started from a [`policies::tree::TreePolicy`] and one [`Factory`] per
//! worker. Each supervisor is an actor that only keeps books: whatever takes time
//! (starting, stopping, waiting out a back-off) runs in a task that reports back, so a
//! supervisor always answers at once. Users of a worker hold its [`Slot`], which survives
//! restarts. Operators read the tree's live [`TreeSnapshot`], which no actor is asked for.

mod board;
mod books;
mod child;
mod dynamic;
mod failure;
mod keeper;
mod observer;
mod picture;
mod plan;
mod plans;
mod prospects;
mod slot;
mod snapshot;
mod stop;
mod tree;

pub use child::{Factory, Gauge, StartContext, StartError, worker};
pub use dynamic::{Dynamic, SpawnError};
pub use failure::Failure;
pub use observer::{Observer, Silent, SupervisionEvent};
pub use prospects::{Bright, Hold, Prospects};
pub use slot::{NotUp, Slot};
pub use snapshot::{Depth, LastFailure, NodeKind, NodeSnapshot, NodeState, TreeSnapshot};
pub use stop::{Forced, ShutdownReport};
pub use tree::{Ended, Fault, FaultError, Tree, TreeError};
