//! The simulator: the production system on a paused clock and a simulated disk,
//! with a scripted model behind the HTTP transport.
//!
//! Invariant: everything that happens follows from the seed; two runs of one
//! seed leave the same trace. One process runs one seed, because ractor keeps
//! process-wide state.

mod board;
mod campaign;
mod client;
mod life;
mod model;
mod parts;
mod play;
mod scene;
mod stage;
mod weather;

pub use campaign::{Campaign, CampaignError, Divergence, Summary};
pub use parts::{Letters, PartsError, brief, parts, provider};
pub use play::{PlayError, Played as Acted, play as act};
pub use stage::{Failure, Played, play};
