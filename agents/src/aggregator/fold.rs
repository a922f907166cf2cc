//! The fold from events to figures on a shelf. Invariant: it reads nothing but
//! the events and what it wrote itself; what it keeps in mind holds only for
//! a shelf at the very sequence that it led to.

use std::collections::BTreeMap;

use actors::durable::Recent;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use storage::journal::{Event, Seq};
use storage::views::{Changes, Fold, FoldError, Shelf};

use super::costs::{Cost, Spent};
use super::figures::{RunFigures, Totals};
use crate::run::gist::Gist;

/// Raise it when the same events would give other figures.
const VERSION: u32 = 5;
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

/// What calls cost, under what they are listed by.
pub(super) const COSTS: &[u8] = b"costs/";

/// Sums of costs that are kept from one step to the next.
const COSTS_KEPT_MAX: usize = 64;
/// Runs whose figures are kept from one step to the next.
const RUNS_KEPT_MAX: usize = 64;

/// The fold; see the module.
#[derive(Debug, Default)]
pub struct Figures {
    recent: Recent,
    kept: Option<Kept>,
}

impl Figures {
    /// A fold of a journal that these events were written to moments ago.
    #[must_use]
    pub fn new(recent: Recent) -> Self {
        Self { recent, kept: None }
    }
}

/// What the shelf has at a sequence, read already.
#[derive(Debug)]
struct Kept {
    at: Seq,
    totals: Totals,
    /// Of runs that move, by their keys.
    runs: BTreeMap<Vec<u8>, RunFigures>,
    /// By their keys.
    costs: BTreeMap<Vec<u8>, Cost>,
}

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

    fn apply(&mut self, shelf: &dyn Shelf, events: &[Event]) -> Result<Changes, FoldError> {
        let Some(end) = events.last() else { return Ok(Changes::new()) };
        let stands = shelf.sequence().map_err(FoldError::Shelf)?;
        // Taken, so that a step that fails, or that the shelf did not take, leaves nothing behind.
        let kept = self.kept.take().filter(|kept| Some(kept.at) == stands);
        let relevant = |event: &&Event| event.kind.starts_with(RUN) || event.kind.starts_with(SUPERVISION);
        let relevant: Vec<&Event> = events.iter().filter(relevant).collect();
        let Some(last) = relevant.last() else {
            self.kept = kept.map(|kept| Kept { at: end.seq, ..kept });
            return Ok(Changes::new());
        };
        let (totals, kept, costs) = match kept {
            Some(kept) => (kept.totals, kept.runs, kept.costs),
            None => (read(shelf, TOTALS, last)?.unwrap_or_default(), BTreeMap::new(), BTreeMap::new()),
        };
        let costs = Ledgers { kept: costs, changed: BTreeMap::new() };
        let recent = &self.recent;
        let mut sheet = Sheet { shelf, recent, changes: Changes::new(), totals, kept, runs: BTreeMap::new(), costs };
        for event in &relevant {
            match event.kind.strip_prefix(SUPERVISION) {
                Some(kind) => sheet.supervision(kind, event)?,
                None => sheet.run(event)?,
            }
        }
        let (changes, kept) = sheet.close(last, end.seq)?;
        self.kept = Some(kept);
        Ok(changes)
    }
}

/// The figures that some events change: each is read once, and written once.
struct Sheet<'a> {
    shelf: &'a dyn Shelf,
    recent: &'a Recent,
    changes: Changes,
    totals: Totals,
    /// Figures of runs that nothing has changed, by their keys …
    kept: BTreeMap<Vec<u8>, RunFigures>,
    /// … and of those that something has.
    runs: BTreeMap<Vec<u8>, RunFigures>,
    costs: Ledgers,
}

/// Sums of costs by their keys: those that nothing has changed, and those that something has.
struct Ledgers {
    kept: BTreeMap<Vec<u8>, Cost>,
    changed: BTreeMap<Vec<u8>, Cost>,
}

impl Sheet<'_> {
    fn supervision(&mut self, kind: &str, event: &Event) -> Result<(), FoldError> {
        if kind == RESTARTING {
            let restart: Supervision = serde_json::from_slice(&event.payload).map_err(|e| payload(event, &e))?;
            self.totals.restarts += 1;
            *self.totals.restarts_by_child.entry(restart.child).or_default() += 1;
        }
        Ok(())
    }

    fn run(&mut self, event: &Event) -> Result<(), FoldError> {
        let decoded = Gist::of(event, self.recent).map_err(|reason| payload(event, &reason))?;
        let id = event.stream.as_str().strip_prefix(RUN_STREAM).unwrap_or(event.stream.as_str());
        let key = [RUNS, id.as_bytes()].concat();
        let known = self.runs.remove(&key).or_else(|| self.kept.remove(&key));
        let mut figures = match (&decoded, known) {
            (Gist::Accepted(run), _) => {
                self.totals.runs += 1;
                self.changes.put(started_key(run.at.micros(), id), id);
                RunFigures::new(run, self.totals.restarts)
            }
            (_, Some(figures)) => figures,
            (_, None) => match read(self.shelf, &key, event)? {
                Some(figures) => figures,
                None => return Err(payload(event, &"its run was never accepted")),
            },
        };
        if let Some(spent) = figures.count(decoded, &mut self.totals) {
            self.spend(&spent, event)?;
        }
        let moving = [MOVING, id.as_bytes()].concat();
        if figures.is_moving() {
            self.changes.put(moving, id);
        } else {
            self.changes.remove(moving);
        }
        self.runs.insert(key, figures);
        Ok(())
    }

    fn spend(&mut self, spent: &Spent, event: &Event) -> Result<(), FoldError> {
        for key in spent.keys() {
            let known = self.costs.changed.remove(&key).or_else(|| self.costs.kept.remove(&key));
            let mut sum = match known {
                Some(sum) => sum,
                None => read(self.shelf, &key, event)?.unwrap_or_default(),
            };
            sum.add(&spent.cost);
            self.costs.changed.insert(key, sum);
        }
        Ok(())
    }

    /// What changes, and what is kept of it at `at`; `last` is the event that a fault is told with.
    fn close(self, last: &Event, at: Seq) -> Result<(Changes, Kept), FoldError> {
        let Self { mut changes, totals, mut kept, runs, costs, .. } = self;
        let Ledgers { kept: mut costs_kept, changed } = costs;
        for (key, sum) in changed {
            changes.put(key.clone(), serde_json::to_vec(&sum).map_err(|error| payload(last, &error))?);
            costs_kept.insert(key, sum);
        }
        while costs_kept.len() > COSTS_KEPT_MAX {
            costs_kept.pop_first();
        }
        changes.put(TOTALS, serde_json::to_vec(&totals).map_err(|error| payload(last, &error))?);
        for (key, figures) in runs {
            changes.put(key.clone(), serde_json::to_vec(&figures).map_err(|error| payload(last, &error))?);
            if figures.is_moving() {
                kept.insert(key, figures);
            }
        }
        while kept.len() > RUNS_KEPT_MAX {
            kept.pop_first();
        }
        Ok((changes, Kept { at, totals, runs: kept, costs: costs_kept }))
    }
}

const RUN_STREAM: &str = "run/";

fn started_key(micros: i64, id: &str) -> Vec<u8> {
    // Times after 1970, the latest first.
    let age = u64::MAX - u64::try_from(micros).unwrap_or(0);
    [STARTED, &age.to_be_bytes(), id.as_bytes()].concat()
}

fn read<T: DeserializeOwned>(shelf: &dyn Shelf, key: &[u8], event: &Event) -> Result<Option<T>, FoldError> {
    let bytes = shelf.get(key).map_err(FoldError::Shelf)?;
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| payload(event, &error))).transpose()
}

fn payload(event: &Event, reason: &impl ToString) -> FoldError {
    FoldError::Payload { seq: event.seq, kind: event.kind.clone(), fold: NAME.to_owned(), reason: reason.to_string() }
}
