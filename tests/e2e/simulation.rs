//! The whole system replays from a seed.

use std::process::Command;

#[test]
fn a_hundred_seeds_replay_the_same_trace_twice() {
    let output = Command::new(env!("CARGO_BIN_EXE_e2e-chaos")).args(["sim", "--seeds", "100"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("100 of 100 seeds replayed the same trace; 100 different traces"), "{said}");
}
