//! How good the checkers are: which mutants they catch, and after how many histories. Invariant: a
//! catch counts only on a history that the checker finds nothing in before it is broken.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{check, mutants::mutants};
use crate::aims::Invariant;
use crate::history::History;

/// What became of one mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What the mutant does.
    pub mutant: String,
    /// Whose checker must find it.
    pub invariant: Invariant,
    /// Whether that checker found it.
    pub caught: bool,
    /// All checkers that found it in the history in which it was caught.
    pub caught_by: Vec<Invariant>,
    /// Histories that were tried until then, or all of them.
    pub histories: u64,
    /// Those among them that had a place for the mutant.
    pub fitting: u64,
}

/// The mutants and their catches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// A row for each mutant.
    pub rows: Vec<Row>,
}

impl Score {
    /// How many mutants were caught.
    #[must_use]
    pub fn caught(&self) -> usize {
        self.rows.iter().filter(|row| row.caught).count()
    }

    /// Whether every mutant was caught.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.caught() == self.rows.len()
    }
}

/// Breaks these histories in every known way, each with its plan's seed.
pub fn score<'a>(histories: impl IntoIterator<Item = &'a History>) -> Score {
    let mutants = mutants();
    let mut rows: Vec<_> = mutants.iter().map(|mutant| blank(mutant.name, mutant.invariant)).collect();
    for history in histories {
        for (mutant, row) in mutants.iter().zip(&mut rows).filter(|(_, row)| !row.caught) {
            row.histories += 1;
            let Some(broken) = (mutant.apply)(history, history.plan.seed) else { continue };
            row.fitting += 1;
            let told = !check(mutant.invariant, &broken).is_empty();
            row.caught = told && check(mutant.invariant, history).is_empty();
            if row.caught {
                row.caught_by.extend(Invariant::ALL.into_iter().filter(|one| !check(*one, &broken).is_empty()));
            }
        }
    }
    Score { rows }
}

fn blank(mutant: &str, invariant: Invariant) -> Row {
    Row { mutant: mutant.to_owned(), invariant, caught: false, caught_by: Vec::new(), histories: 0, fitting: 0 }
}

/// A table in Markdown.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:<40} | {:<21} | histories | found by |", "mutant", "checker")?;
        writeln!(f, "|{:-<42}|{:-<23}|----------:|----------|", "", "")?;
        for row in &self.rows {
            let by: Vec<_> = row.caught_by.iter().map(|invariant| invariant.name()).collect();
            let by = if row.caught { by.join(", ") } else { format!("**not caught**, of {} that fit", row.fitting) };
            writeln!(f, "| {:<40} | {:<21} | {:>9} | {by} |", row.mutant, row.invariant.name(), row.histories)?;
        }
        writeln!(f, "\n{} of {} mutants caught", self.caught(), self.rows.len())
    }
}
