//! An agent over cases: scored, recorded, compared, and not paid for twice.

use std::time::Duration;

use crate::desk::{Desk, Provider, Said};
use crate::serve::{Server, eventually};

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

#[test]
fn what_the_answers_cost_is_listed_over_http_and_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = desk_with_cases(&provider);
    desk.callboard(&["eval", "writer", "evals"]).good();
    let server = Server::start(&desk);
    eventually(|| server.json("/v1/costs?by=model")["costs"][0]["calls"] == 4);
    let models = server.json("/v1/costs?by=model");
    assert_eq!(models["costs"].as_array().unwrap().len(), 1, "{models}");
    let agents = server.json("/v1/costs?by=agent&limit=1");
    let names: Vec<_> = agents["costs"].as_array().unwrap().iter().map(|line| line["name"].clone()).collect();
    assert_eq!(names, ["reviewer"], "{agents}");
    assert!(!agents["next"].is_null() && agents["costs"][0]["cost"].as_u64().unwrap() > 0, "{agents}");
    for wrong in ["by=nobody", "by=agent&run=x", "limit=0", "colour=red"] {
        assert_eq!(server.get(&format!("/v1/costs?{wrong}")).0, 400, "{wrong}");
    }
    assert_eq!(server.get("/v1/costs?by=step&run=none").0, 404);
    let url = format!("http://{}", server.address);
    let said = desk.callboard(&["costs", "--by", "agent", "--url", &url]).good();
    assert!(said.out.contains("writer") && said.out.contains("reviewer"), "{}", said.out);
}
