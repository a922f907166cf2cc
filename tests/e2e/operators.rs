//! What operators do to the tree of a server, and what is written down of it.

use serde_json::Value;

use crate::desk::{Desk, Provider};
use crate::serve::{Server, eventually, order};

pub(crate) fn node(server: &Server, name: &str) -> Value {
    fn find(node: &Value, name: &str) -> Option<Value> {
        if node["name"] == name {
            return Some(node.clone());
        }
        node["children"].as_array()?.iter().find_map(|child| find(child, name))
    }
    find(&server.json("/v1/tree")["root"], name).unwrap()
}

#[test]
fn a_paused_agent_holds_up_runs_and_fails_none_and_each_word_is_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let server = Server::start(&desk);
    let url = format!("http://{}", server.address);
    let say = |words: &[&str]| desk.callboard(&[words, &["--url", &url]].concat());

    let said = say(&["tree", "pause", "agents.writer"]).good().out;
    assert!(said.contains("◐ writer, paused by an operator"), "{said}");
    assert_eq!(node(&server, "writer")["duty"], "paused");
    let (_, body) = server.send("POST", "/v1/runs", "", &order("automatic"));
    let run: Value = serde_json::from_str(&body).unwrap();
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(server.json(&path)["status"], "running");

    for (words, wanted) in [
        (["tree", "stop", "agents.writre"], "did you mean `writer`?"),
        (["tree", "stop", "callboard"], "is the root of the tree"),
        (["tree", "resume", "reviewer"], "it is up and takes work"),
    ] {
        assert!(say(&words).bad().err.contains(wanted), "{words:?}");
    }
    let (status, said) = server.send("POST", "/v1/tree/writer/resum", "", "");
    assert!(status == 404 && said.contains("did you mean `resume`?"), "{said}");

    let branch = say(&["tree", "callboard.agents", "--plain"]).good().out;
    assert!(branch.starts_with("● agents (supervisor)\n├─ ● researcher") && branch.lines().count() == 4, "{branch}");
    let top = say(&["tree", "--depth", "1", "--plain"]).good().out;
    assert!(top.contains("│  └─ … 3 more: 3 up\n"), "{top}");
    let few = say(&["tree", "agents", "--limit", "1", "--plain"]).good().out;
    assert!(few.contains("├─ ◐ writer") && few.ends_with("└─ … 2 more: 2 up\n"), "the odd one comes first: {few}");
    assert!(say(&["tree", "agents.writre"]).bad().err.contains("did you mean `writer`?"));
    assert_eq!(server.get("/v1/tree?dept=1").0, 400);

    say(&["tree", "stop", "feed"]).good();
    eventually(|| node(&server, "feed")["state"] == "parked");
    say(&["tree", "resume", "writer"]).good();
    eventually(|| server.json(&path)["status"] == "running" && node(&server, "writer")["generation"] == 1);
    let shown = say(&["tree", "--plain"]).good().out;
    assert!(shown.contains("◌ feed, stopped until it is resumed for"), "{shown}");
    say(&["tree", "restart", "publishers.feed"]).good();
    eventually(|| server.json(&path)["status"] == "finished");
    assert_eq!(desk.feed().len(), 3);

    let deeds = server.json("/v1/audit?limit=2")["deeds"].clone();
    assert_eq!((&deeds[0]["action"], &deeds[0]["node"]), (&"restart".into(), &"feed".into()));
    assert_eq!((&deeds[1]["action"], &deeds[1]["outcome"]), (&"resume".into(), &"done".into()));
    let all = server.json("/v1/audit")["deeds"].as_array().unwrap().clone();
    let told: Vec<_> = all.iter().rev().map(|deed| format!("{} {}", deed["action"], deed["outcome"])).collect();
    let wanted =
        ["pause done", "stop refused", "stop refused", "resume refused", "stop done", "resume done", "restart done"];
    assert_eq!(told.join(", ").replace('"', ""), wanted.join(", "));
    assert!(all.iter().all(|deed| deed["by"] == "http" && deed["at"].as_i64().unwrap() > 0));
    assert!(all[5]["why"].as_str().unwrap().contains("did you mean"), "{}", all[5]);
    assert_eq!(server.get("/v1/audit?limit=0").0, 400);

    let resumed = all[1]["at"].as_i64().unwrap();
    let stream = server.get(&format!("{path}/events")).1;
    let events = stream.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let intents: Vec<Value> =
        events.filter_map(|event| event.pointer("/payload/intended").or(event.get("intended")).cloned()).collect();
    let begun = |name: &str| {
        let of = |intent: &Value| {
            intent["request"]["agent"]["agent"] == name || intent["request"]["publish"]["publisher"] == name
        };
        intents.iter().filter(|intent| of(intent)).map(|intent| intent["at"].as_i64().unwrap()).min()
    };
    assert!(begun("writer").unwrap() >= resumed, "the writer began nothing while it was paused");
}
