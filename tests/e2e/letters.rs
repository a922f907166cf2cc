//! Messages that kill whoever handles them, and mailboxes at their bounds.

use serde_json::{Value, json};

use crate::desk::{Desk, Provider};
use crate::operators::node;
use crate::serve::{Server, eventually, order};

const TOKEN: &str = "open-sesame";

/// A desk whose server can be given faults.
fn ground() -> (Provider, Desk) {
    let desk = Desk::new("");
    let provider = Provider::start(desk.folder.path(), &["--think-ms", "1"]);
    desk.configure(&provider.url, "chaos.token = { file = \"token\" }\n");
    std::fs::write(desk.path("token"), format!("{TOKEN}\n")).unwrap();
    (provider, desk)
}

/// A run of one step by this agent; its id.
fn run(server: &Server, agent: &str) -> String {
    let definition = format!(
        "name = \"one\"\n[[steps]]\nid = \"say\"\nkind = \"agent\"\nagent = \"{agent}\"\nprompt = \"Say a word.\"\noutput_max = 20\n[outputs]\ntext = \"steps.say.text\"\n"
    );
    let (status, body) = server.send("POST", "/v1/runs", "", &json!({ "definition": definition }).to_string());
    assert_eq!(status, 201, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned()
}

fn status(server: &Server, run: &str) -> Value {
    server.json(&format!("/v1/runs/{run}"))["status"].clone()
}

/// The writer panics at its next three messages.
fn poison(server: &Server) {
    let fault = json!({ "kind": "actor_panic", "target": "writer", "hits_max": 3, "for": "5m" }).to_string();
    let (status, said) = server.send("POST", "/v1/chaos/faults", &format!("Authorization: Bearer {TOKEN}\r\n"), &fault);
    assert_eq!(status, 201, "{said}");
}

fn letters(server: &Server, query: &str) -> Vec<Value> {
    server.json(&format!("/v1/letters{query}"))["letters"].as_array().unwrap().clone()
}

#[test]
fn a_step_that_kills_its_agent_is_held_with_its_history_and_goes_on_when_it_is_replayed() {
    let (provider, desk) = ground();
    let server = Server::start(&desk);
    let url = format!("http://{}", server.address);
    let say = |words: &[&str]| desk.callboard(&[words, &["--url", &url]].concat());

    poison(&server);
    let held = run(&server, "writer");
    eventually(|| status(&server, &held) == "parked");
    let other = run(&server, "reviewer");
    eventually(|| status(&server, &other) == "finished");

    let [line] = letters(&server, "").try_into().unwrap();
    assert_eq!((&line["stream"], &line["what"]), (&format!("run/{held}").into(), &"say".into()));
    assert_eq!((&line["child"], &line["deaths"], &line["fate"]), (&"writer".into(), &3.into(), &"open".into()));
    let id = line["id"].as_str().unwrap().to_owned();
    let parked = &server.json(&format!("/v1/runs/{held}"))["parked"][0]["hold"]["poison"];
    assert_eq!(parked["letter"], id.as_str());
    let letter = server.json(&format!("/v1/letters/{id}"));
    assert!(
        letter["deaths"].as_array().unwrap().iter().all(|death| death["class"] == "bug" && death["certain"] == true)
    );
    assert!(letter["content"].to_string().contains("Say a word."), "{letter}");
    let shown = say(&["letters", "show", &id]).good().out;
    assert!(shown.matches("it killed writer: bug").count() == 3 && shown.contains("Say a word."), "{shown}");
    assert!(say(&["letters"]).good().out.contains(&format!("say of run/{held}  3 deaths")));
    let metrics = server.get("/metrics").1;
    for line in ["callboard_dead_letters_total{actor=\"writer\"} 1", "callboard_dead_letters_open 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    for series in ["mailbox_depth{actor=\"writer\"}", "queue_wait_seconds_count{actor=\"reviewer\"}"] {
        assert!(metrics.contains(&format!("callboard_{series}")), "{metrics}");
    }

    assert!(say(&["letters", "replay", "nothing"]).bad().err.contains("there is no dead letter `nothing`"));
    assert!(say(&["letters", "replay", &id]).good().out.contains("goes on"));
    eventually(|| status(&server, &held) == "finished");
    let said = say(&["letters", "replay", &id]).good().out;
    assert!(said.contains("was dealt with before: it was replayed at"), "{said}");
    assert_eq!((letters(&server, "").len(), letters(&server, "?all=true").len()), (0, 1));
    assert_eq!(server.get("/v1/letters?limit=0").0, 400);
    let deeds = server.json("/v1/audit")["deeds"].clone();
    let told: Vec<_> = deeds.as_array().unwrap().iter().map(|deed| (&deed["what"], &deed["outcome"])).collect();
    let (letters, done, refused) = (&json!("letters"), &json!("done"), &json!("refused"));
    assert_eq!(told, [(letters, refused), (letters, done), (letters, refused)]);
    server.end();
    assert_eq!(provider.calls().values().sum::<u64>(), 2, "what was recorded is not asked for again");
}

#[test]
fn a_letter_outlives_the_process_and_is_given_up_once() {
    let (_provider, desk) = ground();
    let server = Server::start(&desk);
    poison(&server);
    let held = run(&server, "writer");
    eventually(|| status(&server, &held) == "parked");
    let id = letters(&server, "")[0]["id"].as_str().unwrap().to_owned();
    // Killed, not stopped.
    drop(server);

    let server = Server::start(&desk);
    let url = format!("http://{}", server.address);
    let discard = ["letters", "discard", &id, "--reason", "it is of no use", "--url", &url];
    assert_eq!((status(&server, &held), letters(&server, "").len()), (json!("parked"), 1));
    assert!(desk.callboard(&discard).good().out.contains("is given up"));
    let shown = server.json(&format!("/v1/runs/{held}"));
    assert_eq!(shown["status"], "failed");
    assert!(shown["failure"].as_str().unwrap().contains("it is of no use"), "{shown}");
    assert!(desk.callboard(&discard).good().out.contains("was dealt with before"));
    let resume = format!("/v1/runs/{held}/resume");
    assert_eq!(server.send("POST", &resume, "", "").0, 200);
    eventually(|| status(&server, &held) == "finished");
}

fn mailbox(server: &Server) -> Value {
    node(server, "writer")["mailbox"].clone()
}

#[test]
fn runs_wait_for_a_full_mailbox_and_another_bound_holds_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "100"]);
    let desk = Desk::new(&provider.url);
    desk.configure(&provider.url, "policies.tree = \"tree.toml\"\n");
    let tree = |mailbox: &str| {
        let (before, writer) = policies::tree::BUILTIN.split_once("[worker.writer]").unwrap();
        let writer = writer.replacen("mailbox = 256", &format!("mailbox = {mailbox}"), 1);
        std::fs::write(desk.path("tree.toml"), format!("{before}[worker.writer]{writer}")).unwrap();
    };
    tree("{ bound = 1, when_full = \"drop_oldest\" }");
    let line = std::fs::read_to_string(desk.path("tree.toml")).unwrap();
    let line = line.lines().position(|line| line.contains("drop_oldest")).unwrap() + 1;
    let said = desk.callboard(&["check"]).bad();
    let wanted = format!("tree.toml:{line}:36: `writer` carries what was promised");
    assert!(format!("{}{}", said.out, said.err).contains(&wanted), "{}{}", said.out, said.err);

    tree("1");
    let server = Server::start(&desk);
    let runs: Vec<String> = (0..2)
        .map(|_| {
            let (_, body) = server.send("POST", "/v1/runs", "", &order("automatic"));
            serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    eventually(|| mailbox(&server)["refused"].as_u64() > Some(0));
    assert_eq!(mailbox(&server)["max"], 1);
    tree("{ bound = 7, when_full = \"block\", block_within = \"2s\" }");
    let url = format!("http://{}", server.address);
    let said = desk.callboard(&["policy", "reload", "--url", &url]).good().out;
    assert!(said.contains("worker.writer.mailbox.bound: 1 → 7  (at once)"), "{said}");
    assert_eq!(mailbox(&server)["max"], 7);
    eventually(|| runs.iter().all(|run| status(&server, run) == "finished"));
    assert!(server.get("/metrics").1.contains("callboard_mailbox_refusals_total{actor=\"writer\"}"));
}
