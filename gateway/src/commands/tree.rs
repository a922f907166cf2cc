//! `callboard tree`: the live tree of a server, and an operator's word to a part of it. Invariant: what
//! is printed is what the server has published; to look at it disturbs no actor.

use std::io::Write;
use std::time::Duration;

use supervisor::{NodeSnapshot, TreeSnapshot, Word};

use super::is_fancy;
use super::server::Server;
use crate::cli::{NodeArgs, TreeArgs, TreeCommand};
use crate::terminal::{self, Look};

/// Between two looks while it is watched.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The cursor to the top, and what is below it away.
const AFRESH: &str = "\u{1b}[H\u{1b}[J";

/// Prints the tree once or as it changes, or tells the server an operator's word.
///
/// # Errors
/// When the server does not answer with a tree, or does not follow the word.
pub async fn run(arguments: &TreeArgs) -> anyhow::Result<()> {
    match &arguments.command {
        Some(TreeCommand::Restart(node)) => tell(node, Word::Restart).await,
        Some(TreeCommand::Stop(node)) => tell(node, Word::Stop).await,
        Some(TreeCommand::Pause(node)) => tell(node, Word::Pause).await,
        Some(TreeCommand::Resume(node)) => tell(node, Word::Resume).await,
        Some(TreeCommand::Drain(node)) => tell(node, Word::Drain).await,
        None => show(arguments).await,
    }
}

async fn tell(arguments: &NodeArgs, word: Word) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server.url)?;
    let path = format!("/v1/tree/{}/{word}", escaped(&arguments.node));
    let node: NodeSnapshot = server.post(&path, &serde_json::json!({})).await?;
    let at = node.since;
    print!("{}", terminal::tree(&TreeSnapshot { at, root: node }, Look { colours: is_fancy(false), ages: false }));
    Ok(())
}

async fn show(arguments: &TreeArgs) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server.url)?;
    let fancy = is_fancy(arguments.plain);
    let mut shown = String::new();
    loop {
        let picture: TreeSnapshot = server.get("/v1/tree").await?;
        // On paper, time alone is no reason to draw it once more.
        let is_still = terminal::tree(&picture, Look { colours: fancy, ages: fancy });
        if is_still != shown {
            let lead = if !arguments.watch || shown.is_empty() && !fancy {
                ""
            } else if fancy {
                AFRESH
            } else {
                "\n"
            };
            print!("{lead}{}", terminal::tree(&picture, Look { colours: fancy, ages: true }));
            std::io::stdout().flush()?;
            shown = is_still;
        }
        if !arguments.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A name as a part of an address: a run's has a slash.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_an_address_whatever_is_in_it() {
        assert_eq!(escaped("agents.writer"), "agents.writer");
        assert_eq!(escaped("run/a b?"), "run%2Fa%20b%3F");
    }
}
