//! `callboard doctor`: is what is remembered whole? Invariant: it changes nothing in the data folder.
//!
//! The journal alone cannot tell a tail that was cut off at the edge of a record from one that was
//! never written. What is folded from it can: a view or a snapshot is made of synced events only, so
//! one that has seen more than the journal holds has seen what was acknowledged and is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use anyhow::Context;
use storage::disk::Disk;
use storage::disk::files::FileDisk;
use storage::journal::{INDEX_VERSION, Lost, Payloads, Seq, Verified, lost, verify};
use storage::snapshots::Snapshots;
use storage::views::sled::SledShelves;
use storage::views::{Shelves, seal};

use super::config;
use crate::cli::SystemArgs;
use crate::system::STREAMS;
use crate::wiring::VIEWS_CACHE_BYTES;

/// Streams that are named when events of them are lost.
const LOST_SHOWN: usize = 20;

/// What has been folded from the journal, as far as it can be told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folds {
    /// The last event that any of them has seen, and which.
    seen: Option<(Seq, String)>,
    /// What the stream index has seen beyond the journal's end.
    lost: Lost,
    /// Why the views say nothing, if they do not.
    silent: Option<String>,
}

/// Reads every record and every payload, checks them, and says what was found.
///
/// # Errors
/// Damage, with file and offset; payloads or events that are gone, with what to do.
pub fn run(arguments: &SystemArgs) -> anyhow::Result<()> {
    let config = config(arguments)?;
    let data = &config.data;
    anyhow::ensure!(data.is_dir(), "there is no data folder {}; name it with --data", data.display());
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new(data));
    // Before the journal, which may grow meanwhile: they must not seem ahead of it.
    let views = Copy::of(&data.join("views"));
    let newest = Snapshots::latest(&*disk)?;
    let (journal, payloads) = verify(&disk).with_context(|| format!("the journal in {} is damaged", data.display()))?;
    let mut folds = views.map_or_else(silent, |copy| copy.map(|copy| look(&copy, &journal)).unwrap_or_default());
    folds.seen = folds.seen.max(newest.map(|(at, name)| (at, format!("the snapshot of `{name}`"))));
    for line in found(&journal, &payloads, &folds) {
        println!("{line}");
    }
    let faults = faults(&journal, &payloads, &folds);
    if faults.is_empty() {
        println!("the journal in {} is whole", data.display());
        return Ok(());
    }
    anyhow::bail!("what is remembered in {} is not whole\n{}", data.display(), faults.join("\n"))
}

fn silent(error: io::Error) -> Folds {
    Folds { silent: Some(error.to_string()), ..Folds::default() }
}

/// A copy of the views, since opening them changes them; removed with this.
struct Copy(PathBuf);

impl Copy {
    /// A copy in the folder for temporary files; none when there are no views.
    fn of(views: &Path) -> io::Result<Option<Self>> {
        if !views.is_dir() {
            return Ok(None);
        }
        let copy = Self(std::env::temp_dir().join(format!("callboard-doctor-{}", std::process::id())));
        for name in seal::lengths(views)?.keys() {
            let to = copy.0.join(name);
            fs::create_dir_all(to.parent().unwrap_or(&copy.0))?;
            fs::copy(views.join(name), to)?;
        }
        Ok(Some(copy))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is in the folder for temporary files, which is cleared by others too.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the views have seen.
fn look(copy: &Copy, journal: &Verified) -> Folds {
    let look = || -> Result<Folds, storage::views::ShelfError> {
        let shelves = SledShelves::open(&copy.0, VIEWS_CACHE_BYTES)?;
        let seen = shelves.reached()?.into_iter().map(|(name, at)| (at, format!("the view `{name}`"))).max();
        let index = shelves.open(STREAMS, INDEX_VERSION)?;
        let silent = shelves.rebuilt().map(str::to_owned);
        Ok(Folds { seen, lost: lost(journal, &*index)?, silent })
    };
    look().unwrap_or_else(|error| Folds { silent: Some(error.to_string()), ..Folds::default() })
}

/// What was found, in order or not.
fn found(journal: &Verified, payloads: &Payloads, folds: &Folds) -> Vec<String> {
    let mut lines = vec![
        format!("{} events in {} segments", journal.head, journal.segments),
        format!("chain: {}", journal.chain),
        format!("payloads kept apart: {} whole, {} erased", payloads.whole, payloads.erased),
    ];
    if let (Some(torn), None) = (&journal.torn, missing(journal, folds)) {
        lines.push(format!(
            "{} ends in {} bytes that were never acknowledged, as far as can be told; the next start cuts them off, \
             unless a process is writing now",
            torn.file, torn.bytes
        ));
    }
    if journal.openings_unrecorded > 0 {
        lines.push(format!(
            "{} starts after the last record left nothing in the journal: each died before its first record, or what \
             it wrote is gone",
            journal.openings_unrecorded
        ));
    }
    match (&folds.silent, &folds.seen) {
        (Some(reason), _) => {
            lines.push(format!("the views cannot say whether events are missing at the end: {reason}"));
        }
        (None, None) => lines.push("there is no view or snapshot that could miss events at the end".to_owned()),
        (None, Some((seen, by))) => lines.push(format!("the last event that was folded is {seen}, by {by}")),
    }
    lines
}

/// The last event that is known to have been acknowledged, if the journal does not hold it.
fn missing<'a>(journal: &Verified, folds: &'a Folds) -> Option<&'a (Seq, String)> {
    folds.seen.as_ref().filter(|(seen, _)| *seen > journal.head)
}

fn faults(journal: &Verified, payloads: &Payloads, folds: &Folds) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((seen, by)) = missing(journal, folds) {
        let count = seen.0 - journal.head.0;
        lines.push(format!(
            "the journal ends at event {}, and {by} has seen event {seen}: at least {count} acknowledged events are \
             missing at its end",
            journal.head
        ));
        if let Some(torn) = &journal.torn {
            lines.push(format!("  {} ends in {} bytes of the first of them", torn.file, torn.bytes));
        }
        for (stream, events) in folds.lost.events.iter().take(LOST_SHOWN) {
            lines.push(format!("  {stream}: {events} events"));
        }
        let more = folds.lost.events.len().saturating_sub(LOST_SHOWN);
        if more > 0 {
            lines.push(format!("  and of {more} more streams"));
        }
        lines.push(
            "  restore a backup that has them; or, to go on without them, delete the folders views and snapshots: what \
             they knew of is then forgotten, and a post among it may be made again"
                .to_owned(),
        );
    }
    for fault in &payloads.faults {
        lines.push(format!("event {} ({} of {}): {}", fault.seq, fault.kind, fault.stream, fault.reason));
    }
    let more = payloads.faults_count.saturating_sub(payloads.faults.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more payloads are missing or damaged"));
    }
    if payloads.faults_count > 0 {
        lines.push(
            "without its payload an event cannot be read, and nor can what comes after it in its stream; the rest of the \
             journal stands"
                .to_owned(),
        );
    }
    lines
}
