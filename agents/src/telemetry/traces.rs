//! The traces of all runs that move. Invariant: a run that is not kept is folded again from its stream, so
//! that what is told of it does not depend on how long this process has run.

use std::collections::BTreeMap;

use actors::entity::Entity;
use actors::world::World;
use storage::journal::{Event, Journal, Seq, StreamId, Version};

use super::span::Span;
use super::trace::RunTrace;
use crate::run::{self, Run};

/// What the streams of runs begin with.
const RUN: &str = "run/";
/// Runs that are kept, the eldest forgotten first.
const RUNS_MAX: usize = 256;
/// Events read in one go where a run is folded again.
const PAGE_MAX: usize = 256;

/// Why nothing is told of an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// What came before it cannot be read now.
    #[error("{0}")]
    Later(String),
    /// It, or what came before it, means nothing.
    #[error("{0}")]
    Never(String),
}

pub(super) struct Traces {
    world: World,
    journal: Journal,
    /// The first event whose run may be told with its words.
    words_since: Option<Seq>,
    runs: BTreeMap<StreamId, (u64, RunTrace)>,
    /// Counts events, to tell which run was quiet for longest.
    turn: u64,
}

impl Traces {
    pub(super) fn new(world: World, journal: Journal, words_since: Option<Seq>) -> Self {
        Self { world, journal, words_since, runs: BTreeMap::new(), turn: 0 }
    }

    /// What ended with an event of the journal.
    ///
    /// # Errors
    /// [`Unread`], in a sentence; nothing is told of it then, and it can be taken again.
    pub(super) async fn take(&mut self, event: &Event) -> Result<Vec<Span>, Unread> {
        if !event.stream.as_str().starts_with(RUN) {
            return Ok(Vec::new());
        }
        let happened = Run::decode(&event.kind, event.schema, &event.payload).map_err(Unread::Never)?;
        let mut run = match self.runs.remove(&event.stream) {
            Some((_, run)) => run,
            None => match self.begin(&happened, event) {
                Some(run) => run,
                None => self.again(&event.stream, event.version).await?,
            },
        };
        let spans = run.fold(&happened);
        if !run.is_over() {
            self.turn += 1;
            self.runs.insert(event.stream.clone(), (self.turn, run));
            self.forget();
        }
        Ok(spans)
    }

    fn begin(&self, happened: &run::Event, event: &Event) -> Option<RunTrace> {
        let has_words = self.words_since.is_some_and(|since| event.seq >= since);
        RunTrace::begin(happened, event.trace.0, has_words)
    }

    /// A run as it was before a version.
    async fn again(&self, stream: &StreamId, before: Version) -> Result<RunTrace, Unread> {
        let (mut run, mut after): (Option<RunTrace>, _) = (None, Version::NONE);
        loop {
            let (journal, of) = (self.journal.clone(), stream.clone());
            let read = move || journal.read_stream(&of, after, PAGE_MAX);
            let page = self.world.blocking("telemetry.run", read).await;
            let page = page.map_err(|lost| Unread::Later(lost.to_string()))?;
            let page = page.map_err(|error| Unread::Later(error.to_string()))?;
            let is_last = page.len() < PAGE_MAX;
            for event in page.into_iter().take_while(|event| event.version < before) {
                let happened = Run::decode(&event.kind, event.schema, &event.payload).map_err(Unread::Never)?;
                after = event.version;
                match &mut run {
                    None => run = self.begin(&happened, &event),
                    // Told before.
                    Some(run) => drop(run.fold(&happened)),
                }
            }
            if is_last || after.0 + 1 >= before.0 {
                return run.ok_or_else(|| Unread::Never(format!("{stream} was never accepted")));
            }
        }
    }

    fn forget(&mut self) {
        while self.runs.len() > RUNS_MAX {
            let eldest = self.runs.iter().min_by_key(|(_, (turn, _))| *turn).map(|(stream, _)| stream.clone());
            eldest.and_then(|stream| self.runs.remove(&stream));
        }
    }
}
