//! An experiment on a running server, over its operators' API.

use serde_json::Value;

use crate::desk::{Desk, Provider, Said, chaos};
use crate::serve::Server;

const TOKEN: &str = "open-sesame";

const EXPERIMENT: &str = "\
[experiment]
name = \"short\"
modes = [\"live\"]
duration = \"6s\"
quiet = \"60s\"

[workload]
runs = 3
arrival = \"1/s\"

[[steady]]
probe = \"ready\"
min = 1

[[fault]]
kind = \"provider_status\"
status = 429
retry_after = \"1s\"
at = \"1s..5s\"
count = 2

[[fault]]
kind = \"actor_panic\"
target = \"writer\"
at = \"1s\"

[[sometimes]]
use = [\"restarted\"]
";

fn live(desk: &Desk, server: &Server, token: &str) -> Said {
    std::fs::write(desk.path("short.toml"), EXPERIMENT).unwrap();
    let url = format!("http://{}", server.address);
    chaos(desk.folder.path(), token, &["live", "short.toml", "--url", &url, "--out", "reports"])
}

fn faults(server: &Server, method: &str, body: &str) -> (u16, Value) {
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let (status, said) = server.send(method, "/v1/chaos/faults", &token, body);
    (status, serde_json::from_str(&said).unwrap())
}

#[test]
fn a_running_server_recovers_from_an_experiment_and_nothing_of_it_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "50"]);
    let desk = Desk::new(&provider.url);
    desk.configure(&provider.url, "chaos.token = { file = \"token\" }\n");
    std::fs::write(desk.path("token"), format!("{TOKEN}\n")).unwrap();
    let server = Server::start(&desk);

    for token in ["", "Authorization: Bearer other\r\n"] {
        let (status, said) = server.send("GET", "/v1/chaos/faults", token, "");
        assert_eq!(status, 401, "{said}");
    }
    let refused = live(&desk, &server, "other").bad();
    assert!(refused.err.contains("refuses the token"), "{}", refused.err);

    let said = live(&desk, &server, TOKEN).good();
    assert!(said.out.contains("short: passed"), "{}", said.out);
    let report: Value = serde_json::from_slice(&std::fs::read(desk.path("reports/short.json")).unwrap()).unwrap();
    for line in report["faults"].as_array().unwrap() {
        assert_eq!(line["struck"], line["planned"], "{}", said.out);
    }
    let history = std::fs::read_to_string(desk.path("reports/short-1-history.json")).unwrap();
    assert!(history.matches("\"status\":\"finished\"").count() >= 3, "{history}");

    // Nothing is in force any more; what is in force when the server ends is stopped with it.
    let (_, listed) = faults(&server, "GET", "");
    let listed = listed["faults"].as_array().unwrap().clone();
    let standing: Vec<_> = listed.iter().map(|fault| (&fault["standing"], fault["hits"].as_u64().unwrap())).collect();
    assert_eq!(standing, [(&Value::from("used_up"), 2), (&Value::from("used_up"), 1)], "{listed:?}");
    assert_eq!(faults(&server, "POST", "{ \"kind\": \"platform_reset\" }").0, 201);
    server.end();
    let kinds: Vec<_> =
        desk.journal().into_iter().map(|event| event.kind).filter(|kind| kind.starts_with("chaos.")).collect();
    let (started, used_up) = ("chaos.started", "chaos.used_up");
    assert_eq!(kinds.iter().filter(|kind| *kind == started).count(), 3, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == used_up).count(), 2, "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("chaos.stopped"), "{kinds:?}");
    assert_eq!(desk.feed().len(), 9, "three posts of each run");
}
