//! A budget is never passed, and says so before the call.

use agents::run::Event;

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

#[test]
fn a_model_that_bills_little_is_reserved_for_in_full_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let prompt = "The same words each time, of which the server counts one token for four bytes. ".repeat(10);
    let workflow = format!(
        "name = \"same\"\n[[steps]]\nid = \"all\"\nkind = \"map\"\nover = \"range(30) | list\"\nas = \"item\"\n\
         steps = [{{ id = \"say\", kind = \"agent\", agent = \"writer\", prompt = \"{prompt}\", output_max = 20 }}]\n"
    );
    std::fs::write(desk.brief("one").join("workflow.toml"), workflow).unwrap();
    desk.callboard(&["run", "one", "--plain"]).good();
    // The second run begins with thirty bills seen.
    desk.callboard(&["run", "one", "--plain", "--again"]).good();
    let (mut reserved, mut used) = (Vec::new(), Vec::new());
    for event in desk.events() {
        match event {
            Event::Intended(intent) => reserved.push(intent.reserved),
            Event::Resolved(resolved) => used.push((resolved.usage.input.0, resolved.cost)),
            _ => {}
        }
    }
    let bytes = prompt.len() as u64;
    assert!(used.len() >= 60 && used.iter().all(|(input, _)| *input < bytes / 3), "{used:?}");
    assert!(reserved.iter().all(|amount| *amount == reserved[0]), "{reserved:?}");
    assert!(used.iter().all(|(_, cost)| *cost < reserved[0]));
}
