//! Keys of model servers: rotated while a run is under way, and shown to nobody but their server.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use crate::desk::{Desk, Provider};

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

#[test]
fn a_key_is_rotated_without_a_restart_and_is_in_no_log_and_no_file() {
    for source in ["{ file = \"key\" }", "{ command = [\"cat\", \"key\"] }"] {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::write(&taken, OLD).unwrap();
        let provider = Provider::start(folder.path(), &["--think-ms", "50", "--key-file", taken.to_str().unwrap()]);
        let desk = Desk::new(&provider.url);
        let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
        std::fs::write(desk.path("callboard.toml"), format!("{config}key = {source}\n")).unwrap();
        std::fs::write(desk.path("key"), format!("{OLD}\n")).unwrap();
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
                    std::fs::write(&taken, NEW).unwrap();
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
        assert_eq!(leaks(desk.folder.path()), [""; 0], "{source}");
        assert_eq!(leaks(folder.path()), [""; 0], "{source}");
    }
}

#[test]
fn a_key_that_is_refused_fails_the_run_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    std::fs::write(&taken, NEW).unwrap();
    let provider = Provider::start(folder.path(), &["--key-file", taken.to_str().unwrap()]);
    let desk = Desk::new(&provider.url);
    let config = std::fs::read_to_string(desk.path("callboard.toml")).unwrap();
    std::fs::write(desk.path("callboard.toml"), format!("{config}key = {{ file = \"key\" }}\n")).unwrap();
    std::fs::write(desk.path("key"), OLD).unwrap();
    let said = desk.callboard(&["run", &desk.brief("one").display().to_string(), "--plain"]);
    assert!(!said.status.success());
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains("check the key and what it may do") && !all.contains(OLD), "{all}");
    assert!(provider.calls().is_empty(), "nothing was served");
    assert_eq!(leaks(desk.folder.path()), [""; 0]);
}
