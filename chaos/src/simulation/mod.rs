//! The simulator: the production system on a paused clock and a simulated disk,
//! with a scripted model behind the HTTP transport.
//!
//! Invariant: everything that happens follows from the seed; two runs of one
//! seed leave the same trace. One process runs one seed, because ractor keeps
//! process-wide state.

mod campaign;
mod parts;
mod stage;

pub use campaign::{Campaign, CampaignError, Divergence, Summary};
pub use parts::{Letters, PartsError, brief, parts, provider};
pub use stage::{Failure, Played, play};
