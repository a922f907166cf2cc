//! A budget is never passed, and says so before the call.

use crate::desk::{Desk, Provider};

#[test]
fn a_run_whose_next_call_does_not_fit_is_refused_before_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &[]);
    let desk = Desk::new(&provider.url);
    std::fs::write(desk.path("budget.toml"), "run = \"$0.00001\"\n").unwrap();
    desk.configure(&provider.url, "[policies]\nbudget = \"budget.toml\"\n");
    let brief = desk.brief("one").display().to_string();
    let said = desk.callboard(&["run", &brief, "--plain"]).bad();
    for part in ["run/", "has $0.00001 left", "may cost $0.0000"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(provider.calls().is_empty(), "nothing was asked of the model");
}
