//! An agent that chooses between two model servers: by what evaluation says, and by what is up.

use serde_json::Value;

use crate::desk::{Desk, Provider};
use crate::serve::{Server, eventually};

const GUARD: &str = "[model]\nbreaker = { failures = 2, open = \"60s\" }\n\
                     retry.backoff = { first = \"10ms\", factor = 1.0, cap = \"10ms\", jitter = 0.0 }\n";

/// A desk whose writer has two models, `one` and `two`, of two servers.
struct Choosing {
    desk: Desk,
    one: Provider,
    two: Provider,
    folders: [tempfile::TempDir; 2],
}

impl Choosing {
    fn new(choose: &str) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let down = folders[0].path().join("down");
        let one = Provider::start(folders[0].path(), &["--think-ms", "1", "--down-while", down.to_str().unwrap()]);
        let two = Provider::start(folders[1].path(), &["--think-ms", "1"]);
        let desk = Desk::new(&one.url);
        let model = |name: &str, url: &str, price: &str| {
            format!(
                "[models.{name}]\nkind = \"openai\"\nurl = \"{url}\"\nname = \"scripted-{name}\"\nprice = \"{price}\"\n"
            )
        };
        let config = format!(
            "data = \"data\"\ncache = {:?}\nmodel = \"two\"\npolicies = {{ tree = \"tree.toml\", guard = \"guard.toml\" }}\n{}{}",
            crate::desk::cache().display().to_string(),
            model("one", &one.url, "gpt-4o-mini"),
            model("two", &two.url, "gpt-5.4-mini"),
        );
        std::fs::write(desk.path("callboard.toml"), config).unwrap();
        let pool = format!("[worker.writer]\npool = {{ models = [\"one\", \"two\"], choose = {choose} }}\n");
        std::fs::write(desk.path("tree.toml"), policies::tree::BUILTIN.replace("[worker.writer]\n", &pool)).unwrap();
        std::fs::write(desk.path("guard.toml"), GUARD).unwrap();
        for (file, rule) in [("good", ""), ("bad", "rules = { terms_required = [\"no such word\"] }\n")] {
            let case = format!("[[cases]]\nid = \"a\"\nprompt = \"Write a sentence.\"\noutput_max = 40\n{rule}");
            std::fs::write(desk.path(&format!("{file}.toml")), case).unwrap();
        }
        Self { desk, one, two, folders }
    }

    fn fall(&self) {
        std::fs::write(self.folders[0].path().join("down"), "").unwrap();
    }

    /// So many calls as the servers have served.
    fn served(&self) -> (u64, u64) {
        let sum = |provider: &Provider| provider.calls().values().sum();
        (sum(&self.one), sum(&self.two))
    }

    /// What a run of one call tells of its choices, as a client of the server reads it; and what its list does.
    fn told(&self, server: &Server, name: &str) -> (Vec<Value>, String) {
        let step = format!(
            "name = \"{name}\"\n[[steps]]\nid = \"s\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"{name}\"\noutput_max = 20\n"
        );
        let order = serde_json::json!({ "definition": step, "inputs": {} }).to_string();
        let key = format!("Idempotency-Key: {name}\r\n");
        let (status, answer) = server.send("POST", "/v1/runs", &key, &order);
        assert!((200..300).contains(&status), "{status}: {answer}");
        let id = serde_json::from_str::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned();
        let (_, events) = server.get(&format!("/v1/runs/{id}/events"));
        let data = events.lines().filter_map(|line| line.strip_prefix("data:"));
        let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let intended: Vec<Value> = events.map(|event| event["payload"]["intended"]["choice"].clone()).collect();
        let mut listed = String::new();
        eventually(|| {
            let runs = server.json("/v1/runs");
            let run = runs["runs"].as_array().unwrap().iter().find(|run| run["id"] == id.as_str()).cloned();
            listed = run.unwrap_or_default()["steps"]["s"]["choice"].as_str().unwrap_or_default().to_owned();
            !listed.is_empty()
        });
        (intended.into_iter().filter(|choice| !choice.is_null()).collect(), listed)
    }
}

#[test]
fn what_is_evaluated_better_speaks_and_the_clients_are_told_why() {
    let choosing = Choosing::new("\"best\"");
    let desk = &choosing.desk;
    let said = desk.callboard(&["eval", "writer", "bad.toml", "--model", "one"]).good();
    assert!(said.out.contains("writer with scripted-one: score 0.00"), "{}", said.out);
    let said = desk.callboard(&["eval", "writer", "good.toml", "--model", "two"]).good();
    assert!(said.out.contains("writer with scripted-two: score 1.00"), "{}", said.out);
    let said = desk.callboard(&["eval", "writer", "good.toml", "--model", "twoo"]).bad();
    assert!(said.err.contains("the pool of `writer` has no model `twoo`; did you mean `two`?"), "{}", said.err);
    let said = desk.callboard(&["eval", "reviewer", "good.toml", "--model", "two"]).bad();
    assert!(said.err.contains("`reviewer` has no pool of models"), "{}", said.err);
    assert_eq!(choosing.served(), (1, 1));
    let server = Server::start(desk);
    let (choices, listed) = choosing.told(&server, "first");
    assert_eq!((choices[0]["model"].as_str(), choices[0]["by"].as_str()), (Some("two"), Some("best")));
    let quality = |at: usize| choices[0]["considered"][at]["quality"].as_f64().unwrap();
    assert_eq!((quality(0), quality(1), listed.as_str()), (1.0, 0.0, "two, the best of 2"));
    server.end();
    desk.callboard(&["eval", "writer", "bad.toml", "--model", "two"]).good();
    desk.callboard(&["eval", "writer", "good.toml", "--model", "one"]).good();
    let server = Server::start(desk);
    assert_eq!(choosing.told(&server, "second").1, "one, the best of 2", "a better evaluation has changed it");
}

#[test]
fn the_cheapest_speaks_until_it_is_down() {
    let choosing = Choosing::new("\"cheapest\"");
    let server = Server::start(&choosing.desk);
    assert_eq!(choosing.told(&server, "first").1, "one, the cheapest of 2");
    choosing.fall();
    let (choices, listed) = choosing.told(&server, "second");
    assert_eq!(listed, "two, the cheapest of 2; not one, because the breaker of model/one is open");
    let models: Vec<&str> = choices.iter().map(|choice| choice["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["one", "one", "two"]);
    let out = &choices[2]["considered"][0]["out"];
    assert_eq!((out["why"].as_str(), out["guard"].as_str()), (Some("breaker"), Some("model/one")));
    assert_eq!(choosing.served(), (1, 1));
    let said = choosing.desk.callboard(&["policy", "explain", "agents.writer"]).good();
    assert!(said.out.contains("of one, two, the one whose call costs least at its worst"), "{}", said.out);
}
