//! The versions of the policies in the journal. Invariant: each holds the whole texts, so that any of
//! them can be put in force again; a version's number is its place in the stream.

use actors::world::World;
use agents::record::Recorder;
use policies::document;
use policies::instant::Timestamp;
use serde::{Deserialize, Serialize};
use storage::journal::{AppendError, Journal, StreamId, Version};

use super::Governed;
use crate::policy::{Documents, Policies};
use crate::system::StartError;

/// The most versions that are listed.
pub const HISTORY_MAX: u64 = 50;
/// The kind of the event.
const APPLIED: &str = "policy.applied";
/// Who writes at a start.
const PRINCIPAL: &str = "system/policy";

/// Why there is a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The system started with files that said something new.
    Start,
    /// The files were read again.
    Reload,
    /// An earlier version was put in force again.
    Rollback {
        /// Which one.
        to: u64,
    },
}

/// A version, as it is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edition {
    /// Its number.
    pub version: u64,
    /// Since when it was in force.
    pub at: Timestamp,
    /// Who asked for it.
    pub principal: String,
    /// Why there is one.
    #[serde(flatten)]
    pub cause: Cause,
}

/// A version's texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::system) struct Past {
    /// What is in force.
    pub(in crate::system) documents: Documents,
    /// What the files said, which may be something else after a rollback.
    pub(in crate::system) files: Documents,
}

#[derive(Serialize, Deserialize)]
struct Applied {
    #[serde(flatten)]
    cause: Cause,
    #[serde(flatten)]
    past: Past,
}

fn stream(workspace: &str) -> StreamId {
    StreamId::from(format!("policy/{workspace}"))
}

/// What a start finds: the version in force, and its policies where they are not those of the files.
pub(in crate::system) struct Settled {
    pub(in crate::system) version: u64,
    pub(in crate::system) past: Past,
    pub(in crate::system) policies: Option<Policies>,
}

/// Decides what a start puts in force: the files where they say something new, else the last version.
pub(in crate::system) async fn settle(
    world: &World,
    journal: &Journal,
    workspace: &str,
    governed: &Governed,
) -> Result<Settled, StartError> {
    let failed = |error: String| StartError::Policies(error);
    let last = journal.version(&stream(workspace)).map_err(|error| failed(error.to_string()))?.0;
    let past = if last == 0 { None } else { read(world, journal, workspace, last).await.map_err(failed)? };
    if let Some(past) = past.filter(|past| past.files.say_as(&governed.documents)) {
        if past.documents.say_as(&governed.documents) {
            return Ok(Settled { version: last, past, policies: None });
        }
        match Policies::of(&governed.config, &past.documents) {
            Ok(policies) => return Ok(Settled { version: last, past, policies: Some(policies) }),
            Err(faults) => {
                let faults = document::lines(&faults);
                tracing::warn!(
                    version = last,
                    faults,
                    "the policies rolled back to fit no more; the files are in force"
                );
            }
        }
    }
    let past = Past { documents: governed.documents.clone(), files: governed.documents.clone() };
    let written = write(world, journal, workspace, PRINCIPAL, last, Cause::Start, &past).await;
    // A start must not fail because the disk is full; the next one writes it down.
    let version =
        written.or_else(|error| if matches!(error, AppendError::Full { .. }) { Ok(last) } else { Err(error) });
    Ok(Settled { version: version.map_err(|error| failed(error.to_string()))?, past, policies: None })
}

/// Writes the version after `last`.
pub(super) async fn write(
    world: &World,
    journal: &Journal,
    workspace: &str,
    principal: &str,
    last: u64,
    cause: Cause,
    past: &Past,
) -> Result<u64, AppendError> {
    let mut recorder = Recorder::new(world.clone(), journal.clone(), principal);
    let applied = Applied { cause, past: past.clone() };
    let event = recorder.event(APPLIED, None, &applied);
    // Texts and numbers are always JSON.
    let event = event.map_err(|error| AppendError::Stopped { reason: error.to_string().into() })?;
    let appended = recorder.append(stream(workspace), Some(Version(last)), vec![event]).await?;
    Ok(appended.versions.first().map_or(last + 1, |(_, version)| version.0))
}

/// A version's texts; none where there is no such version.
pub(super) async fn read(
    world: &World,
    journal: &Journal,
    workspace: &str,
    version: u64,
) -> Result<Option<Past>, String> {
    let Some(before) = version.checked_sub(1) else { return Ok(None) };
    let (journal, stream) = (journal.clone(), stream(workspace));
    let read = world.blocking("policy.version", move || journal.read_stream(&stream, Version(before), 1)).await;
    let events = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let Some(event) = events.first() else { return Ok(None) };
    let applied: Applied = serde_json::from_slice(&event.payload).map_err(|error| error.to_string())?;
    Ok(Some(applied.past))
}

/// The newest versions, the newest first.
pub(super) async fn history(world: &World, journal: &Journal, workspace: &str) -> Result<Vec<Edition>, String> {
    let (journal, stream) = (journal.clone(), stream(workspace));
    let read = move || {
        let last = journal.version(&stream)?.0;
        journal.read_stream(&stream, Version(last.saturating_sub(HISTORY_MAX)), HISTORY_MAX as usize)
    };
    let read = world.blocking("policy.history", read).await.map_err(|error| error.to_string())?;
    let events = read.map_err(|error| error.to_string())?;
    let edition = |event: &storage::journal::Event| {
        let cause: Cause = serde_json::from_slice(&event.payload).map_err(|error| error.to_string())?;
        Ok(Edition { version: event.version.0, at: event.time, principal: event.principal.clone(), cause })
    };
    events.iter().rev().map(edition).collect()
}
