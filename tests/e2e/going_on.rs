//! A run that failed, and what holds a run up, as the terminal shows them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::desk::{Desk, Provider};

/// A post, then a call, then another post.
const POSTS: &str = r#"
name = "two-posts"
[inputs]
product = { type = "text", description = "The name." }
link = { type = "text", description = "The address." }
[[steps]]
id = "first"
kind = "publish"
publisher = "feed"
post = { title = "First {{ inputs.product }}", text = "'one'", link = "inputs.link" }
[[steps]]
id = "write"
kind = "agent"
agent = "writer"
prompt = "{{ steps.first.id }}"
output_max = 20
[[steps]]
id = "second"
kind = "publish"
publisher = "feed"
post = { title = "Second {{ inputs.product }}", text = "'two'", link = "inputs.link" }
[outputs]
text = "steps.write.text"
"#;

fn brief(desk: &Desk) -> String {
    let folder = desk.brief("one");
    std::fs::write(folder.join("workflow.toml"), POSTS).unwrap();
    folder.display().to_string()
}

#[test]
fn a_failed_run_goes_on_and_posts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&format!("{}/nowhere", provider.url));
    let brief = brief(&desk);
    let said = desk.callboard(&["run", &brief, "--plain"]).bad();
    assert!(said.err.contains("the same command goes on from there"), "{}", said.err);
    let out = desk.feed();
    assert_eq!(out.len(), 1);

    desk.configure(&provider.url, "");
    let said = desk.callboard(&["run", &brief, "--plain"]).good();
    assert!(!said.out.contains("run to its end"), "{}", said.out);
    assert!(said.out.contains("goes on from write, says cli"), "{}", said.out);
    let feed = desk.feed();
    assert_eq!(feed.len(), 2, "{feed:?}");
    assert!(feed.contains(&out[0]), "the first post is the one that was out: {feed:?}");

    let said = desk.callboard(&["run", &brief, "--plain"]).good();
    assert!(said.out.contains("this brief was run to its end; --again"), "{}", said.out);
    let said = desk.callboard(&["run", &brief, "--plain", "--again"]).good();
    assert!(
        said.out.contains("will be posted once more:\n  feed: First Lamp one\n  feed: Second Lamp one\n"),
        "{}",
        said.out
    );
    assert_eq!(desk.feed().len(), 4);
}

#[test]
fn a_run_that_published_nothing_names_no_feed() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&format!("{}/nowhere", provider.url));
    let said = desk.callboard(&["run", &desk.brief("one").display().to_string(), "--plain"]).bad();
    assert!(!desk.path("data/feed/feed.atom").exists());
    assert!(!said.out.contains("feed.atom") && said.out.contains("nothing was published"), "{}", said.out);
}

/// The first line of a run that holds all of these; the run is killed then.
fn line(desk: &Desk, brief: &str, words: &[&str]) -> String {
    let mut child = desk.command(&["run", brief, "--plain"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).find(|line| words.iter().all(|word| line.contains(word)));
    let _ = child.kill();
    let _ = child.wait();
    found.expect("the line is printed before the run ends")
}

#[test]
fn a_full_journal_is_said_once_while_the_run_waits() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path(), &["--think-ms", "1"]);
    let desk = Desk::new(&provider.url);
    // Room for the policies in force and the run's acceptance, and not for all of the rest.
    desk.configure(&provider.url, "journal.bytes_max = \"27KiB\"");
    let said = line(&desk, &desk.brief("one").display().to_string(), &["the journal is full"]);
    assert!(said.contains("27KiB") && said.contains("nothing is lost"), "{said}");
    desk.configure(&provider.url, "");
    desk.callboard(&["run", &desk.brief("one").display().to_string(), "--plain"]).good();
    assert_eq!(desk.feed().len(), 3);
}

#[test]
fn an_open_breaker_is_said_with_the_steps_that_wait_for_it() {
    let desk = Desk::new("http://127.0.0.1:9/v1");
    std::fs::write(desk.path("guard.toml"), "[model]\nbreaker = { failures = 2, open = \"5m\" }\n").unwrap();
    desk.configure("http://127.0.0.1:9/v1", "policies.guard = \"guard.toml\"");
    let said = line(&desk, &brief(&desk), &["the breaker of `"]);
    assert!(said.contains("300 s; it holds up write"), "{said}");
}
