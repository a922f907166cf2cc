//! Steps that want JSON of their models, have them think, or show them pictures, as a user writes and runs them.

use std::cell::Cell;

use agents::run::Event;
use serde_json::{Value, json};

use crate::desk::{Desk, Provider};
use crate::serve::{Server, eventually};

const POST: &str = r#"{
  "type": "object",
  "properties": {
    "headline": { "type": "string" },
    "kind": { "enum": ["launch", "sale"] },
    "stars": { "type": "integer", "minimum": 4, "maximum": 9 }
  },
  "required": ["headline", "kind", "stars"],
  "additionalProperties": false
}"#;

fn workflow(field: &str) -> String {
    format!(
        "name = \"shaped\"\n[inputs]\nproduct = {{ type = \"text\" }}\n\
         [[steps]]\nid = \"plan\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"Plan a post about {{{{ inputs.product }}}}.\"\n\
         output_max = 200\nschema = \"post.json\"\n\
         [[steps]]\nid = \"publish\"\nkind = \"publish\"\npublisher = \"feed\"\n\
         post = {{ title = \"{{{{ steps.plan.output.{field} }}}} of {{{{ steps.plan.output.stars + 1 }}}} stars\", text = \"steps.plan.output.headline\" }}\n"
    )
}

#[test]
fn a_step_gives_json_of_a_schema_whatever_its_model_can_do() {
    for (without, repairs) in [("", 0), ("without = [\"schema\"]\n", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
        let desk = Desk::new(&provider.url);
        let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
        std::fs::write(desk.path("callboard.toml"), format!("{config}{without}")).unwrap();
        let brief = desk.brief("one");
        std::fs::write(brief.join("post.json"), POST).unwrap();
        std::fs::write(brief.join("workflow.toml"), workflow("kindd")).unwrap();
        let said = desk.callboard(&["check", "one"]).bad();
        assert!(
            said.out.contains("the schema of step `plan` has no property `kindd`; did you mean `kind`?"),
            "{}",
            said.out
        );
        std::fs::write(brief.join("workflow.toml"), workflow("kind")).unwrap();
        desk.callboard(&["check", "one"]).good();
        desk.callboard(&["run", "one", "--plain"]).good();
        let titles: Vec<String> = desk.feed().into_iter().map(|(_, title)| title).collect();
        assert_eq!(titles, ["launch of 5 stars"]);
        let events = desk.events();
        let bill = events.iter().find_map(|event| match event {
            Event::Resolved(resolved) if resolved.path.as_str() == "plan" => {
                Some((resolved.usage.repeats, resolved.cost))
            }
            _ => None,
        });
        let reserved = events.iter().find_map(|event| match event {
            Event::Intended(intent) if intent.path.as_str() == "plan" => Some(intent.reserved),
            _ => None,
        });
        let ((repeats, cost), reserved) = (bill.unwrap(), reserved.unwrap());
        assert_eq!(repeats, repairs);
        assert!(cost <= reserved, "{cost} of {reserved}");
        assert_eq!(provider.calls().values().sum::<u64>(), 1 + repairs, "what was asked again was paid for");
    }
}

#[test]
fn a_model_thinks_as_its_agent_or_its_step_says() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    desk.configure(&provider.url, "[agents.writer]\nthinking = \"low\"\n");
    let step = |id: &str, more: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"{id}\"\noutput_max = 200\n{more}"
        )
    };
    let steps = [step("own", ""), step("more", "thinking = \"high\"\n"), step("none", "thinking = \"off\"\n")];
    let brief = desk.brief("one");
    std::fs::write(brief.join("workflow.toml"), format!("name = \"thinks\"\n{}", steps.concat())).unwrap();
    desk.callboard(&["run", "one", "--plain"]).good();
    let thought: Vec<(String, u64)> = desk
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Resolved(resolved) => Some((resolved.path.to_string(), resolved.usage.reasoning.0)),
            _ => None,
        })
        .collect();
    assert_eq!(thought, [("own".to_owned(), 16), ("more".to_owned(), 64), ("none".to_owned(), 0)]);
    let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
    std::fs::write(desk.path("callboard.toml"), format!("{config}without = [\"thinking\"]\n")).unwrap();
    let said = desk.callboard(&["check"]).bad();
    assert!(said.out.contains("`thinking` is for a model that can be told how much to think"), "{}", said.out);
}

/// An MCP server that has a picture.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agents/src/tool/mcp/server.py");

#[test]
fn a_picture_of_a_tool_is_shown_to_a_model_and_reserved_for() {
    /// What the model server bills for a picture, in tokens.
    const PICTURE: u64 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let log = desk.path("mcp.log").display().to_string();
    let server = format!(
        "policies = {{ tree = \"tree.toml\" }}\n[mcp.files]\ncommand = \"python3\"\nargs = [\"-u\", {SERVER:?}]\n\
         env = {{ LOG = {log:?} }}\nclasses = {{ look = \"read\" }}\n"
    );
    desk.configure(&provider.url, &server);
    let tree = policies::tree::BUILTIN.replace("children = [\"feed\"]", "children = [\"feed\", \"files\"]");
    std::fs::write(desk.path("tree.toml"), format!("{tree}\n[worker.files]\n")).unwrap();
    let steps = "name = \"looks\"\n[data]\ndot = \"data:image/png;base64,iVBORw0KGgo=\"\n\
                 [[steps]]\nid = \"look\"\nkind = \"tool\"\ntool = \"mcp.files.look\"\nwith = { text = \"'lamp'\" }\n\
                 [[steps]]\nid = \"write\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"What is there?\"\noutput_max = 50\n\
                 images = [\"data.dot\", \"steps.look.images\"]\n";
    let run = |server: &Server, number: usize| {
        let order = json!({ "definition": steps, "inputs": {} }).to_string();
        let (status, answer) = server.send("POST", "/v1/runs", &format!("Idempotency-Key: {number}\r\n"), &order);
        assert!((200..300).contains(&status), "{status}: {answer}");
        let id = serde_json::from_str::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned();
        let (_, events) = server.get(&format!("/v1/runs/{id}/events"));
        let data = events.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str::<Value>(data).ok()).collect::<Vec<_>>()
    };
    // A run that begins before the server has listed its tools fails, so the next one is begun.
    let begun = Cell::new(0);
    let written = |server: &Server| {
        let mut found = Value::Null;
        eventually(|| {
            begun.set(begun.get() + 1);
            let events = run(server, begun.get());
            let of_write = events
                .iter()
                .map(|event| &event["payload"])
                .filter(|told| ["intended", "resolved"].iter().any(|kind| told[*kind]["path"] == "write"));
            let told: Vec<Value> = of_write.cloned().collect();
            found = json!(told);
            told.iter().any(|told| !told["resolved"].is_null())
        });
        found
    };
    let server = Server::start(&desk);
    let told = written(&server);
    server.end();
    let (intent, outcome) = (&told[0]["intended"], &told[1]["resolved"]);
    assert_eq!(intent["request"]["agent"]["images"].as_array().map(Vec::len), Some(2), "{intent}");
    let input = outcome["usage"]["input"].as_u64().unwrap();
    assert!(input >= 2 * PICTURE, "both were seen: {input}");
    let (cost, reserved) = (outcome["cost"].as_u64().unwrap(), intent["reserved"].as_u64().unwrap());
    assert!(0 < cost && cost <= reserved, "{cost} of {reserved}");
    let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
    std::fs::write(desk.path("callboard.toml"), format!("{config}without = [\"images\"]\n")).unwrap();
    let server = Server::start(&desk);
    let told = written(&server);
    assert!(told[1].to_string().contains("scripted cannot see images"), "{told}");
}
