//! `callboard tree`: the live tree of a server, and an operator's word to a part of it. Invariant: what
//! is printed is what the server has published; to look at it disturbs no actor.

use std::io::Write;
use std::time::Duration;

use supervisor::{NodeSnapshot, TreeSnapshot, Word};

use super::server::{Server, escaped};
use super::{is_fancy, redraws};
use crate::cli::{NodeArgs, TreeArgs, TreeCommand};
use crate::terminal::{self, Look, Screen};

/// Between two looks while it is watched.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The cursor to the top, and what is below it away.
const AFRESH: &str = "\u{1b}[H\u{1b}[J";
/// Shown last, when the server was away: no tree looks like it, so the next one is drawn.
const AGAIN: &str = "-";

/// Prints the tree once or as it changes, or tells the server an operator's word.
///
/// # Errors
/// When the server does not answer with a tree, or does not follow the word.
pub async fn run(arguments: &TreeArgs) -> anyhow::Result<()> {
    if arguments.command.is_some() && arguments.branch.is_some() {
        anyhow::bail!(
            "a word to the tree names its child or branch behind it, such as `callboard tree restart agents`"
        );
    }
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
    print!("{}", terminal::overview(TreeSnapshot { at: node.since, root: node }, is_fancy(false)));
    Ok(())
}

async fn show(arguments: &TreeArgs) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server.url)?;
    let path = path(arguments);
    let (colours, redraws) = (is_fancy(arguments.plain), redraws(arguments.plain));
    let (mut shown, mut is_away) = (String::new(), false);
    loop {
        let picture: TreeSnapshot = match server.get(&path).await {
            Ok(picture) => picture,
            // A server that is started anew is watched on.
            Err(error) if arguments.watch && !shown.is_empty() => {
                if !std::mem::replace(&mut is_away, true) {
                    eprintln!("{error:#}; waiting for it, Ctrl-C ends this");
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if std::mem::take(&mut is_away) {
            shown = AGAIN.to_owned();
        }
        let screen = Screen::now();
        let draw = |ages| terminal::tree(&picture, Look { colours, ages, width: screen.map(|screen| screen.columns) });
        // On paper, time alone is no reason to draw it once more.
        let is_still = draw(redraws);
        if is_still != shown {
            let drawn = draw(true);
            match screen.filter(|_| redraws && arguments.watch) {
                Some(screen) => print!("{AFRESH}{}", terminal::cut(&drawn, screen.lines)),
                None if arguments.watch && !shown.is_empty() => print!("\n{drawn}"),
                None => print!("{drawn}"),
            }
            std::io::stdout().flush()?;
            shown = is_still;
        }
        if !arguments.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Where the server has what is to be shown.
fn path(arguments: &TreeArgs) -> String {
    let TreeArgs { branch, depth, limit, .. } = arguments;
    let branch = branch.as_deref().map_or_else(String::new, |branch| format!("&branch={}", escaped(branch)));
    let depth = depth.map_or_else(String::new, |depth| format!("&depth={depth}"));
    format!("/v1/tree?limit={limit}{branch}{depth}")
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
