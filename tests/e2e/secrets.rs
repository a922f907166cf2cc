//! Keys of model servers: rotated while a run is under way, and shown to nobody but their server.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use crate::desk::{Desk, Provider};
use crate::serve::{Server, order};

const OLD: &str = "planted-old-0d9f3a77";
const NEW: &str = "planted-new-51c8be02";

/// The files under a folder that hold one of the planted keys, but for the key's own.
fn leaks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if path.file_name().is_some_and(|name| name != "key" && name != "taken") {
            let bytes = std::fs::read(&path).unwrap();
            let holds = |words: &str| bytes.windows(words.len()).any(|window| window == words.as_bytes());
            found.extend((holds(OLD) || holds(NEW)).then(|| path.display().to_string()));
        }
    }
    found
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
            assert!(!words.contains(OLD) && !words.contains(NEW), "{source}: a key is shown");
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
    assert!(all.contains("check the key and what it may do") && !all.contains(OLD), "{all}");
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
        assert!(!body.contains(OLD) && !body.contains(NEW), "a key is shown: {body}");
    }
    server.end();
    assert_eq!(lock.leaks(), [""; 0]);
}
