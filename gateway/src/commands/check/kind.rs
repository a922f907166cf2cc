//! What a path is that is to be checked. Invariant: what cannot be told is said, and never taken for
//! something else.

use std::path::Path;

use policies::document::{self, Error, Mistakes, Section, Source};

/// What `check` takes, for those who gave it something else.
const TAKEN: &str = "check takes a folder with a brief.md, or that file, or a TOML file: a workflow, callboard.toml, or one of its \
                     policy files (tree.toml, guard.toml, prices.toml, budget.toml)";

/// What a TOML file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Workflow,
    Tree,
    Guards,
    Prices,
    Budget,
    Config,
}

/// The names that say what a file is.
const NAMES: [(&str, Kind); 6] = [
    ("tree", Kind::Tree),
    ("guard", Kind::Guards),
    ("prices", Kind::Prices),
    ("budget", Kind::Budget),
    ("workflow", Kind::Workflow),
    ("callboard", Kind::Config),
];

/// The keys that only one kind of file has, all kinds told apart by the first that is there.
const SIGNS: [(&str, Kind); 18] = [
    ("steps", Kind::Workflow),
    ("inputs", Kind::Workflow),
    ("supervisor", Kind::Tree),
    ("worker", Kind::Tree),
    ("dynamic", Kind::Tree),
    ("root", Kind::Tree),
    ("models", Kind::Prices),
    ("default", Kind::Guards),
    ("run", Kind::Budget),
    ("agent", Kind::Budget),
    ("listen", Kind::Config),
    ("data", Kind::Config),
    ("cache", Kind::Config),
    ("feed", Kind::Config),
    ("publishers", Kind::Config),
    ("policies", Kind::Config),
    ("journal", Kind::Config),
    ("chaos", Kind::Config),
];

/// Keys that a table of a guard may have, and no other table of that name.
const GUARDING: [&str; 6] = ["deadline", "timeout", "concurrency", "rate", "breaker", "retry"];

/// By its name where that says it, or else by its keys.
///
/// # Errors
/// That it is none of them, or cannot be told for mistakes of syntax.
pub(super) fn of(path: &Path, text: &str) -> Result<Kind, Vec<Error>> {
    let label = path.display().to_string();
    if path.extension().is_some_and(|extension| extension != "toml") {
        return Err(vec![Error::whole(label, "is neither a brief.md nor a TOML file", TAKEN)]);
    }
    let stem = path.file_stem().unwrap_or_default();
    if let Some((_, kind)) = NAMES.iter().find(|(name, _)| *name == stem) {
        return Ok(*kind);
    }
    let source = Source { file: &label, text };
    let document = document::parse(source)?;
    let mut ignored = Mistakes::new(source);
    let Some(mut section) = Section::of("the file", &document, &mut ignored) else { return Err(Vec::new()) };
    if let Some((_, kind)) = SIGNS.iter().find(|(key, _)| section.get(key).is_some()) {
        return Ok(*kind);
    }
    if section.get("experiment").is_some() {
        let help = format!("an experiment is read by callboard-chaos; {TAKEN}");
        return Err(vec![Error::whole(label, "is an experiment", help)]);
    }
    for key in ["model", "context"] {
        let table = section.get(key).and_then(|value| value.get_ref().as_table());
        if let Some(table) = table {
            let guards = table.keys().any(|key| GUARDING.contains(&key.get_ref().as_ref()));
            return Ok(if guards { Kind::Guards } else { Kind::Config });
        }
    }
    Err(vec![Error::whole(label, "has no table that tells what it is", TAKEN)])
}
