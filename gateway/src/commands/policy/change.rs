//! `callboard policy reload`, `history` and `rollback`: what a server decides by. Invariant: the server
//! reads its own files; nothing is sent but the wish.

use std::fmt::Write;

use policies::plan::{Change, Effect};
use serde::Deserialize;
use serde_json::json;

use crate::cli::{ReloadArgs, RollbackArgs, ServerArgs};
use crate::commands::server::Server;
use crate::system::{Cause, Edition};

/// What the server answers.
#[derive(Deserialize)]
struct Answer {
    version: u64,
    applied: bool,
    changes: Vec<Change>,
}

/// The versions, as the server lists them.
#[derive(Deserialize)]
struct Listed {
    in_force: u64,
    versions: Vec<Edition>,
}

/// Has the server read its policy files again.
pub(super) async fn reload(arguments: &ReloadArgs) -> anyhow::Result<()> {
    let path = format!("/v1/policy/reload?dry_run={}", arguments.dry_run);
    ask(&arguments.server, &path, arguments.dry_run).await
}

/// Has the server put an earlier version in force.
pub(super) async fn rollback(arguments: &RollbackArgs) -> anyhow::Result<()> {
    let version = arguments.version.map(|version| format!("&version={version}")).unwrap_or_default();
    let path = format!("/v1/policy/rollback?dry_run={}{version}", arguments.dry_run);
    ask(&arguments.server, &path, arguments.dry_run).await
}

async fn ask(server: &ServerArgs, path: &str, on_trial: bool) -> anyhow::Result<()> {
    let answer: Answer = Server::new(&server.url)?.post(path, &json!({})).await?;
    print!("{}", told(&answer, on_trial));
    Ok(())
}

/// Prints the versions, the newest first.
pub(super) async fn history(server: &ServerArgs) -> anyhow::Result<()> {
    let listed: Listed = Server::new(&server.url)?.get("/v1/policy").await?;
    for edition in &listed.versions {
        println!("{}", line(edition, listed.in_force));
    }
    Ok(())
}

fn line(edition: &Edition, in_force: u64) -> String {
    let Edition { version, at, principal, cause } = edition;
    let cause = match cause {
        Cause::Start => "start".to_owned(),
        Cause::Reload => "reload".to_owned(),
        Cause::Rollback { to } => format!("rollback to {to}"),
    };
    let mark = if *version == in_force { "  in force" } else { "" };
    format!("{version:>5}  {at}  {cause:<16}  {principal}{mark}")
}

fn told(answer: &Answer, on_trial: bool) -> String {
    let mut text = String::new();
    for change in &answer.changes {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let effect = match &change.effect {
            Effect::InPlace => "at once".to_owned(),
            Effect::Starts { children } => format!("starts {}", children.join(", ")),
            Effect::Stops { children } => format!("stops {}; what is given to it waits", children.join(", ")),
            Effect::Moves { children } => {
                format!("stops these children and starts them there: {}", children.join(", "))
            }
            Effect::NextLife { children } if children.is_empty() => "at the next start of whoever uses it".to_owned(),
            Effect::NextLife { children } => format!("needs a restart of {}", children.join(", ")),
            Effect::NextStart => "from the next start of the server".to_owned(),
            Effect::Refused { why } => format!("refused: {why}"),
        };
        // Writing into a text cannot fail.
        let _ = writeln!(text, "  {}: {} → {}  ({effect})", change.key, value(&change.from), value(&change.to));
    }
    let refused = answer.changes.iter().any(Change::is_refused);
    let version = answer.version;
    text.push_str(&match (answer.applied, on_trial) {
        (true, _) => format!("version {version} of the policies is in force\n"),
        (false, true) if refused => format!("it would be refused; version {version} is in force\n"),
        (false, true) if !answer.changes.is_empty() => format!("nothing was applied; version {version} is in force\n"),
        (false, _) => format!("nothing has changed; version {version} is in force\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use policies::plan::Of;

    use super::*;

    #[test]
    fn a_version_is_told_in_a_line() {
        let text = r#"{ "version": 7, "at": 0, "principal": "http", "cause": "rollback", "to": 5 }"#;
        let edition: Edition = serde_json::from_str(text).unwrap();
        let said = line(&edition, 7);
        assert!(
            said.starts_with("    7  1970-01-01T00:00:00") && said.ends_with("rollback to 5     http  in force"),
            "{said}"
        );
        assert!(!line(&edition, 8).contains("in force"));
    }

    #[test]
    fn each_change_says_what_it_does() {
        let change = |key: &str, effect| Change {
            of: Of::Tree,
            key: key.to_owned(),
            from: Some("1".to_owned()),
            to: None,
            effect,
        };
        let changes = vec![
            change("a", Effect::InPlace),
            change("b", Effect::NextLife { children: vec!["feed".to_owned()] }),
            change("c", Effect::NextStart),
            change("d", Effect::Starts { children: vec!["board".to_owned()] }),
            change("e", Effect::Stops { children: vec!["feed".to_owned()] }),
            change("f", Effect::Moves { children: vec!["out".to_owned(), "feed".to_owned()] }),
        ];
        let mut answer = Answer { version: 3, applied: true, changes };
        assert_eq!(
            told(&answer, false),
            "  a: 1 → none  (at once)\n  b: 1 → none  (needs a restart of feed)\n  \
             c: 1 → none  (from the next start of the server)\n  d: 1 → none  (starts board)\n  \
             e: 1 → none  (stops feed; what is given to it waits)\n  \
             f: 1 → none  (stops these children and starts them there: out, feed)\nversion 3 of the policies is in force\n"
        );
        answer.applied = false;
        assert!(told(&answer, true).ends_with("nothing was applied; version 3 is in force\n"));
        answer.changes.push(change("g", Effect::Refused { why: "it stays".to_owned() }));
        let said = told(&answer, true);
        assert!(said.contains("(refused: it stays)") && said.contains("it would be refused"), "{said}");
    }
}
