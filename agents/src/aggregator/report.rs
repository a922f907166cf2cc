//! Reading the figures. Invariant: reading changes nothing, and needs no actor.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use policies::money::Money;
use policies::span::Span;
use policies::tokens::Usage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::journal::Seq;
use storage::latest::Latest;
use storage::views::{Shelf, ShelfError, after_prefix};

use super::figures::{PostFigures, RunFigures, StepFigures, Totals};
use super::fold::{MOVING, RUNS, STARTED, TOTALS};
use crate::workflow::StepPath;

/// The most runs on one page.
pub const PAGE_MAX: usize = 200;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Its figures.
    pub run: RunFigures,
    /// Restarts in the whole tree while it ran.
    pub restarts: u64,
    /// What each post took.
    pub posts: Vec<PostReport>,
}

/// What one post took: the sums over the steps that led to it. In a map these
/// are all steps of the same item, elsewhere all steps beside the one that
/// published it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostReport {
    /// The post.
    pub post: PostFigures,
    /// What its steps took.
    pub sums: Sums,
}

/// What some steps took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// From the start of the first to the end of the last, waits included.
    pub time: Span,
    /// What they used.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
}

/// Where a page of runs ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// Runs, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The runs.
    pub runs: Vec<RunFigures>,
    /// Where the next page begins; none after the last.
    pub next: Option<Cursor>,
}

/// Why figures could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The view could not be read.
    #[error("the figures could not be read")]
    Shelf(#[source] ShelfError),
    /// The view holds something else than figures.
    #[error("the figures are damaged; delete the views folder, it is made anew")]
    Damaged(#[source] serde_json::Error),
    /// The text is no cursor.
    #[error("{0:?} is not a cursor; take the one from the page before")]
    Cursor(String),
}

/// The figures, as far as the aggregator has come. Clones share them.
#[derive(Clone)]
pub struct Reports {
    pub(super) shelf: Arc<dyn Shelf>,
    pub(super) reached: Arc<Latest<Seq>>,
}

impl Reports {
    /// The figures on this shelf.
    #[must_use]
    pub fn new(shelf: Arc<dyn Shelf>) -> Self {
        Self { shelf, reached: Arc::new(Latest::new(Seq::default())) }
    }

    /// Waits until the figures hold the event `seq`; whether they do within that time.
    pub async fn reach(&self, seq: Seq, within: Duration) -> bool {
        let mut reached = self.reached.watch();
        let reach = reached.wait_for(|at| *at >= seq);
        tokio::time::timeout(within, reach).await.is_ok_and(|at| at.is_ok())
    }

    /// What a run came to so far; none for a run that was never accepted.
    ///
    /// # Errors
    /// [`PageError`] when the view cannot be read.
    pub fn report(&self, run: &str) -> Result<Option<Report>, PageError> {
        let Some(figures) = self.read::<RunFigures>(&[RUNS, run.as_bytes()].concat())? else { return Ok(None) };
        let restarts = figures.restarts_at_end.map_or_else(|| self.totals().map(|totals| totals.restarts), Ok)?;
        let out = figures.posts.iter().filter(|post| figures.is_out(post));
        Ok(Some(Report {
            posts: out.map(|post| figures.post(post)).collect(),
            restarts: restarts.saturating_sub(figures.restarts_before),
            run: figures,
        }))
    }

    /// A page of at most `limit` runs, the newest first.
    ///
    /// # Errors
    /// [`PageError`] when the view cannot be read.
    pub fn runs(&self, after: Option<&Cursor>, limit: usize) -> Result<Page, PageError> {
        let limit = limit.clamp(1, PAGE_MAX);
        // The first key after the cursor's is that with one more zero byte.
        let from = after.map_or_else(|| STARTED.to_vec(), |cursor| [cursor.0.as_slice(), &[0]].concat());
        let to = after_prefix(STARTED);
        let mut entries =
            self.shelf.range(from.as_slice()..to.as_slice(), limit + 1, false).map_err(PageError::Shelf)?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|(key, _)| Cursor(key.clone()));
        let figures = entries.iter().map(|(_, id)| self.read(&[RUNS, id.as_slice()].concat()));
        let runs: Vec<Option<RunFigures>> = figures.collect::<Result<_, _>>()?;
        Ok(Page { runs: runs.into_iter().flatten().collect(), next })
    }

    /// The runs that have work to do, or an outcome to wait for, by id.
    ///
    /// # Errors
    /// [`PageError`] when the view cannot be read.
    pub fn moving(&self) -> Result<Vec<String>, PageError> {
        let (mut from, to) = (MOVING.to_vec(), after_prefix(MOVING));
        let mut moving = Vec::new();
        loop {
            let page = self.shelf.range(from.as_slice()..to.as_slice(), PAGE_MAX, false).map_err(PageError::Shelf)?;
            let Some((last, _)) = page.last() else { return Ok(moving) };
            from = [last.as_slice(), &[0]].concat();
            moving.extend(page.into_iter().map(|(_, id)| String::from_utf8_lossy(&id).into_owned()));
        }
    }

    /// The figures of everything.
    ///
    /// # Errors
    /// [`PageError`] when the view cannot be read.
    pub fn totals(&self) -> Result<Totals, PageError> {
        Ok(self.read(TOTALS)?.unwrap_or_default())
    }

    fn read<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, PageError> {
        let bytes = self.shelf.get(key).map_err(PageError::Shelf)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(PageError::Damaged)).transpose()
    }
}

impl RunFigures {
    fn is_out(&self, post: &PostFigures) -> bool {
        self.steps.get(&post.path).is_some_and(|step| step.phase == super::StepPhase::Done)
    }

    fn post(&self, post: &PostFigures) -> PostReport {
        PostReport { post: post.clone(), sums: self.sum(|path| leads_to(path, &post.path)).unwrap_or_default() }
    }

    /// What all steps of one item of a map took, whether a post came of it or not; nothing when none
    /// of its steps was begun.
    #[must_use]
    pub fn item(&self, map: &str, index: usize) -> Option<Sums> {
        let inside = format!("{map}[{index}]/");
        self.sum(|path| path.as_str().starts_with(&inside))
    }

    fn sum(&self, belongs: impl Fn(&StepPath) -> bool) -> Option<Sums> {
        let steps: Vec<&StepFigures> =
            self.steps.iter().filter(|(path, _)| belongs(path)).map(|(_, step)| step).collect();
        let begun = steps.iter().filter_map(|step| step.begun).min()?;
        let ended = steps.iter().filter_map(|step| step.ended).max().unwrap_or(begun);
        let mut sums = Sums { time: Span::from(ended.since(begun)), ..Sums::default() };
        for step in steps {
            sums.usage = sums.usage + step.usage;
            sums.cost = sums.cost.saturating_add(step.cost);
        }
        Some(sums)
    }
}

fn leads_to(step: &StepPath, post: &StepPath) -> bool {
    match item(post) {
        Some(index) => item(step) == Some(index),
        None => match post.as_str().rsplit_once('/') {
            Some((beside, _)) => step.as_str().strip_prefix(beside).is_some_and(|rest| rest.starts_with('/')),
            None => true,
        },
    }
}

/// The index of the first map's item on the way to a step.
fn item(path: &StepPath) -> Option<&str> {
    path.as_str().split_once('[')?.1.split_once(']').map(|(index, _)| index)
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = PageError;

    fn from_str(text: &str) -> Result<Self, PageError> {
        let bad = || PageError::Cursor(text.to_owned());
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(bad)?;
        let bytes: Vec<u8> = digits.chunks(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect();
        if bytes.starts_with(STARTED) { Ok(Self(bytes)) } else { Err(bad()) }
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
