//! The simulator: the production system on a paused clock and a simulated disk,
//! with a scripted model behind the HTTP transport.
//!
//! Invariant: everything that happens follows from the seed; two runs of one
//! seed leave the same trace, whatever the process has played before.

pub(crate) mod act;
mod board;
mod campaign;
mod client;
pub(crate) mod command;
mod gauge;
mod life;
mod model;
pub(crate) mod mutants;
mod parts;
mod play;
mod sabotage;
mod scene;
pub(crate) mod smaller;
pub(crate) mod weather;

pub use campaign::{Ask, Campaign, CampaignError, Told};
pub use parts::{Letters, PartsError, brief, parts, provider};
pub use play::{Made, PlayError, Played, play};
pub use sabotage::Sabotage;
