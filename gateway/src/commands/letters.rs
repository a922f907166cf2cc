//! `callboard letters`: the dead letters of a server, and what becomes of them. Invariant: to look at them
//! changes nothing.

use serde_json::{Value, json};

use super::server::Server;
use crate::cli::{LettersArgs, LettersCommand};
use crate::system::Disposed;
use crate::terminal;

/// Lists them, shows one, or replays or discards one.
///
/// # Errors
/// When there is no such letter, its run does not take it, or no server answers.
pub async fn run(arguments: &LettersArgs) -> anyhow::Result<()> {
    match &arguments.command {
        None => list(arguments).await,
        Some(LettersCommand::Show(letter)) => {
            let entry: Value = Server::new(&letter.server.url)?.get(&format!("/v1/letters/{}", id(&letter.id))).await?;
            print!("{}", terminal::letter(&entry));
            Ok(())
        }
        Some(LettersCommand::Replay(letter)) => {
            let disposed = dispose(&letter.server.url, &letter.id, "replay", &json!({})).await?;
            say(&disposed, "goes on");
            Ok(())
        }
        Some(LettersCommand::Discard(discard)) => {
            let body = json!({ "reason": discard.reason });
            let disposed = dispose(&discard.letter.server.url, &discard.letter.id, "discard", &body).await?;
            say(&disposed, "is given up");
            Ok(())
        }
    }
}

async fn list(arguments: &LettersArgs) -> anyhow::Result<()> {
    let before = arguments.before.map_or_else(String::new, |place| format!("&before={place}"));
    let path = format!("/v1/letters?limit={}&all={}{before}", arguments.limit, arguments.all);
    let page: Value = Server::new(&arguments.server.url)?.get(&path).await?;
    print!("{}", terminal::letters(&page));
    Ok(())
}

async fn dispose(url: &str, letter: &str, what: &str, body: &Value) -> anyhow::Result<Disposed> {
    Server::new(url)?.post(&format!("/v1/letters/{}/{what}", id(letter)), body).await
}

fn say(disposed: &Disposed, done: &str) {
    let letter = &disposed.letter.letter;
    let (place, what) = (&letter.stream, &letter.what);
    if disposed.already {
        println!("letter {} was dealt with before: {}", letter.id, terminal::fate(&disposed.letter.fate));
    } else {
        println!("letter {}: {what} of {place} {done}", letter.id);
    }
}

/// A letter's name as a part of an address.
fn id(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}
