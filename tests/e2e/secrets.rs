//! Secrets of all kinds: shown to nobody but whom they are for, also where that one says them again; and keys of
//! model servers are rotated while a run is under way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use actors::world::{World, WorldOptions};

use crate::desk::{Desk, Provider};
use crate::serve::{Server, eventually, order};

const OLD: &str = "planted-old-0d9f3a77";
const NEW: &str = "planted-new-51c8be02";
/// Whoever says a secret again may leave out its end.
const SHOWN_CHARS: usize = 12;

/// Whether so much of a planted secret is said.
fn says(words: &[u8], secret: &str) -> bool {
    words.windows(SHOWN_CHARS).any(|window| secret.as_bytes().starts_with(window))
}

fn shows(words: &str) -> bool {
    says(words.as_bytes(), OLD) || says(words.as_bytes(), NEW)
}

/// The files under a folder that hold a planted secret, but for those where it is kept.
fn held(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_its_own = path.file_name().is_some_and(|name| name == "key" || name == "taken" || name == "secrets");
        if path.is_dir() && !is_its_own {
            found.extend(held(&path, secret));
        } else if !is_its_own {
            let bytes = std::fs::read(&path).unwrap();
            found.extend(says(&bytes, secret).then(|| path.display().to_string()));
        }
    }
    found
}

fn leaks(folder: &Path) -> Vec<String> {
    [held(folder, OLD), held(folder, NEW)].concat()
}

/// A model server that takes one key, and a desk whose configuration says where its own is.
struct Lock {
    desk: Desk,
    provider: Provider,
    /// The server's folder, where the key is that it takes.
    folder: tempfile::TempDir,
}

impl Lock {
    fn new(taken: &str, source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("taken");
        std::fs::write(&file, taken).unwrap();
        let provider = Provider::start(folder.path(), &["--think-ms", "30", "--key-file", file.to_str().unwrap()]);
        let desk = Desk::new(&provider.url);
        let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
        std::fs::write(desk.path("callboard.toml"), format!("{config}key = {source}\n")).unwrap();
        std::fs::write(desk.path("key"), format!("{OLD}\n")).unwrap();
        Self { desk, provider, folder }
    }

    fn take(&self, key: &str) {
        std::fs::write(self.folder.path().join("taken"), key).unwrap();
    }

    fn leaks(&self) -> Vec<String> {
        [leaks(self.desk.folder.path()), leaks(self.folder.path())].concat()
    }
}

#[test]
fn a_key_is_rotated_without_a_restart_and_is_in_no_log_and_no_file() {
    for source in ["{ file = \"key\" }", "{ command = [\"cat\", \"key\"] }"] {
        let lock = Lock::new(OLD, source);
        let desk = &lock.desk;
        let brief = desk.brief("one").display().to_string();
        let mut child = desk
            .command(&["run", &brief, "--plain"])
            .env("CALLBOARD_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (mut said, mut is_rotated) = (String::new(), false);
        let logged = std::thread::scope(|scope| {
            let logged = scope.spawn(move || {
                let mut logged = String::new();
                stderr.read_to_string(&mut logged).map(|_| logged).unwrap()
            });
            for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
                if line.contains(" done in ") && !is_rotated {
                    // First here, so that it is there when the old one is refused.
                    std::fs::write(desk.path("key"), NEW).unwrap();
                    lock.take(NEW);
                    is_rotated = true;
                }
                said.push_str(&line);
                said.push('\n');
            }
            logged.join().unwrap()
        });
        assert!(child.wait().unwrap().success() && is_rotated, "{said}");
        let tree = desk.callboard(&["check"]);
        for words in [&said, &logged, &tree.out, &tree.err] {
            assert!(!shows(words), "{source}: a key is shown");
        }
        assert!(logged.contains("rotated"), "{source}: the log says that a key was rotated: {logged}");
        assert_eq!(lock.leaks(), [""; 0], "{source}");
    }
}

#[test]
fn a_key_that_is_refused_fails_the_run_with_what_to_do() {
    let lock = Lock::new(NEW, "{ file = \"key\" }");
    let desk = &lock.desk;
    let said = desk.callboard(&["run", &desk.brief("one").display().to_string(), "--plain"]);
    assert!(!said.status.success());
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains("check the key and what it may do") && !shows(&all), "{all}");
    assert!(all.contains("Incorrect API key provided: [redacted]"), "the server says it again: {all}");
    assert!(lock.provider.calls().is_empty(), "nothing was served");
    assert_eq!(lock.leaks(), [""; 0]);
}

#[test]
fn no_answer_of_the_api_shows_a_key() {
    let lock = Lock::new(OLD, "{ file = \"key\" }");
    let server = Server::start(&lock.desk);
    let run = |wanted: &str| {
        let (status, body) = server.send("POST", "/v1/runs", "", &order("automatic"));
        assert_eq!(status, 201, "{body}");
        let run: serde_json::Value = serde_json::from_str(&body).unwrap();
        let run = format!("/v1/runs/{}", run["id"].as_str().unwrap());
        // The stream ends with the run.
        let (_, events) = server.get(&format!("{run}/events"));
        assert_eq!(server.json(&run)["status"], wanted, "{events}");
        (run, events)
    };
    let (good, told) = run("finished");
    // One that fails because of it says most about a key.
    lock.take(NEW);
    let (bad, failed) = run("failed");
    assert!(failed.contains("check the key"), "{failed}");
    let shown =
        [&*good, &bad, "/v1/runs", "/v1/tree", "/v1/audit", "/v1/letters", "/v1/policy", "/metrics"].map(|path| {
            let (status, body) = server.get(path);
            assert_eq!(status, 200, "{path}");
            body
        });
    for body in shown.iter().chain([&told, &failed]) {
        assert!(!shows(body), "a key is shown: {body}");
    }
    server.end();
    assert_eq!(lock.leaks(), [""; 0]);
}

/// Refuses everything, and says again all that it was sent.
fn parrot() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = World::real(WorldOptions::default()).unwrap();
    let each = world.clone();
    let accept = move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            each.thread("connection", move || repeat(stream)).unwrap();
        }
    };
    world.thread("parrot", accept).unwrap();
    url
}

fn repeat(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut head: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    // First what may be a secret: not all is shown of a long answer.
    head.sort_by_key(|line| !line.contains(PLANTED));
    // As an answer of a model server, and of an MCP server.
    let error = serde_json::json!({ "code": -32001, "message": format!("no: {}", head.join("; ")) });
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": 0, "error": error }).to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 401 No\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // What is still on its way is read, so that the answer is not lost with the connection.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Everything that takes a secret, each with one of its own.
const KINDS: [&str; 7] = ["model", "publisher", "alerts", "program", "headers", "collector", "faults"];

const PLANTED: &str = "pl4nt-";

fn planted(kind: &str) -> String {
    format!("{:_<SHOWN_CHARS$}-7d20c4e1", format!("{PLANTED}{kind}"))
}

/// A desk that is full of secrets, all but the model's for somebody who says them again.
fn full_of_secrets(provider: &str, parrot: &str) -> Desk {
    let desk = Desk::new(provider);
    std::fs::create_dir(desk.path("secrets")).unwrap();
    for kind in KINDS {
        std::fs::write(desk.path(&format!("secrets/{kind}")), planted(kind)).unwrap();
    }
    let at = |kind: &str| format!("{{ file = \"secrets/{kind}\" }}");
    let says_it = "echo $TOKEN; echo $TOKEN >&2; read line; echo \\\"$TOKEN\\\"";
    let more = format!(
        "[policies]\ntree = \"tree.toml\"\nbudget = \"budget.toml\"\n\
         [publishers.board]\nkind = \"webhook\"\nurl = \"{parrot}/posts\"\nkey = {}\n\
         [alerts]\nurl = \"{parrot}/alerts\"\nkey = {}\n\
         [mcp.files]\ncommand = \"sh\"\nargs = [\"-c\", \"{says_it}\"]\nenv = {{ TOKEN = {} }}\n\
         [mcp.web]\nurl = \"{parrot}/mcp\"\nheaders = {{ authorization = {} }}\n\
         [telemetry]\ncontent = true\n\
         otlp = {{ url = \"{parrot}\", interval = \"100ms\", headers = {{ x-key = {} }} }}\n\
         [chaos]\ntoken = {}\n",
        at("publisher"),
        at("alerts"),
        at("program"),
        at("headers"),
        at("collector"),
        at("faults"),
    );
    desk.configure(provider, &more);
    let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
    std::fs::write(desk.path("callboard.toml"), format!("{config}key = {}\n", at("model"))).unwrap();
    let tree = policies::tree::BUILTIN
        .replace("[\"feed\"]", "[\"feed\", \"board\"]")
        .replace("\"reviewer\"]", "\"reviewer\", \"files\", \"web\"]");
    std::fs::write(desk.path("tree.toml"), format!("{tree}\n[worker.board]\n[worker.files]\n[worker.web]\n")).unwrap();
    std::fs::write(desk.path("budget.toml"), "alerts = [\"1%\"]\nworkspace = \"$1.00\"\n").unwrap();
    desk
}

#[test]
fn no_secret_of_any_kind_is_shown_whoever_says_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    std::fs::write(&taken, planted("model")).unwrap();
    let provider = Provider::start(folder.path(), &["--key-file", taken.to_str().unwrap()]);
    let desk = full_of_secrets(&provider.url, &parrot());
    let log = desk.path("log.txt");
    let server = Server::with(&desk, |command| {
        command.env("CALLBOARD_LOG", "trace").stderr(std::fs::File::create(&log).unwrap())
    });
    let order = |approval| {
        let mut order: serde_json::Value = serde_json::from_str(&order(approval)).unwrap();
        let definition = agents::workflow::ANNOUNCE.replace("publisher = \"feed\"", "publisher = \"board\"");
        order["definition"] = definition.into();
        order.as_object_mut().unwrap().remove("workflow");
        order.to_string()
    };
    let run = || {
        let (status, body) = server.send("POST", "/v1/runs", "", &order("automatic"));
        assert_eq!(status, 201, "{body}");
        let run: serde_json::Value = serde_json::from_str(&body).unwrap();
        let run = format!("/v1/runs/{}", run["id"].as_str().unwrap());
        let events = server.get(&format!("{run}/events")).1;
        (run, events)
    };
    // It fails when it posts; and one whose model refuses the key, before.
    let (first, posted) = run();
    assert!(posted.contains("no: authorization: Bearer [redacted]; POST /posts"), "{posted}");
    std::fs::write(&taken, "another").unwrap();
    let (second, asked) = run();
    assert!(asked.contains("Incorrect API key provided: [redacted]"), "{asked}");
    let token = format!("Authorization: Bearer {}\r\n", planted("faults"));
    assert_eq!(server.send("GET", "/v1/chaos/faults", &token, "").0, 200);
    let failures = ["the MCP server files: ", "no: authorization: [redacted]; POST /mcp"];
    eventually(|| failures.iter().all(|failure| server.get("/v1/tree").1.contains(failure)));
    let paths = [&*first, &second, "/v1/runs", "/v1/tree", "/v1/audit", "/v1/letters", "/v1/policy", "/metrics"];
    let mut shown: Vec<(String, String)> = paths.iter().map(|path| ((*path).to_owned(), server.get(path).1)).collect();
    server.end();
    shown.extend([("posted".to_owned(), posted), ("asked".to_owned(), asked)]);
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("the collector takes no telemetry"), "{logged}");
    for kind in KINDS {
        let secret = planted(kind);
        assert!(!shown.iter().any(|(_, words)| says(words.as_bytes(), &secret)), "{kind} is shown");
        assert_eq!(held(desk.folder.path(), &secret), [""; 0], "{kind}");
        assert_eq!(held(folder.path(), &secret), [""; 0], "{kind}");
    }
}
