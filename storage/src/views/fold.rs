//! The fold of a view: from events to changes, and nothing else.
//!
//! Invariant: a fold knows no clock, no chance and no I/O besides reading its own
//! shelf, so the same events always lead to the same shelf.

use crate::journal::{Event, Seq};
use crate::views::{Changes, Shelf, ShelfError};

/// Turns events into changes to one shelf.
pub trait Fold: Send + Sync {
    /// The shelf's name; unique among views, and safe as a file name.
    fn name(&self) -> &str;

    /// Raised whenever the same events would give other changes; the shelf is
    /// then emptied and folded anew.
    fn version(&self) -> u32;

    /// What `events`, consecutive and in order, change. Reads go through
    /// [`Changes::read`], so that a later event sees what an earlier one wrote. What
    /// a fold keeps from one call to the next must not show in what it gives.
    fn apply(&mut self, shelf: &dyn Shelf, events: &[Event]) -> Result<Changes, FoldError>;
}

/// Why events could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// An event of a kind or schema that this fold does not know. It is never
    /// skipped: the view would be wrong from there on.
    #[error(
        "event {seq} ({kind}, schema {schema}) is not understood by view {fold}; run the version of callboard that wrote it, or a newer one"
    )]
    Unknown {
        /// Which event.
        seq: Seq,
        /// Its kind.
        kind: String,
        /// Its schema version.
        schema: u16,
        /// The fold that met it.
        fold: String,
    },
    /// An event whose payload does not read as its kind says.
    #[error("event {seq} ({kind}) cannot be read by view {fold}: {reason}")]
    Payload {
        /// Which event.
        seq: Seq,
        /// Its kind.
        kind: String,
        /// The fold that met it.
        fold: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The shelf could not be read.
    #[error("the view could not be read while it was folded")]
    Shelf(#[source] ShelfError),
}
