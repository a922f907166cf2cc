//! `callboard check`: all faults of briefs, workflows, policies and
//! configuration. Invariant: it starts nothing and writes nothing.

use std::io::Write;
use std::path::Path;

use agents::workflow::{self, Known};
use anyhow::Context;
use policies::budget::BudgetPolicy;
use policies::document::{self, Error};
use policies::guard::Guards;
use policies::price::PriceTable;
use policies::tree;

use crate::brief::{self, Brief};
use crate::cli::CheckArgs;
use crate::config::{self, Config};
use crate::policy::Policies;
use crate::system::names;

/// What a TOML file is, told by its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Workflow,
    Tree,
    Guards,
    Prices,
    Budget,
    Config,
}

/// Prints every fault, or that there is none.
///
/// # Errors
/// When there are faults, or they cannot be printed.
pub fn run(arguments: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (mut faults, mut checked) = (Vec::new(), Vec::new());
    let known = match Config::load(arguments.config.as_deref()) {
        Err(fault) => {
            faults.push(fault);
            names(&Config::default())
        }
        Ok(config) => {
            if arguments.paths.is_empty() {
                checked.push("the configuration and its policies".to_owned());
                faults.extend(Policies::load(&config).err().unwrap_or_default());
                faults.extend(
                    workflow::check("workflows/announce.toml", workflow::ANNOUNCE, &names(&config))
                        .err()
                        .unwrap_or_default(),
                );
            }
            names(&config)
        }
    };
    for path in &arguments.paths {
        checked.push(path.display().to_string());
        faults.extend(check_path(path, &known));
    }
    for fault in &faults {
        writeln!(out, "{fault}").context("the faults cannot be printed")?;
    }
    match faults.len() {
        0 => writeln!(out, "no faults in {}", checked.join(", ")).context("the result cannot be printed"),
        1 => anyhow::bail!("1 fault found"),
        more => anyhow::bail!("{more} faults found"),
    }
}

fn check_path(path: &Path, known: &Known) -> Vec<Error> {
    if path.is_dir() {
        let mut faults = Brief::read(path).err().unwrap_or_default();
        let own = path.join(brief::WORKFLOW);
        if own.exists() {
            faults.extend(check_file(&own, known));
        }
        return faults;
    }
    check_file(path, known)
}

fn check_file(path: &Path, known: &Known) -> Vec<Error> {
    let text = match config::read(path) {
        Ok(text) => text,
        Err(fault) => return vec![fault],
    };
    let label = path.display().to_string();
    let one = |result: Result<(), Error>| result.err().into_iter().collect();
    match kind(path, &text) {
        Kind::Workflow => workflow::check(&label, &text, known).err().unwrap_or_default(),
        Kind::Tree => tree::check(&label, &text),
        Kind::Guards => one(Guards::read(&label, &text).map(drop)),
        Kind::Prices => one(document::read::<PriceTable>(&label, &text).map(drop)),
        Kind::Budget => one(document::read::<BudgetPolicy>(&label, &text).map(drop)),
        Kind::Config => match Config::load(Some(path)) {
            Ok(config) => Policies::load(&config).err().unwrap_or_default(),
            Err(fault) => vec![fault],
        },
    }
}

/// By name where the name says it, else by the first table that only one kind has.
fn kind(path: &Path, text: &str) -> Kind {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let by_name = [
        ("tree", Kind::Tree),
        ("guard", Kind::Guards),
        ("prices", Kind::Prices),
        ("budget", Kind::Budget),
        ("workflow", Kind::Workflow),
        ("callboard", Kind::Config),
    ];
    if let Some((_, kind)) = by_name.iter().find(|(name, _)| *name == stem) {
        return *kind;
    }
    let signs = [
        ("[[steps", Kind::Workflow),
        ("[supervisor", Kind::Tree),
        ("[worker", Kind::Tree),
        ("[models", Kind::Prices),
        ("[default", Kind::Guards),
        ("workspace = \"$", Kind::Budget),
        ("[model]", Kind::Config),
        ("[context]", Kind::Config),
    ];
    let starts = |line: &str| signs.iter().find(|(sign, _)| line.trim_start().starts_with(sign)).map(|(_, kind)| *kind);
    text.lines().find_map(starts).unwrap_or(Kind::Workflow)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn faults(name: &str, text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let arguments = CheckArgs { paths: vec![path], config: None };
        let mut out = Vec::new();
        let outcome = run(&arguments, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(outcome.is_err(), !text.starts_with("no faults"), "{text}");
        text
    }

    #[test]
    fn what_is_built_in_has_no_faults() {
        let mut out = Vec::new();
        run(&CheckArgs { paths: vec![], config: None }, &mut out).unwrap();
    }

    #[test]
    fn the_example_has_no_faults() {
        let example = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/launch"));
        run(&CheckArgs { paths: vec![example], config: None }, &mut Vec::new()).unwrap();
    }

    #[test]
    fn each_kind_of_file_is_told_by_its_name_or_its_tables() {
        for (name, text, wanted) in [
            ("tree.toml", "root = \"a\"\n[supervisor.a]\nstrateegy = \"one_for_one\"\n", "strategy"),
            ("mine.toml", "root = \"a\"\n[supervisor.a]\nchildren = [\"b\"]\n", "`b`"),
            ("guard.toml", "[default]\ntimeut = \"5s\"\n", "timeout"),
            ("prices.toml", "version = 1\nsource = \"x\"\ndate = \"y\"\n[models.a]\ninput = \"1\"\n", ":5:"),
            ("budget.toml", "runn = \"$1.00\"\n", "run"),
            ("callboard.toml", "[model]\nkind = \"opena\"\n", "openai"),
        ] {
            let found = faults(name, text);
            assert!(found.contains(wanted) && found.contains(name), "{name}: {found}");
        }
    }

    #[test]
    fn a_missing_path_is_one_clear_error() {
        let arguments = CheckArgs { paths: vec![PathBuf::from("/no/such/file.toml")], config: None };
        let mut out = Vec::new();
        assert!(run(&arguments, &mut out).is_err());
        assert!(String::from_utf8(out).unwrap().contains("/no/such/file.toml:1:1: cannot be read"));
    }
}
