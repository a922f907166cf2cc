//! An agent over cases: scored, recorded, compared, and not paid for twice.

use std::time::Duration;

use crate::desk::{Desk, Provider, Said};

const CASES: &str = r#"
question = "Is it friendly?"

[[cases]]
id = "kept"
prompt = "Write a sentence about a lamp."
output_max = 60

[[cases]]
id = "broken"
prompt = "Write a sentence about a boat."
output_max = 60
rules = { terms_required = ["no such word"] }
"#;

fn desk_with_cases(provider: &Provider) -> Desk {
    let desk = Desk::new(&provider.url);
    std::fs::create_dir_all(desk.path("evals")).unwrap();
    std::fs::write(desk.path("evals/small.toml"), CASES).unwrap();
    desk
}

#[test]
fn an_agent_is_scored_over_cases_and_compared_with_the_last_time() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = desk_with_cases(&provider);
    let first = desk.callboard(&["eval", "agents.writer", "evals"]).good();
    assert!(first.out.contains("small/kept") && first.out.contains("1 of 2 passed"), "{}", first.out);
    assert!(first.out.contains("small/broken: The post must mention \"no such word\"."), "{}", first.out);
    assert!(!first.out.contains("the last one"), "{}", first.out);
    let calls = provider.calls().values().sum::<u64>();
    assert_eq!(calls, 4, "two answers and two grades");
    let second = desk.callboard(&["eval", "writer", "evals/small.toml"]).good();
    assert!(second.out.contains("the last one, of "), "{}", second.out);
    let json = desk.callboard(&["eval", "writer", "evals", "--json"]).good().out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["cases"][1]["case"].as_str(), json["agent"].as_str()), (Some("small/broken"), Some("writer")));
    assert!(json["cases"][0]["answer"]["Ok"]["cost"].as_u64().unwrap_or(1) > 0, "{json}");
    let kinds: Vec<_> = desk.journal().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "evaluation.finished").count(), 3);
    let said = desk.callboard(&["eval", "writer", "evals", "--score-min", "0.99"]).bad();
    assert!(said.err.contains("is less than 0.99"), "{}", said.err);
}

#[test]
fn a_killed_evaluation_goes_on_and_pays_no_answer_twice() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "400"]);
    let desk = desk_with_cases(&provider);
    let mut child = desk.command(&["eval", "writer", "evals", "--parallel", "1"]).spawn().unwrap();
    // The answer of the first case is recorded once its grade is asked for.
    while provider.calls().len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = desk.command(&["eval", "writer", "evals", "--parallel", "1"]).output().unwrap();
    Said::of(output).good();
    let calls = provider.calls();
    let again: Vec<_> = calls.values().filter(|count| **count > 1).collect();
    assert!(calls.len() == 4 && again.len() <= 1, "only the call in flight may be made again: {calls:?}");
    let kinds: Vec<_> = desk.journal().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "evaluation.finished").count(), 1);
}

#[test]
fn what_is_wrong_with_cases_is_told_before_anything_is_opened() {
    let desk = Desk::new("http://127.0.0.1:9/v1");
    std::fs::write(
        desk.path("a.toml"),
        "[[cases]]\nid = \"x\"\nprompt = \"\"\n\n[[cases]]\nid = \"x\"\nprompt = \"y\"\n",
    )
    .unwrap();
    let said = desk.callboard(&["eval", "writer", "a.toml"]).bad();
    assert!(said.err.contains("a.toml:3:10: it asks nothing") && said.err.contains("two cases `x`"), "{}", said.err);
    let said = desk.callboard(&["eval", "agents.writr", "a.toml"]).bad();
    assert!(said.err.contains("did you mean `writer`?"), "{}", said.err);
    assert!(desk.callboard(&["eval", "writer", "none.toml"]).bad().err.contains("none.toml"));
    assert!(!desk.path("data").exists(), "nothing was opened");
}
