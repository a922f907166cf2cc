//! The fold from events to figures on a shelf. Invariant: it reads nothing but
//! the events and what it wrote itself.

use actors::entity::Entity;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::journal::Event;
use storage::views::{Changes, Fold, FoldError, Shelf};

use super::figures::{RunFigures, Totals};
use crate::run::{Event as RunEvent, Run};

/// Raise it when the same events would give other figures.
const VERSION: u32 = 2;
const NAME: &str = "figures";
/// What the kinds of the tree's events begin with; their payload has `event`,
/// `child`, `class` and `generation`.
pub const SUPERVISION: &str = "supervision.";
/// The event of a restart, after the prefix.
const RESTARTING: &str = "restarting";
const RUN: &str = "run.";

pub(super) const TOTALS: &[u8] = b"totals";
/// Runs by id.
pub(super) const RUNS: &[u8] = b"run/";
/// Runs by the time they started, the newest first; the value is the id.
pub(super) const STARTED: &[u8] = b"started/";
/// The ids of the runs that have work to do; what a start wakes.
pub(super) const MOVING: &[u8] = b"moving/";

/// The fold; see the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures;

#[derive(Deserialize)]
struct Supervision {
    child: String,
}

impl Fold for Figures {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn apply(&self, shelf: &dyn Shelf, events: &[Event]) -> Result<Changes, FoldError> {
        let mut changes = Changes::new();
        let relevant = |event: &&Event| event.kind.starts_with(RUN) || event.kind.starts_with(SUPERVISION);
        for event in events.iter().filter(relevant) {
            let totals: Totals = read(&changes, shelf, TOTALS, event)?.unwrap_or_default();
            let totals = match event.kind.strip_prefix(SUPERVISION) {
                Some(kind) => supervision(kind, event, totals)?,
                None => run(&mut changes, shelf, event, totals)?,
            };
            write(&mut changes, TOTALS, &totals, event)?;
        }
        Ok(changes)
    }
}

fn supervision(kind: &str, event: &Event, mut totals: Totals) -> Result<Totals, FoldError> {
    if kind == RESTARTING {
        let restart: Supervision = serde_json::from_slice(&event.payload).map_err(|error| payload(event, &error))?;
        totals.restarts += 1;
        *totals.restarts_by_child.entry(restart.child).or_default() += 1;
    }
    Ok(totals)
}

fn run(changes: &mut Changes, shelf: &dyn Shelf, event: &Event, mut totals: Totals) -> Result<Totals, FoldError> {
    let decoded = Run::decode(&event.kind, event.schema, &event.payload).map_err(|reason| payload(event, &reason))?;
    let id = event.stream.as_str().strip_prefix(RUN_STREAM).unwrap_or(event.stream.as_str());
    let key = [RUNS, id.as_bytes()].concat();
    let mut figures = match &decoded {
        RunEvent::Accepted(run) => {
            totals.runs += 1;
            changes.put(started_key(run.at.micros(), id), id);
            RunFigures::new(run, totals.restarts)
        }
        _ => match read(changes, shelf, &key, event)? {
            Some(figures) => figures,
            None => return Err(payload(event, &"its run was never accepted")),
        },
    };
    figures.count(&decoded, &mut totals);
    let moving = [MOVING, id.as_bytes()].concat();
    if figures.is_moving() {
        changes.put(moving, id);
    } else {
        changes.remove(moving);
    }
    write(changes, &key, &figures, event)?;
    Ok(totals)
}

const RUN_STREAM: &str = "run/";

fn started_key(micros: i64, id: &str) -> Vec<u8> {
    // Times after 1970, the latest first.
    let age = u64::MAX - u64::try_from(micros).unwrap_or(0);
    [STARTED, &age.to_be_bytes(), id.as_bytes()].concat()
}

fn read<T: DeserializeOwned>(
    changes: &Changes,
    shelf: &dyn Shelf,
    key: &[u8],
    event: &Event,
) -> Result<Option<T>, FoldError> {
    let bytes = changes.read(shelf, key).map_err(FoldError::Shelf)?;
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| payload(event, &error))).transpose()
}

fn write(changes: &mut Changes, key: &[u8], value: &impl Serialize, event: &Event) -> Result<(), FoldError> {
    changes.put(key, serde_json::to_vec(value).map_err(|error| payload(event, &error))?);
    Ok(())
}

fn payload(event: &Event, reason: &impl ToString) -> FoldError {
    FoldError::Payload { seq: event.seq, kind: event.kind.clone(), fold: NAME.to_owned(), reason: reason.to_string() }
}
