//! A budget is never passed, and says so before the call.

use agents::run::Event;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::desk::{Desk, Provider};
use crate::serve::{Server, eventually, order};

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

/// What the first alert is in the stream of alerts after a number, once there is one.
fn followed(server: &Server, after: u64) -> (String, Value) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(stream, "GET /v1/alerts/events HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: {after}\r\n\r\n").unwrap();
    let (mut id, mut lines) = (String::new(), BufReader::new(stream).lines().map(Result::unwrap));
    loop {
        let line = lines.next().unwrap();
        if let Some(told) = line.strip_prefix("id: ") {
            id = told.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (id, serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn whoever_follows_the_alerts_hears_that_a_share_of_a_budget_is_spent() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let budget = "alerts = [\"1%\", \"2%\"]\nworkspace = \"$0.01\"\nrun = \"$0.01\"\nagent = \"$0.01\"\n";
    std::fs::write(desk.path("budget.toml"), budget).unwrap();
    desk.configure(&provider.url, "[policies]\nbudget = \"budget.toml\"\n");
    let server = Server::start(&desk);
    assert_eq!(server.json("/v1/alerts"), serde_json::json!({ "alerts": [], "next": null }));
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| followed(&server, 0));
        for _ in 0..3 {
            let (_, body) = server.send("POST", "/v1/runs", "", &order("automatic"));
            let run: Value = serde_json::from_str(&body).unwrap();
            let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
            eventually(|| server.json(&path)["status"] == "finished");
        }
        let (id, first) = follower.join().unwrap();
        assert_eq!((id.as_str(), &first["id"], &first["workspace"]), ("1", &1.into(), &"main".into()));
        assert!(first["text"].as_str().unwrap().contains("% of its budget: $0.0"), "{first}");
    });
    let alerts = server.json("/v1/alerts")["alerts"].as_array().unwrap().clone();
    assert!(alerts.len() > 1, "{alerts:?}");
    let ids: Vec<u64> = alerts.iter().map(|alert| alert["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=alerts.len() as u64).rev().collect::<Vec<_>>(), "the newest first");
    let page = server.json("/v1/alerts?limit=1");
    assert_eq!((&page["alerts"][0], &page["next"]), (&alerts[0], &alerts[0]["id"]));
    assert_eq!(server.json("/v1/alerts?before=2")["alerts"][0], alerts[alerts.len() - 1]);
    assert_eq!(followed(&server, 1).1, alerts[alerts.len() - 2], "who comes back misses none");
    assert_eq!((server.get("/v1/alerts?limit=0").0, server.get("/v1/alerts/events?after=x").0), (400, 400));
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
    assert!(used.iter().all(|(_, cost)| *cost < reserved[0]), "{used:?} of {reserved:?}");
}
