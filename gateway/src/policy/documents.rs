//! The texts that the policies are read from. Invariant: a text is kept whole with what a person knows
//! it by, so that what is in force can be explained, compared and written down.

use std::path::PathBuf;

use policies::document::{Error, Source};
use policies::{budget, guard, price, tree};
use serde::{Deserialize, Serialize};

use crate::config::{self, Config};
use crate::written::Written;

/// One text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The file; of what is compiled in, `built-in tree.toml`.
    pub label: String,
    /// All of it.
    pub text: String,
    /// Whether it is compiled in.
    pub built_in: bool,
}

/// The texts of all policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Documents {
    /// The supervision tree.
    pub tree: Document,
    /// Time-outs, rates, breakers and retries.
    pub guard: Document,
    /// The price table.
    pub prices: Document,
    /// What may be spent.
    pub budget: Document,
}

impl Document {
    fn read(file: Option<&PathBuf>, name: &str, built_in: &str) -> Result<Self, Error> {
        let Some(path) = file else {
            return Ok(Self { label: format!("built-in {name}.toml"), text: built_in.to_owned(), built_in: true });
        };
        let text = config::read(path)?;
        Ok(Self { label: path.display().to_string(), text, built_in: false })
    }

    /// Its text with its name, which place what is in it.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        Source { file: &self.label, text: &self.text }
    }

    /// As faults tell of it.
    pub(super) fn written(&self, what: &str) -> Written {
        if self.built_in {
            return Written::built_in(what);
        }
        Written::in_file(self.label.as_ref(), self.text.clone())
    }
}

impl Documents {
    /// Whether both have the same texts, whatever their files are called.
    #[must_use]
    pub fn say_as(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }

    fn texts(&self) -> [&str; 4] {
        [&self.tree, &self.guard, &self.prices, &self.budget].map(|document| document.text.as_str())
    }

    /// Reads what the configuration names, and the built-in rest.
    ///
    /// # Errors
    /// A fault for every file that cannot be read.
    pub fn read(config: &Config) -> Result<Self, Vec<Error>> {
        let files = &config.policies;
        let tree = Document::read(files.tree.as_ref(), "tree", tree::BUILTIN);
        let guard = Document::read(files.guard.as_ref(), "guard", guard::BUILTIN);
        let prices = Document::read(files.prices.as_ref(), "prices", price::BUILTIN);
        let budget = Document::read(files.budget.as_ref(), "budget", budget::BUILTIN);
        match (tree, guard, prices, budget) {
            (Ok(tree), Ok(guard), Ok(prices), Ok(budget)) => Ok(Self { tree, guard, prices, budget }),
            (tree, guard, prices, budget) => {
                Err([tree.err(), guard.err(), prices.err(), budget.err()].into_iter().flatten().collect())
            }
        }
    }
}
