//! What calls cost, by who made them and where. Invariant: every outcome of a model call counts once under
//! its agent, its model, its day and its step, so that each of these lists adds up to the same sum.

use std::fmt;
use std::str::FromStr;

use policies::instant::Timestamp;
use policies::money::Money;
use policies::tokens::Usage;
use serde::{Deserialize, Serialize};
use storage::views::after_prefix;

use super::figures::RunFigures;
use super::fold::COSTS;
use super::report::{Cursor, PAGE_MAX, PageError, Reports};

/// What some calls used and cost together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Calls that have ended, those among them that failed.
    pub calls: u64,
    /// What they cost, or were charged.
    pub cost: Money,
    /// What they used.
    pub usage: Usage,
}

impl Cost {
    pub(super) fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.cost = self.cost.saturating_add(other.cost);
        self.usage = self.usage + other.usage;
    }
}

/// One call that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spent {
    /// The agent that made it.
    pub(super) agent: String,
    /// The model.
    pub(super) model: String,
    /// When it ended.
    pub(super) at: Timestamp,
    /// The workflow and its step, whatever the place in a map or a loop.
    pub(super) step: String,
    /// What it came to.
    pub(super) cost: Cost,
}

impl Spent {
    /// The keys that it counts under.
    pub(super) fn keys(&self) -> [Vec<u8>; 4] {
        let day = self.at.to_string();
        let day = day.split('T').next().unwrap_or_default();
        [
            key(CostsBy::Agent, &self.agent),
            key(CostsBy::Model, &self.model),
            key(CostsBy::Day, day),
            key(CostsBy::Step, &self.step),
        ]
    }
}

/// The step of a workflow that a path leads to: without the places in maps and the turns of loops.
pub(super) fn step_of(workflow: &str, path: &str) -> String {
    let mut step = format!("{workflow}:");
    let mut inside = false;
    for part in path.chars() {
        match part {
            '[' | '#' => inside = true,
            ']' => inside = false,
            '/' => {
                inside = false;
                step.push(part);
            }
            part if !inside => step.push(part),
            _ => {}
        }
    }
    step
}

/// What a list of costs is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostsBy {
    /// Each agent that made calls.
    Agent,
    /// Each model that was called.
    Model,
    /// Each day of UTC on which calls ended, the latest first.
    Day,
    /// Each run, the newest first.
    Run,
    /// Each step of each workflow; or each step of one run.
    Step,
}

impl fmt::Display for CostsBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Day => "day",
            Self::Run => "run",
            Self::Step => "step",
        })
    }
}

/// Text that names no list of costs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("costs are not kept by `{0}`; ask for agent, model, day, run or step")]
pub struct NotCostsBy(String);

impl FromStr for CostsBy {
    type Err = NotCostsBy;

    fn from_str(text: &str) -> Result<Self, NotCostsBy> {
        let all = [Self::Agent, Self::Model, Self::Day, Self::Run, Self::Step];
        all.into_iter().find(|by| by.to_string() == text).ok_or_else(|| NotCostsBy(text.to_owned()))
    }
}

/// What one of a list cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostLine {
    /// The agent, the model, the day, the run or the step.
    pub name: String,
    /// What its calls came to.
    #[serde(flatten)]
    pub cost: Cost,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostPage {
    /// The lines.
    pub costs: Vec<CostLine>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

fn key(by: CostsBy, name: &str) -> Vec<u8> {
    [COSTS, by.to_string().as_bytes(), b"/", name.as_bytes()].concat()
}

impl Reports {
    /// A page of at most `limit` of what calls cost, after the one that `after` names.
    ///
    /// # Errors
    /// [`PageError`] when the view cannot be read, or `after` is not from the page before.
    pub fn costs(&self, by: CostsBy, after: Option<&str>, limit: usize) -> Result<CostPage, PageError> {
        let limit = limit.clamp(1, PAGE_MAX);
        if by == CostsBy::Run {
            return self.costs_by_run(after, limit);
        }
        let prefix = key(by, "");
        let is_latest_first = by == CostsBy::Day;
        let (mut from, mut to) = (prefix.clone(), after_prefix(&prefix));
        match after {
            Some(name) if is_latest_first => to = key(by, name),
            Some(name) => from = [key(by, name), vec![0]].concat(),
            None => {}
        }
        let entries = self.shelf.range(from.as_slice()..to.as_slice(), limit + 1, is_latest_first);
        let entries = entries.map_err(PageError::Shelf)?;
        let is_more = entries.len() > limit;
        let line = |(key, bytes): &(Vec<u8>, Vec<u8>)| {
            let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            Ok(CostLine { name, cost: serde_json::from_slice(bytes).map_err(PageError::Damaged)? })
        };
        let costs: Vec<CostLine> = entries.iter().take(limit).map(line).collect::<Result<_, PageError>>()?;
        let next = costs.last().filter(|_| is_more).map(|line| line.name.clone());
        Ok(CostPage { costs, next })
    }

    fn costs_by_run(&self, after: Option<&str>, limit: usize) -> Result<CostPage, PageError> {
        let after: Option<Cursor> = after.map(str::parse).transpose()?;
        let page = self.runs(after.as_ref(), limit)?;
        let line = |run: &RunFigures| CostLine { name: run.id.clone(), cost: run.model_calls() };
        Ok(CostPage { costs: page.runs.iter().map(line).collect(), next: page.next.map(|cursor| cursor.to_string()) })
    }

    /// What each step of a run cost, in the order of their paths; none for a run that was never accepted.
    ///
    /// # Errors
    /// [`PageError`] when the view cannot be read, or a step `after` is asked for that the run has not.
    pub fn costs_of(&self, run: &str, after: Option<&str>, limit: usize) -> Result<Option<CostPage>, PageError> {
        let Some(report) = self.report(run)? else { return Ok(None) };
        let steps = report.run.steps.iter().filter(|(_, step)| step.calls > 0);
        let mut rest = steps.skip_while(|(path, _)| after.is_some_and(|after| path.as_str() <= after));
        let costs = rest.by_ref().take(limit.clamp(1, PAGE_MAX));
        let costs: Vec<CostLine> =
            costs.map(|(path, step)| CostLine { name: path.to_string(), cost: step.model_calls() }).collect();
        let next = costs.last().filter(|_| rest.next().is_some()).map(|line| line.name.clone());
        Ok(Some(CostPage { costs, next }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_same_wherever_it_stands_in_a_map_or_a_loop() {
        assert_eq!(step_of("announce", "posts[12]/draft#3/write"), "announce:posts/draft/write");
        assert_eq!(step_of("announce", "research"), "announce:research");
    }

    #[test]
    fn a_list_has_a_name() {
        assert_eq!("day".parse(), Ok(CostsBy::Day));
        assert!("days".parse::<CostsBy>().unwrap_err().to_string().contains("agent, model, day, run or step"));
    }
}
