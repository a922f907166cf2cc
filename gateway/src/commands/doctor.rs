//! `callboard doctor`: is the journal whole? Invariant: it changes nothing.

use std::sync::Arc;

use anyhow::Context;
use storage::disk::Disk;
use storage::disk::files::FileDisk;
use storage::journal::verify_chain;

use super::config;
use crate::cli::SystemArgs;

/// Reads every record, checks it and the chain, and says what was found.
///
/// # Errors
/// The first damage, with file and offset.
pub fn run(arguments: &SystemArgs) -> anyhow::Result<()> {
    let config = config(arguments)?;
    anyhow::ensure!(config.data.is_dir(), "there is no data folder {}; name it with --data", config.data.display());
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new(&config.data));
    let found = verify_chain(&*disk).with_context(|| format!("the journal in {} is damaged", config.data.display()))?;
    println!("the journal in {} is whole: {} events in {} segments", config.data.display(), found.head, found.segments);
    println!("chain: {}", found.chain);
    if let Some(torn) = found.torn {
        println!(
            "{} ends in {} bytes that were never acknowledged; the next start cuts them off, unless a process is writing now",
            torn.file, torn.bytes
        );
    }
    Ok(())
}
