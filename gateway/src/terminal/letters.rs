//! Dead letters on a terminal. Invariant: a pure function of what the server answered; words of models
//! and panics are on one line and bounded.

use std::fmt::Write;

use actors::letters::Fate;
use policies::instant::Timestamp;
use serde_json::Value;

use super::lines::clip;

/// The letters of a page, one a line, and how to see the next page.
#[must_use]
pub fn letters(page: &Value) -> String {
    let mut text = String::new();
    for letter in page["letters"].as_array().into_iter().flatten() {
        let last = &letter["last"];
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{}  {}  {} of {}  {}, the last of {}: {}: {}  {}",
            word(&letter["id"]),
            time(&letter["at"]),
            clip(word(&letter["what"])),
            word(&letter["stream"]),
            deaths(letter),
            word(&letter["child"]),
            word(&last["class"]),
            clip(word(&last["message"])),
            word(&letter["fate"]),
        );
    }
    if text.is_empty() {
        text.push_str("no dead letters\n");
    }
    if let Some(next) = page["next"].as_u64() {
        let _ = writeln!(text, "more: --before {next}");
    }
    text
}

/// How often whoever had it died: for certain by it, or with others that may have been the cause.
fn deaths(letter: &Value) -> String {
    let all = letter["deaths"].as_u64().unwrap_or_default();
    let certain = letter["deaths_certain"].as_u64().unwrap_or(all).min(all);
    let count = |number, what| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    match (certain, all - certain) {
        (certain, 0) => count(certain, "death"),
        (0, suspected) => count(suspected, "suspected death"),
        (certain, suspected) => format!("{} and {suspected} suspected", count(certain, "death")),
    }
}

/// One letter with its content and its history.
#[must_use]
pub fn letter(entry: &Value) -> String {
    let mut text = String::new();
    let mut say = |name: &str, said: &str| {
        let _ = writeln!(text, "{name:<9} {said}");
    };
    say("letter", word(&entry["id"]));
    say("of", &format!("{} of {}", clip(word(&entry["what"])), word(&entry["stream"])));
    say("since", &time(&entry["at"]));
    say("fate", word(&entry["fate"]));
    if entry["in_doubt"] == true {
        say("in doubt", "it may have been done: look there, then callboard settle, with --done or --not-done");
    }
    for death in entry["deaths"].as_array().into_iter().flatten() {
        let how = if death["certain"] == true { "killed" } else { "was there when it lost" };
        let what = format!(
            "{} it {how} {}: {}: {}",
            time(&death["at"]),
            word(&death["child"]),
            word(&death["class"]),
            clip(word(&death["message"]))
        );
        say("death", &what);
    }
    if !entry["content"].is_null() {
        let _ = writeln!(text, "{}", serde_json::to_string_pretty(&entry["content"]).unwrap_or_default());
    }
    text
}

/// What became of a letter.
#[must_use]
pub fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Open => "it is open".to_owned(),
        Fate::Replayed { settled, by } => format!("it was replayed at {settled} by {by}"),
        Fate::Discarded { settled, by, reason } => {
            format!("it was discarded at {settled} by {by}: {}", clip(reason))
        }
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn time(value: &Value) -> String {
    let time: Option<Timestamp> = serde_json::from_value(value.clone()).ok();
    time.map_or_else(|| "?".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_has_a_line_for_each_letter_and_says_when_there_are_more() {
        let death = json!({ "at": 0, "child": "writer", "class": "bug", "message": "its model panicked:\nno", "certain": true });
        let line = json!({
            "id": "abc", "at": 0, "kind": "effect", "stream": "run/r", "what": "draft", "child": "writer",
            "in_doubt": false, "deaths": 3, "deaths_certain": 1, "last": death, "fate": "open",
        });
        let text = letters(&json!({ "letters": [line], "next": 7 }));
        assert!(
            text.contains(
                "draft of run/r  1 death and 2 suspected, the last of writer: bug: its model panicked: no  open"
            ),
            "{text}"
        );
        assert!(text.ends_with("more: --before 7\n"), "{text}");
        assert_eq!(letters(&json!({ "letters": [], "next": null })), "no dead letters\n");
    }

    #[test]
    fn a_letter_shows_its_history_and_its_content() {
        let death = |certain| json!({ "at": 0, "child": "writer", "class": "bug", "message": "x", "certain": certain });
        let entry = json!({
            "id": "abc", "at": 0, "stream": "run/r", "what": "draft", "child": "writer", "in_doubt": true,
            "deaths": [death(false), death(true)], "content": { "agent": "writer" }, "fate": "open",
        });
        let text = letter(&entry);
        assert!(
            text.contains("it was there when it lost writer: bug: x") && text.contains("it killed writer"),
            "{text}"
        );
        assert!(text.contains("--not-done") && text.contains("\"agent\": \"writer\""), "{text}");
    }
}
