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
mod gate;
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
mod word;

pub use child::{Factory, Gauge, StartContext, StartError, worker};
pub use dynamic::{Dynamic, SpawnError};
pub use failure::Failure;
pub use gate::{Gate, UnderWay};
pub use observer::{Observer, Silent, Sphere, SupervisionEvent};
pub use prospects::{BreakerView, BreakerWord, Bright, Hold, Prospects, Standing};
pub use slot::{NotUp, Slot};
pub use snapshot::{Depth, Duty, LastFailure, NodeKind, NodeSnapshot, NodeState, TreeSnapshot, Work};
pub use stop::{Forced, ShutdownReport};
pub use tree::{Ended, Fault, FaultError, Tree, TreeError};
pub use word::{NotFollowed, Word};
