//! The server, over real HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::desk::{Desk, Provider};

pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// Kept, so that what it says later has a reader's end to go to.
    _said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Server {
    pub(crate) fn start(desk: &Desk) -> Self {
        Self::with(desk, |command| command)
    }

    /// A server whose command is changed before it is started.
    pub(crate) fn with(desk: &Desk, change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = change(&mut command).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("listening on http://").map(str::to_owned))
            .expect("the server says where it listens");
        Self { child, address, _said: lines }
    }

    /// Status and body of one request.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
        let body = reply.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    pub(crate) fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.send("GET", path, "", "")
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).1).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn order(approval: &str) -> String {
    let inputs = chaos::simulation::brief();
    serde_json::json!({ "workflow": "announce", "approval": approval, "inputs": inputs }).to_string()
}

#[test]
fn a_run_is_taken_followed_and_published() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let server = Server::start(&desk);
    assert_eq!(server.get("/health/live").0, 200);
    assert_eq!(server.get("/health/ready").0, 200);
    assert_eq!(server.get("/feed.atom").0, 404);
    let (status, body) = server.send("POST", "/v1/runs", "Idempotency-Key: a\r\n", &order("automatic"));
    assert_eq!(status, 201, "{body}");
    let run: Value = serde_json::from_str(&body).unwrap();
    let id = run["id"].as_str().unwrap();
    let (status, again) = server.send("POST", "/v1/runs", "Idempotency-Key: a\r\n", &order("automatic"));
    assert_eq!(status, 200, "the same key and order are the same run: {again}");
    let mut other: Value = serde_json::from_str(&order("automatic")).unwrap();
    other["cost_max"] = "$0.50".into();
    let (status, body) = server.send("POST", "/v1/runs", "Idempotency-Key: a\r\n", &other.to_string());
    assert_eq!(status, 409, "another cost_max is another order: {body}");
    // The stream ends with the run.
    let (_, events) = server.get(&format!("/v1/runs/{id}/events"));
    assert!(events.contains("event: run.accepted") && events.contains("event: run.finished"), "{events}");
    let later = server.send("GET", &format!("/v1/runs/{id}/events"), "Last-Event-ID: 5\r\n", "").1;
    assert!(!later.contains("event: run.accepted") && later.contains("id: 6\n"), "{later}");
    // So does one that begins where the run has ended.
    assert_eq!(server.send("GET", &format!("/v1/runs/{id}/events"), "Last-Event-ID: 100000\r\n", "").0, 200);
    let shown = server.json(&format!("/v1/runs/{id}"));
    assert_eq!(shown["status"], "finished", "{shown}");
    assert_eq!(shown["outputs"]["posts"].as_array().unwrap().len(), 3);
    let (status, feed) = server.get("/feed.atom");
    assert_eq!(status, 200);
    assert_eq!(atom_syndication::Feed::read_from(feed.as_bytes()).unwrap().entries().len(), 3);
    assert_eq!(server.json("/v1/runs")["runs"][0]["id"], id);
    assert_eq!(server.json("/v1/tree")["root"]["name"], "callboard");
    // What is counted of the models is what the run says it used.
    let metrics = server.get("/metrics").1;
    let counted = |name: &str| -> u64 {
        let values = metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    let used = ["input", "output"].map(|direction| shown["usage"][direction].as_u64().unwrap());
    assert_eq!(counted("callboard_tokens_total"), used.iter().sum::<u64>(), "{shown}\n{metrics}");
    assert!(used.iter().all(|tokens| *tokens > 0) && metrics.ends_with("# EOF\n"));
}

#[test]
fn a_person_approves_over_http_and_a_killed_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let server = Server::start(&desk);
    let (_, body) = server.send("POST", "/v1/runs", "", &order("ask"));
    let run: Value = serde_json::from_str(&body).unwrap();
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    let waiting = |server: &Server| {
        eventually(|| server.json(&path)["approvals"].as_array().is_some_and(|asked| asked.len() == 3));
        server.json(&path)["approvals"].as_array().unwrap().clone()
    };
    waiting(&server);
    drop(server);
    let server = Server::start(&desk);
    for (place, asked) in waiting(&server).iter().enumerate() {
        let verdict = serde_json::json!({ "path": asked["path"], "approved": place > 0, "reason": "not this one" });
        let (status, body) = server.send("POST", &format!("{path}/approvals"), "", &verdict.to_string());
        assert_eq!(status, 200, "{body}");
        let (status, _) = server.send("POST", &format!("{path}/approvals"), "", &verdict.to_string());
        assert_eq!(status, 409, "one answer is enough");
    }
    eventually(|| server.json(&path)["status"] == "finished");
    assert_eq!(desk.feed().len(), 2);
}

#[test]
fn a_person_speaks_to_a_run_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    let server = Server::start(&desk);
    let (_, body) = server.send("POST", "/v1/runs", "", &order("ask"));
    let id = serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{id}");
    eventually(|| server.json(&path)["approvals"].as_array().is_some_and(|asked| asked.len() == 3));
    let url = format!("http://{}", server.address);
    let say = |words: &[&str]| desk.callboard(&[words, &["--url", &url]].concat());

    let left = say(&["approve", &id, "posts[0]/gate/approve"]).good().out;
    assert!(!left.contains("posts[0]/gate/approve waits") && left.contains("posts[1]/gate/approve waits"), "{left}");
    say(&["reject", &id, "posts[1]/gate/approve", "--reason", "too long"]).good();
    assert!(say(&["approve", &id, "posts[1]/gate/approve"]).bad().err.contains("does not wait for an approval"));
    assert!(say(&["settle", &id, "no/such:key", "--done"]).bad().err.contains("is not in doubt"));
    say(&["resume", &id]).good();
    assert!(desk.callboard(&["runs"]).bad().err.contains("/v1/runs"), "the server has the folder");
    assert!(say(&["cancel", &id, "--reason", "enough"]).good().out.contains("cancelled"));
    assert!(say(&["resume", &id]).bad().err.contains("has ended"));
    assert!(say(&["cancel", "nobody"]).bad().err.contains("no such run"));
    assert!(say(&["tree"]).good().out.contains("callboard (supervisor)"));
    drop(server);
    let runs = desk.callboard(&["runs"]).good().out;
    assert!(runs.contains(&id) && runs.contains("cancelled") && runs.contains("1 posts"), "{runs}");
}

#[test]
fn a_page_of_another_place_cannot_drive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &[]);
    let desk = Desk::new(&provider.url);
    let server = Server::start(&desk);
    let (status, said) = server.send("POST", "/v1/runs", "Origin: http://evil.example\r\n", &order("automatic"));
    assert_eq!(status, 403, "{said}");
    assert_eq!(server.send("GET", "/v1/runs", "Origin: http://localhost:3000\r\n", "").0, 200);
    assert_eq!(server.json("/v1/runs")["runs"].as_array().unwrap().len(), 0);
}

#[test]
fn bad_requests_get_a_problem_each() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &[]);
    let desk = Desk::new(&provider.url);
    let server = Server::start(&desk);
    let brief = "x".repeat(1 << 20);
    let inputs = serde_json::json!({ "product": "a", "link": "https://a.example", "brief": brief });
    let too_large = serde_json::json!({ "inputs": inputs }).to_string();
    let huge = format!("{{\"workflow\": \"{}\"}}", "x".repeat(9 << 20));
    for (method, path, body, wanted) in [
        ("GET", "/v1/runs/none", "", 404),
        ("GET", "/v1/runs/none/events", "", 404),
        ("GET", "/nothing", "", 404),
        ("GET", "/v1/chaos/faults", "", 404),
        ("POST", "/v1/chaos/faults", "{\"kind\": \"provider_reset\"}", 404),
        ("DELETE", "/v1/chaos/faults/a", "", 404),
        ("DELETE", "/v1/runs", "", 405),
        ("POST", "/v1/runs", "{", 400),
        ("POST", "/v1/runs", "{\"workfow\": 1}", 400),
        ("POST", "/v1/runs", "{\"workflow\": \"other\"}", 422),
        ("POST", "/v1/runs", "{\"workflow\": \"announce\", \"inputs\": {\"nonsense\": 1}}", 422),
        ("POST", "/v1/runs", "{\"definition\": \"name = 1\"}", 422),
        ("POST", "/v1/runs", huge.as_str(), 413),
        ("GET", "/v1/runs?after=zz", "", 400),
        ("GET", "/v1/runs?limit=zz", "", 400),
        ("GET", "/v1/runs?limit=0", "", 400),
        ("GET", "/v1/runs?limit=201", "", 400),
        ("POST", "/v1/runs", too_large.as_str(), 413),
        ("POST", "/v1/runs/none/cancel", "", 404),
        ("POST", "/v1/runs/none/settlements", "{\"key\": \"a\", \"done\": true}", 404),
        ("POST", "/v1/runs/none/settlements", "{\"key\": \"a\", \"done\": false, \"url\": \"b\"}", 422),
        ("POST", "/v1/runs/none/resume", "", 404),
    ] {
        let (status, said) = server.send(method, path, "", body);
        assert_eq!(status, wanted, "{method} {path}: {said}");
        let problem: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(problem["status"], wanted);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let detail = server.send("POST", "/v1/runs", "", &too_large).1;
    assert!(detail.contains("983040 is the most"), "{detail}");
    assert!(server.json("/v1/runs")["runs"].as_array().unwrap().is_empty(), "nothing was taken on");
    let said = desk.callboard(&["serve", "--listen", "0.0.0.0:0"]).bad();
    assert!(said.err.contains("there are no keys yet"), "{}", said.err);
}

/// Waits for something outside this process.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    const TRIES: u32 = 600;
    for _ in 0..TRIES {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("it never came to be");
}
