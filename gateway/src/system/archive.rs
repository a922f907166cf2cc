//! What a system that does not run has left: its figures. Invariant: no actor is started and no
//! effect made; the view is brought up to the journal's end, as any start would.

use std::sync::Arc;

use actors::world::World;
use agents::aggregator::{Figures, Reports};
use storage::disk::Disk;
use storage::journal::{INDEX_VERSION, Journal, OpenError, Options};
use storage::views::{Fold, Projector, ProjectorError, ShelfError, Shelves};

use super::start::STREAMS;

/// The figures of a system at rest.
pub struct Archive {
    reports: Reports,
    /// Held, so that nobody else writes meanwhile.
    _journal: Journal,
}

/// Why an archive did not open.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The journal did not open.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A view cannot be kept.
    #[error("the views cannot be kept")]
    Views(#[from] ShelfError),
    /// The figures cannot be folded.
    #[error("the list of runs cannot be read")]
    Figures(#[from] ProjectorError),
    /// Opening was cut short.
    #[error(transparent)]
    Lost(#[from] actors::world::Lost),
}

impl Archive {
    /// Opens the journal and folds what the figures have missed.
    ///
    /// # Errors
    /// [`ArchiveError`]; the journal is left as it was.
    pub async fn open(world: &World, disk: Arc<dyn Disk>, shelves: Arc<dyn Shelves>) -> Result<Self, ArchiveError> {
        let (views, now) = (Arc::clone(&shelves), world.now());
        let opening = move || -> Result<_, ArchiveError> {
            let index = views.open(STREAMS, INDEX_VERSION)?;
            Ok(Journal::open(disk, index, Options::default(), now)?)
        };
        // The committer holds the lock. It is never run, since nothing is appended.
        let (journal, _committer, _) = world.blocking("archive.open", opening).await??;
        let figures = Figures::default();
        let shelf = shelves.open(figures.name(), figures.version())?;
        let projector = Projector::new(journal.clone(), Box::new(figures), Arc::clone(&shelf));
        let (mut reached, head) = (projector.reached(), journal.head());
        tokio::select! {
            biased;
            ended = projector.run() => ended?,
            _ = reached.wait_for(|at| *at >= head) => {}
        }
        Ok(Self { reports: Reports::new(shelf), _journal: journal })
    }

    /// The figures.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }
}
