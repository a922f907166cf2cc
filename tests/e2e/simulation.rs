//! The whole system in simulation: it replays from a seed, and holds under every shipped experiment.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Seeds of each experiment on every change; the whole campaigns are a command of their own.
const SHARE: &str = "3";

fn chaos(arguments: &[&str]) -> String {
    let reports = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-chaos"));
    if arguments[0] == "sim" {
        command.args(["sim", "--out", &reports.path().display().to_string()]).args(&arguments[1..]);
    } else {
        command.args(arguments);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn room() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("chaos")
}

#[test]
fn a_hundred_seeds_replay_the_same_trace_twice() {
    let said = chaos(&["sim", "--seeds", "100"]);
    assert!(said.contains("100 of 100 seeds replayed the same trace; 100 different traces"), "{said}");
}

#[test]
fn every_shipped_experiment_holds_for_its_first_seeds() {
    let said = chaos(&["sim", &room().join("experiments").display().to_string(), "--seeds", SHARE, "--share"]);
    assert!(said.contains("16 of 16 experiments passed"), "{said}");
}

#[test]
fn what_has_failed_once_does_not_fail_again() {
    let said = chaos(&["regressions", &room().join("regressions").display().to_string()]);
    assert!(said.contains("do not fail any more"), "{said}");
}

#[test]
fn every_mutant_is_caught() {
    let said = chaos(&["mutants", &room().join("experiments").display().to_string(), "--each", "4"]);
    assert!(!said.contains("NOBODY"), "{said}");
}
