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

/// Two runs that can hardly be over before the play is.
const HASTE: &str = "\
[experiment]
name = \"haste\"
seeds = 1
duration = \"10s\"
quiet = \"1s\"

[workload]
runs = 2
arrival = \"1/5s\"

[[steady]]
probe = \"runs_finished_per_min\"
min = 1
mode = \"start\"

[[fault]]
kind = \"provider_slow\"
by = \"1m\"
at = \"1s..9s\"

[[fault]]
kind = \"clock_jump\"
by = \"1h\"
at = \"2s\"
";

fn fails(arguments: &[&str], folder: &Path) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_e2e-chaos")).args(arguments).current_dir(folder).output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    assert!(!output.status.success(), "{}", said(output.stdout));
    (said(output.stdout), said(output.stderr))
}

#[test]
fn a_failure_is_reported_replayed_and_made_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("haste.toml"), HASTE).unwrap();
    let (said, _) = fails(&["sim", "haste.toml"], folder.path());
    assert!(said.contains("haste: failed"), "{said}");
    let report = std::fs::read_to_string(path("reports/haste.md")).unwrap();
    assert!(report.contains("| `no_lost_run` |"), "{report}");
    assert!(report.contains("unsteady: `runs_finished_per_min` must be at least 1, before"), "{report}");

    let (said, _) = fails(&["replay", "reports/haste-1.json", "--picture", "haste.svg"], folder.path());
    assert!(said.contains("no_lost_run: ") && said.contains("\ntrace "), "{said}");
    assert!(std::fs::read_to_string(path("haste.svg")).unwrap().contains("<svg"));
    let (said, _) = fails(&["replay", "--seed", "1", "haste.toml"], folder.path());
    assert!(said.contains("unsteady: `runs_finished_per_min`"), "{said}");

    let said = chaos(&["shrink", &path("reports/haste-1.json"), "--out", &path("small/haste.json")]);
    assert!(said.contains("0 faults and 1 runs are left of 2 and 2"), "{said}");
    let (said, _) = fails(&["regressions", "small"], folder.path());
    assert!(said.contains("0 of 1 plans"), "{said}");
}

#[test]
fn what_was_not_played_has_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("none")).unwrap();
    let (_, said) = fails(&["regressions", "none"], folder.path());
    assert!(said.contains("none holds no plan (.json), so nothing was played"), "{said}");
    let (_, said) = fails(&["sim", "none"], folder.path());
    assert!(said.contains("none holds no experiment (.toml)"), "{said}");
    let calm = "[experiment]\nname = \"calm\"\nduration = \"10s\"\nquiet = \"10m\"\n[workload]\nruns = 1\narrival = \"1/s\"\n\
                [[fault]]\nkind = \"clock_jump\"\nby = \"1h\"\nat = \"3s\"\n[[sometimes]]\nuse = [\"crashed\"]\n";
    std::fs::write(folder.path().join("calm.toml"), calm).unwrap();
    let (said, _) = fails(&["sim", "calm.toml", "--seeds", "1"], folder.path());
    assert!(said.contains("calm: inconclusive"), "{said}");
    let regressions = room().join("regressions/clock-jump-set-back.json").display().to_string();
    let (_, said) = fails(&["shrink", &regressions], folder.path());
    assert!(said.contains("does not fail"), "{said}");
}

#[test]
fn every_mutant_is_caught() {
    let said = chaos(&["mutants", &room().join("experiments").display().to_string(), "--each", "4"]);
    assert!(!said.contains("NOBODY"), "{said}");
}
